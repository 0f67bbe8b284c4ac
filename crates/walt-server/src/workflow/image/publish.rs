//! Publishing an image on a registry, and the list of what an account of the Docker Hub holds.

use std::sync::Arc;

use walt_images::registry::{Remote, Use};
use walt_images::turn::Task;
use walt_model::{ImageName, UserName};
use walt_proto::api::image::registry::Accounts;

use super::clone::unless_gone;
use super::elsewhere::{MoveError, account_or, credentials, needed};
use super::space::Space;
use super::transfer::Pace;
use crate::platform::Platform;
use crate::workflow::{Progress, WorkflowError};

/// Sends an image of a user to a registry. Answers the link others clone it by. `gone` answers when nobody waits for it
/// any more: nothing is published then, unless all of it had been sent.
///
/// # Errors
/// The name on the registry then means what it meant.
pub async fn publish(
    platform: &Arc<Platform>,
    user: &UserName,
    image: &str,
    registry: &str,
    accounts: &Accounts,
    progress: &dyn Progress,
    gone: impl Future<Output = ()>,
) -> Result<String, WorkflowError> {
    let name =
        ImageName::existing(image).map_err(|error| WorkflowError::Invalid(error.to_string()))?;
    let remote = platform.remotes.registry(registry).ok_or_else(|| unknown(platform, registry))?;
    let fullname = name.clone().owned_by(user.clone());
    let store = platform.images.catalogue().current().await?;
    let entry = store.get(&fullname.to_string()).ok_or(WorkflowError::NoSuchImage(name))?.clone();
    let credentials = credentials(remote, Use::Push, accounts)?;
    let given = credentials.is_some();
    let failed = |error| account_or(error, registry, given);
    let there = remote.pushed_as(&fullname, user, credentials.as_ref()).map_err(failed)?;
    // Nobody removes or renames it meanwhile.
    let _turn = super::take(platform, &fullname, Task::Publish, user)?;
    let space = Space::open(platform)?;
    let pace = Pace::new(progress);
    let sent = unless_gone(
        platform,
        async {
            let note = |transfer| pace.note(transfer);
            let place = space.workplace();
            let sent = remote.push(&entry.id, &there, credentials.as_ref(), &place, &note).await;
            sent.map_err(failed)?;
            if let Some(credentials) = &credentials {
                progress.label("Updating the list of published images");
                remote.published(&there, &entry.labels, credentials).await.map_err(failed)?;
            }
            Ok(())
        },
        gone,
    )
    .await;
    space.close().await;
    sent?;
    let there = there.to_string();
    let there = there.strip_suffix(":latest").unwrap_or(&there);
    let link = format!("{registry}:{there}");
    tracing::info!(image = %fullname, link, by = %user, "image published");
    Ok(link)
}

fn unknown(platform: &Platform, label: &str) -> MoveError {
    let known = platform.remotes.registries().iter().map(|remote| remote.label().to_owned());
    MoveError::UnknownRegistry { label: label.to_owned(), known: known.collect() }
}

/// Makes the list of images of an account of the hub again. Answers how many WalT images it holds; `found` is told each.
///
/// # Errors
/// The hub is not configured, wants an account, or does not answer properly.
pub async fn update_hub_meta(
    platform: &Platform,
    of_platform: bool,
    accounts: &Accounts,
    found: &(dyn Fn(String) + Send + Sync),
    gone: impl Future<Output = ()>,
) -> Result<usize, WorkflowError> {
    let hub: &Remote = platform.remotes.hub().ok_or(MoveError::NoHub)?;
    let label = hub.label();
    let Some(credentials) = credentials(hub, Use::Push, accounts)? else {
        return Err(needed(label, false, None).into());
    };
    let owner = if of_platform { UserName::PLATFORM } else { credentials.user() };
    let told = |result: Result<walt_images::registry::FoundImage, _>| match result {
        Ok(image) => found(format!("{label}:{}", image.image)),
        Err(error) => tracing::info!("an image of the hub was left out: {error}"),
    };
    let rescan = async {
        let rescanned = hub.rescan(owner, &credentials, &told).await;
        Ok(rescanned.map_err(|error| account_or(error, label, true))?)
    };
    unless_gone(platform, rescan, gone).await
}
