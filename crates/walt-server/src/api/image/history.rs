//! What an image of the caller was before, and how it comes back.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use walt_images::turn::Task;
use walt_model::sentence::sentence;
use walt_model::{ImageFullName, Mac};
use walt_proto::api::image::history::{ImageVersion, RollbackImage};
use walt_proto::api::{ApiError, ErrorKind, Event};

use super::reboot_users;
use crate::api::Shared;
use crate::api::caller::Caller;
use crate::api::extract::{Body, Name};
use crate::api::failure::Failure;
use crate::api::stream::events;
use crate::platform::Platform;
use crate::state::Version;
use crate::workflow::image::{self, Origin, history, take};
use crate::workflow::{WorkflowError, names_of};

pub(super) async fn versions(
    State(platform): State<Shared>,
    caller: Caller,
    Name(name): Name,
) -> Result<Json<Vec<ImageVersion>>, Failure> {
    let (image, versions) = history::versions(&platform, &caller.user, &name).await?;
    Ok(Json(views(&platform, &image, versions)))
}

/// Newest first.
fn views(platform: &Platform, image: &ImageFullName, versions: Vec<Version>) -> Vec<ImageVersion> {
    let read: HashMap<Mac, walt_images::ImageId> = platform.images.readers();
    let mut nodes = image::users(platform, image);
    let mut views = Vec::new();
    for (version, current) in
        versions.into_iter().rev().zip(std::iter::once(true).chain(std::iter::repeat(false)))
    {
        let content = version.content;
        // A content that came back is that of its latest version.
        let (users, others) = nodes.into_iter().partition::<Vec<_>, _>(|device| {
            read.get(&device.mac).map_or(current, |id| *id == content.id)
        });
        nodes = others;
        views.push(ImageVersion {
            version: version.number,
            id: content.id.to_string(),
            since_ms: content.since_ms,
            created_ms: content.created_ms,
            size_bytes: content.size,
            cause: content.task,
            by: content.by,
            detail: content.detail,
            current,
            used_by: names_of(&users),
        });
    }
    // These read what is no version any more, until they boot again.
    if let Some(current) = views.first_mut() {
        current.used_by.extend(names_of(&nodes));
        current.used_by.sort();
    }
    views
}

pub(super) async fn rollback(
    State(platform): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Body(request): Body<RollbackImage>,
) -> Result<Response, Failure> {
    let user = caller.user;
    let (image, _) = image::names::existing(&platform, &user, &name).await?;
    let turn = take(&platform, &image, Task::Rollback, &user)?;
    let (_, versions) = history::versions(&platform, &user, &name).await?;
    let wanted = choose(&image, versions, request.version)?;
    let nodes = names_of(&image::users(&platform, &image));
    if !nodes.is_empty() && !request.confirmed {
        let warning = sentence(
            "Warning: {} {boots|boot} this image and {it|they} will be rebooted.",
            "node",
            &nodes,
        );
        return Err(ApiError::new(ErrorKind::ConfirmationNeeded, warning).into());
    }
    let tasks = platform.tasks.clone();
    Ok(events(&tasks, "rollback", |report| async move {
        let detail = format!("version {}", wanted.number);
        let origin = Origin { task: Task::Rollback, by: user, detail };
        let id = wanted.content.id;
        let put = image::put(&platform, &turn, &image, &id, &origin, &report).await?;
        drop(turn);
        let text =
            format!("Image {} is again what it was as version {}.\n", image.name(), wanted.number);
        report.send(Event::Out { text }).await;
        reboot_users(&platform, put, &report).await;
        Ok(None)
    }))
}

/// The version that comes back: the one asked for, or the one before the current one.
fn choose(
    image: &ImageFullName,
    mut versions: Vec<Version>,
    number: Option<u32>,
) -> Result<Version, Failure> {
    let name = || image.name().clone();
    let Some(current) = versions.pop() else {
        return Err(WorkflowError::NoSuchImage(name()).into());
    };
    match number {
        Some(number) if number == current.number => Err(Failure::invalid(format!(
            "Version {number} is what image '{}' is now.",
            image.name()
        ))),
        Some(number) => versions
            .into_iter()
            .find(|version| version.number == number)
            .ok_or_else(|| WorkflowError::NoSuchVersion { image: name(), number }.into()),
        None => versions.pop().ok_or_else(|| {
            let message = format!("Image '{}' has no earlier version.", image.name());
            ApiError::new(ErrorKind::NotFound, message).with_tip("walt image history").into()
        }),
    }
}
