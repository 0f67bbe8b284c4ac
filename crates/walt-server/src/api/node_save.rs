//! Saving a node as an image.

use axum::extract::State;
use axum::response::Response;
use walt_images::turn::{Task, Turn};
use walt_model::{ImageFullName, ImageName};
use walt_proto::api::error::GateMode;
use walt_proto::api::node::SaveNode;
use walt_proto::api::{ApiError, ErrorKind, Event};

use super::Shared;
use super::caller::Caller;
use super::extract::{Body, Name};
use super::failure::Failure;
use super::gate;
use super::image::reboot_users;
use super::stream::{Reporter, events};
use crate::killpoint;
use crate::platform::Platform;
use crate::registry::Device;
use crate::workflow::WorkflowError;
use crate::workflow::image::{Origin, Put, check, put, take, users};
use crate::workflow::save::{Made, SaveError, Workspace, make};

pub(super) async fn save(
    State(platform): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Body(request): Body<SaveNode>,
) -> Result<Response, Failure> {
    let user = caller.user;
    let device = gate::one(&platform, &user, &name, GateMode::OwnedOrFree, request.confirmed)?;
    let image: ImageName =
        request.image.parse().map_err(|error| Failure::invalid(format!("{error}")))?;
    let image = image.owned_by(user.clone());
    let exists = platform.images.catalogue().exists(&image).await.map_err(WorkflowError::Store)?;
    if exists && !request.overwrite {
        let warning = overwrite_warning(&platform, &image);
        return Err(ApiError::new(ErrorKind::ConfirmationNeeded, warning).into());
    }
    if !platform.presence.is_booted(device.mac) {
        return Err(SaveError::Down(device.name).into());
    }
    let turn = take(&platform, &image, Task::Save, &user)?;
    let origin = Origin { task: Task::Save, by: user, detail: device.name.to_string() };
    let tasks = platform.tasks.clone();
    Ok(events(&tasks, "save of a node", |report| async move {
        let space = Workspace::open(&platform)?;
        let saved = one(&platform, &device, &image, &turn, &origin, &space, &report).await;
        killpoint::reached("save: before the end");
        space.close().await;
        let put = saved?;
        drop(turn);
        reboot_users(&platform, put, &report).await;
        Ok(None)
    }))
}

fn overwrite_warning(platform: &Platform, image: &ImageFullName) -> String {
    let nodes: Vec<String> =
        users(platform, image).iter().map(|device| device.name.to_string()).collect();
    let name = image.name();
    match nodes.as_slice() {
        [] => format!("Warning: image '{name}' already exists and will be overwritten."),
        nodes => format!(
            "Warning: image '{name}' already exists and will be overwritten. It is used by {}, which will be rebooted.",
            match nodes.len() {
                1 => "1 node".to_owned(),
                count => format!("{count} nodes"),
            }
        ),
    }
}

async fn one(
    platform: &Shared,
    device: &Device,
    image: &ImageFullName,
    turn: &Turn,
    origin: &Origin,
    space: &Workspace<'_>,
    report: &Reporter,
) -> Result<Put, Failure> {
    let out = async |text: String| report.send(Event::Out { text: text + "\n" }).await;
    out(format!("** Reading what changed on node {}", device.name)).await;
    let note = format!("walt node save {} {}", device.name, image.name());
    let stopped = platform.tasks.token();
    let made = tokio::select! {
        made = make(platform, device, &note, space, report) => made?,
        () = report.gone() => return Err(Failure::invalid("Nobody waits for the image any more.")),
        () = stopped.cancelled() => return Err(SaveError::Stopping.into()),
    };
    for line in told(&made) {
        out(line).await;
    }
    out("** Verifying the image".to_owned()).await;
    for text in check::warnings(&check::look(platform, &made.id, &[]).await?) {
        report.send(Event::Err { text }).await;
    }
    let put = put(platform, turn, image, &made.id, origin, report).await?;
    out("OK".to_owned()).await;
    Ok(put)
}

/// What the user should know about what was saved.
fn told(made: &Made) -> Vec<String> {
    let summary = &made.summary;
    if summary.is_empty() {
        return vec!["Nothing changed on this node since it booted.".to_owned()];
    }
    let mut lines = vec![format!(
        "{} files and directories changed ({} bytes), {} removed.",
        summary.changed, summary.bytes, summary.removed
    )];
    if made.some_changed {
        lines.push("Note: some files changed while they were read.".to_owned());
    }
    if summary.skipped > 0 {
        let mut names = summary.told.join(", ");
        if summary.skipped > summary.told.len() as u64 {
            names.push_str(", ...");
        }
        lines.push(format!("Note: {} left out: {names}.", summary.skipped));
    }
    lines
}

impl From<SaveError> for Failure {
    fn from(error: SaveError) -> Self {
        let message = error.to_string();
        let (kind, tip) = match error {
            SaveError::Down(node) => (ErrorKind::Conflict, Some(format!("walt node wait {node}"))),
            SaveError::UnknownRoot(node) | SaveError::OtherRoot(node) => {
                (ErrorKind::Conflict, Some(format!("walt node wait {node}, then try again")))
            }
            SaveError::Node { .. } => (ErrorKind::Unreachable, None),
            SaveError::Changes { .. } => (ErrorKind::Invalid, None),
            SaveError::Stack(_) | SaveError::Store(_) | SaveError::Directory(..) => {
                tracing::error!("a node could not be saved: {message}");
                (ErrorKind::Unavailable, None)
            }
            SaveError::Stopping => (ErrorKind::Unavailable, None),
        };
        let error = ApiError::new(kind, message);
        match tip {
            Some(tip) => error.with_tip(tip),
            None => error,
        }
        .into()
    }
}
