//! Shells in images, from their opening to their end: saved, dropped, or forgotten by their user.
//!
//! Each is written to the state before its first step. One that was being made when the server died is undone at the
//! next start; one that was made is found again, with its image's turn; one of which the result has already got its
//! name is only cleaned up.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use walt_images::session::{Shell, Working, view};
use walt_images::turn::{Task, Turn};
use walt_images::{ImageId, foreign};
use walt_model::{ImageFullName, UserName, platform_lines};

use super::take;
use super::work::{self, hex};
use crate::killpoint;
use crate::platform::{Platform, now_ms};
use crate::sessions::{Claim, Session};
use crate::state::{ImageSession, Saving, Step};
use crate::workflow::WorkflowError;

/// Start of the names of working copies of shells, which the clean-up at start leaves alone.
const PREFIX: &str = "walt-session-";
/// How long a shell that was opened waits for its user's first arrival.
const FIRST_ENTRY: Duration = Duration::from_secs(60);
/// How often shells that nobody came back to are looked for.
const LOOK: Duration = Duration::from_secs(300);
/// Wait before podman is asked again for a shell of before the restart.
const AGAIN: Duration = Duration::from_secs(10);

/// Opens a shell in an image, which is editable. `terminal`: value of `TERM`, if there is one.
///
/// # Errors
/// Somebody else changes the image; its programs do not run here; the container tools do not work. Nothing is left then.
pub async fn open(
    platform: &Arc<Platform>,
    image: &ImageFullName,
    id: &ImageId,
    user: &UserName,
    terminal: Option<&str>,
) -> Result<Arc<Session>, WorkflowError> {
    let turn = take(platform, image, Task::Shell, user)?;
    let podman = platform.images.catalogue().podman();
    foreign::ensure_image(podman, id).await?;
    let word = hex();
    let row = ImageSession {
        container: format!("{PREFIX}{word}"),
        id: word,
        image: image.clone(),
        user: user.clone(),
        started_ms: i64::try_from(now_ms()).unwrap_or(i64::MAX),
        step: Step::Making,
    };
    platform.state.put_image_session(row.clone()).await?;
    killpoint::reached("shell: before the working copy");
    match make(platform, &row, id, terminal, turn).await {
        Ok(session) => {
            platform.sessions.add(session.clone());
            platform.tasks.spawn("image shell", first_entry(platform.clone(), session.id.clone()));
            Ok(session)
        }
        Err(error) => {
            undo(platform, &row).await;
            Err(error)
        }
    }
}

async fn make(
    platform: &Platform,
    row: &ImageSession,
    id: &ImageId,
    terminal: Option<&str>,
    turn: Turn,
) -> Result<Arc<Session>, WorkflowError> {
    let podman = platform.images.catalogue().podman();
    let working = Working::create(podman, &row.container, id).await?;
    killpoint::reached("shell: before the container");
    let shell = Shell::create(&working, id, &scratch(platform)?, terminal).await?;
    let session = Arc::new(Session::new(row, working, shell, turn, false));
    platform.state.put_image_session(session.row(None)).await?;
    killpoint::reached("shell: after the container");
    Ok(session)
}

/// Where copies of `/etc/cpuinfo` are.
fn scratch(platform: &Platform) -> Result<PathBuf, WorkflowError> {
    let dir = platform.place.state_dir.join("sessions");
    std::fs::create_dir_all(&dir).map_err(|error| {
        WorkflowError::Invalid(format!("Cannot make {}: {error}.", dir.display()))
    })?;
    Ok(dir)
}

/// A client that died between the opening and its arrival leaves nothing.
async fn first_entry(platform: Arc<Platform>, id: String) {
    let stopped = platform.tasks.token();
    tokio::select! {
        () = stopped.cancelled() => return,
        () = tokio::time::sleep(FIRST_ENTRY) => {}
    }
    let Some(claim) = platform.sessions.get(&id).and_then(|session| session.claim()) else {
        return;
    };
    if !claim.entered() {
        drop_now(&platform, claim).await;
    }
}

/// The user is in the shell from now on; without being asked, nothing of it is thrown away any more.
pub async fn entered(platform: &Platform, claim: &Claim) -> Result<(), WorkflowError> {
    if !claim.entered() {
        claim.enter();
        platform.state.put_image_session(claim.row(None)).await?;
    }
    Ok(())
}

/// Ends the container and makes a new image of its files, under a temporary name.
///
/// # Errors
/// The container tools do not work, the disk is full: the shell's files are still there.
pub async fn commit(platform: &Platform, claim: &Claim) -> Result<work::New, WorkflowError> {
    claim.shell.stop().await?;
    claim.shell.tidy().await?;
    killpoint::reached("shell: before the commit");
    let new = work::commit(platform, &claim.working, &claim.id).await?;
    killpoint::reached("shell: after the commit");
    Ok(new)
}

/// The new image is about to get its name: should the server die after it has, nothing is left but to clean up.
pub async fn about_to_save(
    platform: &Platform,
    claim: &Claim,
    name: &ImageFullName,
    id: &ImageId,
) -> Result<(), WorkflowError> {
    let saving = Saving { name: name.clone(), id: id.clone() };
    Ok(platform.state.put_image_session(claim.row(Some(saving))).await?)
}

/// Drops a shell and all its files.
pub async fn drop_now(platform: &Platform, claim: Claim) {
    killpoint::reached("shell: before the end");
    // A shell dropped halfway is not offered again after a crash.
    let making = ImageSession { step: Step::Making, ..claim.row(None) };
    if let Err(error) = platform.state.put_image_session(making.clone()).await {
        tracing::error!(session = claim.id, "the end of a shell was not written: {error}");
    }
    undo(platform, &making).await;
    platform.sessions.forget(&claim.id);
}

/// Removes everything of a shell.
async fn undo(platform: &Platform, row: &ImageSession) {
    let podman = platform.images.catalogue().podman();
    let working = Working::named(podman, &row.container);
    let container = Shell::remove_of(&working).await;
    let files = working.remove().await;
    let _ = std::fs::remove_file(
        platform.place.state_dir.join(format!("sessions/{}.cpuinfo", row.container)),
    );
    if let Err(error) = container.and(files) {
        // It stays in the state: the next start tries again.
        tracing::error!(
            container = row.container,
            "a shell in an image could not be removed: {error}"
        );
        return;
    }
    if let Err(error) = platform.state.remove_image_session(row.id.clone()).await {
        tracing::error!(session = row.id, "the end of a shell was not written: {error}");
    }
}

/// After a restart: shells are found again, what was half done is undone.
pub async fn adopt(platform: &Arc<Platform>) {
    let views = super::copy::views(platform);
    // Without an answer, nothing was swept: mounts that nobody reads.
    let _ = tokio::task::spawn_blocking(move || view::sweep(&views)).await;
    let rows = match platform.state.image_sessions().await {
        Ok(rows) => rows,
        Err(error) => {
            platform.complain(format!("shells in images: {error}"));
            return;
        }
    };
    for row in rows {
        work::let_go(platform, &row.id).await;
        if matches!(row.step, Step::Making) {
            undo(platform, &row).await;
            continue;
        }
        match platform.turns.take(&row.image, Task::Shell, &row.user) {
            Ok(turn) => adopt_one(platform, row, turn).await,
            Err(error) => {
                tracing::error!(image = %row.image, "a shell in an image cannot be used again: {error}");
            }
        }
    }
}

/// What podman does not tell now is asked again later: nobody else changes the image before.
async fn adopt_one(platform: &Arc<Platform>, row: ImageSession, turn: Turn) {
    match is_over(platform, &row).await {
        Ok(over) => settle(platform, &row, turn, over).await,
        Err(error) => {
            tracing::warn!(image = %row.image, "a shell in an image is looked for again later: {error}");
            platform.tasks.spawn("image shell", adopt_later(platform.clone(), row, turn));
        }
    }
}

async fn adopt_later(platform: Arc<Platform>, row: ImageSession, turn: Turn) {
    let stopped = platform.tasks.token();
    loop {
        tokio::select! {
            () = stopped.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
        match is_over(&platform, &row).await {
            Ok(over) => return settle(&platform, &row, turn, over).await,
            Err(error) => tracing::debug!(image = %row.image, "a shell in an image: {error}"),
        }
    }
}

/// Whether nothing of a shell is left to be gone back to: its user never came, its files are gone, or its result has its
/// name.
async fn is_over(platform: &Platform, row: &ImageSession) -> Result<bool, WorkflowError> {
    let Step::Made { saving, entered, .. } = &row.step else { return Ok(true) };
    let catalogue = platform.images.catalogue();
    if !*entered || !Working::named(catalogue.podman(), &row.container).exists().await? {
        return Ok(true);
    }
    let Some(saving) = saving else { return Ok(false) };
    let now = catalogue.current().await?;
    Ok(now.get(&saving.name.to_string()).is_some_and(|entry| entry.id == saving.id))
}

async fn settle(platform: &Arc<Platform>, row: &ImageSession, turn: Turn, over: bool) {
    let Step::Made { plan, .. } = &row.step else { return };
    if over {
        undo(platform, row).await;
        return;
    }
    let working = Working::named(platform.images.catalogue().podman(), &row.container);
    let shell = Shell::of(&working, plan.clone());
    tracing::info!(image = %row.image, user = %row.user, "a shell in an image is kept");
    platform.sessions.add(Arc::new(Session::new(row, working, shell, turn, true)));
}

/// Drops shells to which nobody came back, until cancelled.
pub async fn expire(platform: Arc<Platform>, cancel: CancellationToken) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        for session in platform.sessions.all() {
            if session.is_over(now_ms())
                && let Some(claim) = session.claim()
            {
                let line = format!(
                    "The shell of {} in image {} was dropped: nobody came back to it for 24 hours.",
                    claim.user,
                    claim.image.name()
                );
                platform.say(platform_lines::IMAGES_STREAM, &line);
                drop_now(&platform, claim).await;
            }
        }
    }
}
