//! `walt image squash`

use axum::extract::State;
use axum::response::Response;
use walt_images::turn::Task;
use walt_proto::api::image::build::Squash;
use walt_proto::api::{ApiError, ErrorKind, Event};

use super::super::Shared;
use super::super::caller::Caller;
use super::super::extract::{Body, Name};
use super::super::failure::Failure;
use super::super::stream::{Reporter, events};
use super::build::{own_image, rebooted};
use super::reboot_users;
use crate::workflow::Progress;
use crate::workflow::image::operation::Operation;
use crate::workflow::image::squash::flatten;
use crate::workflow::image::{Origin, put, take, users};

pub(super) async fn squash(
    State(platform): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Body(request): Body<Squash>,
) -> Result<Response, Failure> {
    let user = caller.user;
    let (image, _) = own_image(&platform, &user, &name).await?;
    let count = users(&platform, &image).len();
    if count > 0 && !request.confirmed {
        let message = format!("Warning: {}.", rebooted(count));
        return Err(ApiError::new(ErrorKind::ConfirmationNeeded, message).into());
    }
    let turn = take(&platform, &image, Task::Squash, &user)?;
    let tasks = platform.tasks.clone();
    Ok(events(&tasks, "image squash", |report: Reporter| async move {
        // Looked at again: it is our turn now.
        let (_, entry) = own_image(&platform, &user, &name).await?;
        report.label("Squashing the image");
        let operation = Operation::begin(&platform).await?;
        let flat = tokio::select! {
            flat = flatten(&platform, &operation, &entry.id) => flat.map_err(Failure::from),
            () = report.gone() => Err(Failure::invalid("The client went away.")),
        };
        let detail = format!("{} layers", entry.layers);
        let origin = Origin { task: Task::Squash, by: user, detail };
        let done = match flat {
            Ok(flat) => put(&platform, &turn, &image, &flat, &origin, &report).await,
            Err(failure) => {
                operation.end().await;
                return Err(failure);
            }
        };
        operation.end().await;
        let put = done?;
        drop(turn);
        report.send(Event::Out { text: "Image was squashed successfully.\n".into() }).await;
        reboot_users(&platform, put, &report).await;
        Ok(None)
    }))
}
