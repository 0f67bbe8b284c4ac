//! Cloning an image into a working set: from another user of this server, from docker, from a registry.

use std::sync::Arc;

use walt_images::registry::Wanted;
use walt_images::turn::Task;
use walt_model::{CloneLink, ImageFullName, ImageName, NodeModel, UserName};
use walt_proto::api::image::registry::Accounts;

use super::elsewhere::{MoveError, Source, models, needs_newer};
use super::space::Space;
use super::{Origin, Put, put, users};
use crate::killpoint;
use crate::platform::Platform;
use crate::workflow::{Progress, WorkflowError};

/// A clone that makes sense.
#[derive(Debug, Clone)]
pub struct Plan {
    link: CloneLink,
    source: Source,
    /// What it will be called.
    pub target: ImageFullName,
    /// The name was derived from that of the link, and differs.
    pub renamed: bool,
    force: bool,
    user: UserName,
}

/// Checks a request without looking anywhere.
///
/// # Errors
/// A bad name or link; a link to the target itself.
pub fn plan(
    platform: &Platform,
    user: &UserName,
    link: &str,
    name: Option<&str>,
    force: bool,
) -> Result<Plan, WorkflowError> {
    let invalid = |error: &dyn std::fmt::Display| WorkflowError::Invalid(error.to_string());
    let link: CloneLink = link.parse().map_err(|_| MoveError::BadLink {
        link: link.chars().take(160).collect(),
        known: platform.remotes.locations().into_iter().map(str::to_owned).collect(),
    })?;
    let (name, renamed) = match name {
        Some(name) => (name.parse::<ImageName>().map_err(|error| invalid(&error))?, false),
        None => {
            let original = link.image.name().to_string();
            let name = ImageName::derived(&original).map_err(|error| invalid(&error))?;
            let renamed = name.to_string() != original;
            (name, renamed)
        }
    };
    let target = name.owned_by(user.clone());
    let source = Source::of(platform, &link)?;
    if matches!(source, Source::Walt) && (link.image == target || link.image.owner() == user) {
        return Err(MoveError::AlreadyYours(link.image.name().to_string()).into());
    }
    Ok(Plan { link, source, target, renamed, force, user: user.clone() })
}

/// Carries a clone out: the name has its new content when this answers, and nodes that boot it are to be rebooted.
/// `gone` answers when nobody waits for it any more: a download then ends, and what arrived is kept for the next one.
///
/// # Errors
/// The name then means what it meant.
pub async fn clone(
    platform: &Arc<Platform>,
    plan: &Plan,
    accounts: &Accounts,
    progress: &dyn Progress,
    gone: impl Future<Output = ()>,
) -> Result<Put, WorkflowError> {
    let turn = super::take(platform, &plan.target, Task::Clone, &plan.user)?;
    let origin = Origin { task: Task::Clone, by: plan.user.clone(), detail: plan.link.to_string() };
    let wanted = wanted(platform, &plan.target);
    if let Source::Walt = plan.source {
        let known = plan.source.look(platform, &plan.link.image, &wanted, accounts).await?;
        check(platform, plan, &known.labels).await?;
        let id = known.id.ok_or_else(|| MoveError::NoSuchImage(plan.link.to_string()))?;
        warn(platform, &id, progress).await?;
        killpoint::reached("clone: before the name");
        return put(platform, &turn, &plan.target, &id, &origin, progress).await;
    }
    let space = Space::open(platform)?;
    let bring = bring(platform, plan, accounts, &wanted, &space, progress);
    let brought = unless_gone(platform, bring, gone).await;
    let result = match brought {
        Ok(id) => {
            let named = async {
                warn(platform, &id, progress).await?;
                killpoint::reached("clone: before the name");
                put(platform, &turn, &plan.target, &id, &origin, progress).await
            };
            named.await
        }
        Err(error) => Err(error),
    };
    killpoint::reached("clone: before the temporary name goes");
    space.close().await;
    result
}

/// Says what the image lacks: it may get the name all the same, if no node would suffer.
async fn warn(
    platform: &Platform,
    id: &walt_images::ImageId,
    progress: &dyn Progress,
) -> Result<(), WorkflowError> {
    let report = super::check::look(platform, id, &[]).await?;
    super::check::warnings(&report).iter().for_each(|text| progress.warn(text));
    Ok(())
}

/// Something that only waits, unless nobody waits for it or the server stops.
pub async fn unless_gone<T>(
    platform: &Platform,
    work: impl Future<Output = Result<T, WorkflowError>>,
    gone: impl Future<Output = ()>,
) -> Result<T, WorkflowError> {
    let stop = platform.tasks.token();
    tokio::select! {
        result = work => result,
        () = gone => Err(MoveError::Interrupted.into()),
        () = stop.cancelled() => Err(MoveError::Interrupted.into()),
    }
}

async fn bring(
    platform: &Platform,
    plan: &Plan,
    accounts: &Accounts,
    wanted: &Wanted,
    space: &Space,
    progress: &dyn Progress,
) -> Result<walt_images::ImageId, WorkflowError> {
    let known = plan.source.look(platform, &plan.link.image, wanted, accounts).await?;
    check(platform, plan, &known.labels).await?;
    killpoint::reached("clone: before the download");
    let id = plan.source.bring(&plan.link.image, wanted, accounts, space, progress).await?;
    killpoint::reached("clone: after the download");
    Ok(id)
}

/// What nodes must be able to run: those that boot the target; else those of the platform.
fn wanted(platform: &Platform, target: &ImageFullName) -> Wanted {
    let of_target = users(platform, target);
    let devices = if of_target.is_empty() { platform.registry.devices() } else { of_target };
    let models: Vec<NodeModel> =
        devices.into_iter().filter_map(|device| device.node).map(|node| node.model).collect();
    Wanted::for_models(models.iter().map(NodeModel::as_str))
}

/// Whether an image with these labels may get that name.
async fn check(
    platform: &Platform,
    plan: &Plan,
    labels: &std::collections::BTreeMap<String, String>,
) -> Result<(), WorkflowError> {
    let link = plan.link.to_string();
    let Some(models) = models(labels) else { return Err(MoveError::NotWalt(link).into()) };
    if let Some(needs) = needs_newer(labels) {
        return Err(MoveError::TooNew { image: link, needs }.into());
    }
    let target = &plan.target;
    if !platform.images.catalogue().exists(target).await? {
        return Ok(());
    }
    let nodes = users(platform, target);
    let mut missing: Vec<String> = nodes
        .iter()
        .filter_map(|device| device.node.as_ref())
        .filter(|node| !models.iter().any(|model| node.model == model.as_str()))
        .map(|node| node.model.to_string())
        .collect();
    missing.sort();
    missing.dedup();
    let image = target.name().to_string();
    if !missing.is_empty() {
        return Err(MoveError::Incompatible { image, models: missing }.into());
    }
    if !plan.force {
        let nodes = nodes.iter().map(|device| device.name.to_string()).collect();
        let command = format!("walt image clone --force {link} {image}");
        return Err(MoveError::Exists { image, nodes, command }.into());
    }
    Ok(())
}
