//! Default images: taken from a registry when a node needs one, replaced by newer ones on request.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use walt_images::registry::{Remote, Use, Wanted};
use walt_images::turn::Task;
use walt_model::{ImageFullName, NodeModel, UserName, platform_lines};
use walt_proto::api::image::registry::Accounts;

use super::clone::unless_gone;
use super::elsewhere::{Known, MoveError, Source, models, needs_newer};
use super::search::everywhere;
use super::space::Space;
use super::{Origin, Put, put};
use crate::killpoint;
use crate::platform::Platform;
use crate::workflow::{Progress, WorkflowError};

/// How often one looks whether somebody else's download of the same image has ended.
const LOOK: Duration = Duration::from_millis(500);
/// Time between two lines of the log about a download.
const LINES: Duration = Duration::from_secs(10);

/// The default image of a model is here when this answers: it is taken from the first registry that gives it without an
/// account, in the order of the configuration, else from docker.
///
/// # Errors
/// No place gives it: each is named with its reason.
pub async fn ensure_default(
    platform: &Arc<Platform>,
    model: &NodeModel,
    progress: &dyn Progress,
) -> Result<(), WorkflowError> {
    let image = ImageFullName::default_of(model);
    let turn = loop {
        if platform.images.catalogue().exists(&image).await? {
            return Ok(());
        }
        match super::take(platform, &image, Task::Clone, &UserName::platform()) {
            Ok(turn) => break turn,
            // Somebody brings it: what they tell us is whether it is there.
            Err(WorkflowError::Busy(_)) => tokio::time::sleep(LOOK).await,
            Err(error) => return Err(error),
        }
    };
    progress.label(&format!("Downloading default image for \"{model}\""));
    let wanted = Wanted::for_models([model.as_str()]);
    let mut failures = Vec::new();
    for (source, place) in places(platform) {
        let told = Told { platform, image: &image, progress, last: Mutex::default() };
        let space = Space::open(platform)?;
        let brought = bring(platform, &source, &image, model, &wanted, &space, &told).await;
        let result = match brought {
            Ok(id) => {
                let detail = format!("{place}:{}", image.short());
                let by = UserName::platform();
                let origin = Origin { task: Task::Clone, by, detail };
                killpoint::reached("default image: before the name");
                put(platform, &turn, &image, &id, &origin, progress).await
            }
            Err(error) => Err(error),
        };
        space.close().await;
        match result {
            Ok(_) => {
                let line = format!("default image {image} was downloaded from {place}");
                platform.say(platform_lines::DEVICES_STREAM, &line);
                return Ok(());
            }
            Err(WorkflowError::Move(MoveError::Interrupted)) => {
                return Err(MoveError::Interrupted.into());
            }
            Err(error) => failures.push(format!("{place}: {error}")),
        }
    }
    let why =
        if failures.is_empty() { String::new() } else { format!(" ({})", failures.join("; ")) };
    let line = format!("default image {image} could not be downloaded{why}");
    platform.say(platform_lines::DEVICES_STREAM, &line);
    Err(WorkflowError::NoDefaultImage { model: model.clone(), image })
}

/// Where default images come from, in the order they are tried.
fn places(platform: &Platform) -> Vec<(Source, String)> {
    let remotes = platform.remotes.registries().iter();
    let mut places: Vec<(Source, String)> = remotes
        .map(|remote: &Remote| {
            (Source::Registry(Box::new(remote.clone())), remote.label().to_owned())
        })
        .collect();
    places.extend(
        platform
            .remotes
            .docker()
            .map(|daemon| (Source::Docker(Box::new(daemon)), "docker".to_owned())),
    );
    places
}

async fn bring(
    platform: &Platform,
    source: &Source,
    image: &ImageFullName,
    model: &NodeModel,
    wanted: &Wanted,
    space: &Space,
    progress: &dyn Progress,
) -> Result<walt_images::ImageId, WorkflowError> {
    if let Source::Registry(remote) = source
        && remote.needs_credentials(Use::Pull)
    {
        return Err(WorkflowError::Invalid("it needs an account".to_owned()));
    }
    let name = source.name_of(image);
    let none = Accounts::new();
    let work = async {
        let known = source.look(platform, &name, wanted, &none).await?;
        boots(&known, &name, model)?;
        source.bring(&name, wanted, &none, space, progress).await
    };
    unless_gone(platform, work, std::future::pending()).await
}

/// Whether an image may be the default image of a model.
fn boots(known: &Known, name: &ImageFullName, model: &NodeModel) -> Result<(), WorkflowError> {
    let models = models(&known.labels).ok_or_else(|| MoveError::NotWalt(name.short()))?;
    if let Some(needs) = needs_newer(&known.labels) {
        return Err(MoveError::TooNew { image: name.short(), needs }.into());
    }
    if !models.iter().any(|known| *model == known.as_str()) {
        let models = vec![model.to_string()];
        return Err(WorkflowError::Incompatible { image: name.clone(), models });
    }
    Ok(())
}

/// A default image for which there is a newer one.
#[derive(Debug)]
pub struct Newer {
    /// The default image.
    pub image: ImageFullName,
    /// `hub`, `docker`, ...
    pub location: String,
    source: Source,
    wanted: Wanted,
}

/// The default images of this server for which some place has a newer one. Places that fail are told.
///
/// # Errors
/// A registry that is not to be left out needs an account; the store does not work.
pub async fn newer(
    platform: &Arc<Platform>,
    accounts: &Accounts,
    without: &[String],
    tell: &(dyn Fn(String) + Send + Sync),
) -> Result<Vec<Newer>, WorkflowError> {
    let store = platform.images.catalogue().current().await?;
    let mut newer = Vec::new();
    for entry in store.values() {
        let Some(model) = entry
            .fullname
            .strip_prefix("waltplatform/")
            .and_then(|name| name.strip_suffix("-default:latest"))
            .and_then(|model| model.parse::<NodeModel>().ok())
        else {
            continue;
        };
        let image = ImageFullName::default_of(&model);
        let wanted = Wanted::for_models([model.as_str()]);
        let found = everywhere(platform, &image, &wanted, accounts, without, tell).await?;
        let best = found
            .into_iter()
            // An unreadable date counts as very old.
            .filter(|(_, _, known)| known.created.unwrap_or(0) > entry.created)
            .filter(|(_, _, known)| known.id.as_ref() != Some(&entry.id))
            .filter(|(_, name, known)| boots(known, name, &model).is_ok())
            .max_by_key(|(_, _, known)| known.created);
        if let Some((source, _, _)) = best {
            let location = source.location().to_owned();
            newer.push(Newer { image, location, source, wanted });
        }
    }
    Ok(newer)
}

/// Takes a newer default image. Nodes that boot it are to be rebooted.
///
/// # Errors
/// The name then means what it meant.
pub async fn update(
    platform: &Arc<Platform>,
    newer: &Newer,
    user: &UserName,
    accounts: &Accounts,
    progress: &dyn Progress,
    gone: impl Future<Output = ()>,
) -> Result<Put, WorkflowError> {
    let turn = super::take(platform, &newer.image, Task::Update, user)?;
    let space = Space::open(platform)?;
    let name = newer.source.name_of(&newer.image);
    let bring = newer.source.bring(&name, &newer.wanted, accounts, &space, progress);
    let result = match unless_gone(platform, bring, gone).await {
        Ok(id) => {
            let detail = format!("{}:{}", newer.location, name.short());
            let origin = Origin { task: Task::Update, by: user.clone(), detail };
            put(platform, &turn, &newer.image, &id, &origin, progress).await
        }
        Err(error) => Err(error),
    };
    space.close().await;
    result
}

/// Tells a download to whoever asked for it and, now and then, to the log.
struct Told<'a> {
    platform: &'a Platform,
    image: &'a ImageFullName,
    progress: &'a dyn Progress,
    last: Mutex<Option<Instant>>,
}

impl Progress for Told<'_> {
    fn label(&self, text: &str) {
        self.progress.label(text);
    }

    fn amount(&self, what: &str, done: u64, total: Option<u64>) {
        self.progress.amount(what, done, total);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if last.is_some_and(|last| now.duration_since(last) < LINES) {
            return;
        }
        *last = Some(now);
        let image = self.image;
        let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
        let of = total.map(|total| format!(" of {}", megabytes(total))).unwrap_or_default();
        let line = format!("default image {image}: {what} {}{of} MB", megabytes(done));
        self.platform.say(platform_lines::DEVICES_STREAM, &line);
    }
}

/// Brings the default image of a model a device says it is, in the background; once at a time, and not again soon after
/// a failure. The device becomes a node when it asks again.
pub fn ensure_later(platform: &Arc<Platform>, model: NodeModel, line: &str) {
    /// After a failure, not again for this long.
    const AGAIN: Duration = Duration::from_secs(600);
    {
        let mut asked = platform.remotes.asked();
        let now = Instant::now();
        asked.retain(|_, at| now.duration_since(*at) < AGAIN);
        if asked.contains_key(&model) {
            return;
        }
        asked.insert(model.clone(), now);
    }
    platform.say(platform_lines::DEVICES_STREAM, line);
    let (platform, tasks) = (platform.clone(), platform.tasks.clone());
    tasks.spawn("default image", async move {
        if let Err(error) = ensure_default(&platform, &model, &Quiet).await {
            tracing::warn!("{error}");
        } else {
            platform.remotes.asked().remove(&model);
        }
    });
}

/// Nobody waits for it.
struct Quiet;

impl Progress for Quiet {
    fn label(&self, _: &str) {}
}
