//! Images: one file for each kind of request; [`routes`] lists them all.

mod build;
mod check;
mod diff;
mod files;
mod from_node;
mod history;
mod names;
pub(super) mod registry;
mod shell;
mod squash;

use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use walt_images::ImageEntry;
use walt_model::sentence::sentence;
use walt_model::{DownCause, UserName};
use walt_proto::api::event::RebootAttempt;
use walt_proto::api::image::{Cloned, Image, ImageSet, ImagesQuery};
use walt_proto::api::{Empty, Event, route};

use super::Shared;
use super::caller::Caller;
use super::extract::{Body, Query};
use super::failure::Failure;
use super::node::tell_reboots;
use super::stream::Reporter;
use crate::platform::Platform;
use crate::workflow::clone_default::for_newcomer;
use crate::workflow::image::Put;
use crate::workflow::{WorkflowError, names_of};

/// The endpoints of images.
pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route(route::IMAGES, get(list))
        .route(route::IMAGES_CLONE_DEFAULTS, post(clone_defaults))
        .route(route::REGISTRIES, get(registry::registries))
        .route(route::IMAGES_SEARCH, post(registry::search))
        .route(route::IMAGES_CLONE, post(registry::clone))
        .route(route::IMAGES_PUBLISH, post(registry::publish))
        .route(route::IMAGES_UPDATE_DEFAULTS, post(registry::update_defaults))
        .route(route::IMAGES_UPDATE_HUB_META, post(registry::update_hub_meta))
        .merge(shell::routes())
        .merge(files::routes())
        .route(route::NODE_FILES_TO_IMAGE, post(from_node::copy))
        .route(route::IMAGES_DIFF, post(diff::diff))
        .route(route::IMAGES_TAKE_OVER, post(names::take_over))
        .route(route::IMAGE, delete(names::remove))
        .route(route::IMAGE_DUPLICATE, post(names::duplicate))
        .route(route::IMAGE_RENAME, post(names::rename))
        .route(route::IMAGE_VERSIONS, get(history::versions))
        .route(route::IMAGE_ROLLBACK, post(history::rollback))
        .route(route::IMAGE_BUILD, post(build::build).layer(DefaultBodyLimit::disable()))
        .route(route::IMAGE_SQUASH, post(squash::squash))
        .route(route::IMAGE_CHECK, get(check::check))
}

/// Reboots the nodes of an image that has new content, and tells how that went. Nobody's turn is held meanwhile.
pub(super) async fn reboot_users(platform: &Shared, put: Put, report: &Reporter) {
    if put.nodes.is_empty() {
        return;
    }
    let nodes = names_of(&put.nodes);
    if let Some(cause) = put.problem {
        let method = "preparation of the image".to_owned();
        let attempts = vec![RebootAttempt { method, cause }];
        report.send(Event::RebootFailed { nodes, attempts }).await;
        return;
    }
    let text = sentence("Trying to reboot {} using this image...", "node", &nodes) + "\n";
    report.send(Event::Out { text }).await;
    tell_reboots(platform, put.nodes, false, DownCause::ImageChange, report).await;
}

async fn list(
    State(platform): State<Shared>,
    caller: Caller,
    Query(query): Query<ImagesQuery>,
) -> Result<Json<Vec<Image>>, Failure> {
    let catalogue = platform.images.catalogue();
    let store = match query.refresh {
        true => catalogue.refresh().await,
        false => catalogue.current().await,
    }
    .map_err(WorkflowError::Store)?;
    let mut images: Vec<Image> =
        store.values().map(|entry| view(&platform, &caller.user, entry)).collect();
    images.sort_by(|a, b| (&a.owner, &a.name).cmp(&(&b.owner, &b.name)));
    Ok(Json(images))
}

async fn clone_defaults(
    State(platform): State<Shared>,
    caller: Caller,
    Body(Empty {}): Body<Empty>,
) -> Result<Json<Vec<Cloned>>, Failure> {
    let clones = for_newcomer(&platform, &caller.user).await?;
    let told = clones
        .into_iter()
        .map(|own| Cloned { image: own.image.name().to_string(), models: own.models });
    Ok(Json(told.collect()))
}

fn view(platform: &Platform, user: &UserName, entry: &ImageEntry) -> Image {
    let mut used_by: Vec<String> = platform
        .registry
        .devices()
        .into_iter()
        .filter(|device| {
            device.node.as_ref().is_some_and(|node| node.image.to_string() == entry.fullname)
        })
        .map(|device| device.name.to_string())
        .collect();
    used_by.sort();
    let name = entry.user_name().to_owned();
    let set = if *user == entry.owner.as_str() {
        ImageSet::Own
    } else if entry.owner == UserName::PLATFORM && name.ends_with("-default") {
        ImageSet::Default
    } else {
        ImageSet::Other
    };
    let mut models = entry.models.clone();
    models.sort();
    Image {
        owner: entry.owner.clone(),
        clone_link: format!("walt:{}/{name}", entry.owner),
        name,
        full_name: entry.fullname.clone(),
        set,
        id: entry.id.to_string(),
        created_ms: entry.created.saturating_mul(1000),
        models,
        in_use: !used_by.is_empty(),
        used_by,
        size_bytes: Some(entry.size),
    }
}
