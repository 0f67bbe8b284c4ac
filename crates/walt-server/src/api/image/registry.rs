//! Images between places: search, clone, publish, and the upkeep of what registries hold.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use tokio::sync::mpsc;
use walt_model::server_conf::{RegistryApi, RegistryAuth};
use walt_proto::api::image::registry::{
    CloneImage, PublishImage, RegistryInfo, SearchImages, UpdateDefaults, UpdateHubMeta,
};
use walt_proto::api::{ApiError, ErrorKind, Event};

use super::super::Shared;
use super::super::caller::Caller;
use super::super::extract::Body;
use super::super::failure::Failure;
use super::super::stream::events;
use super::reboot_users;
use crate::workflow::image::clone::unless_gone;
use crate::workflow::image::elsewhere::MoveError;
use crate::workflow::image::search::{Finding, Query};
use crate::workflow::image::{clone, defaults, publish, search};

/// How the API tells that an image was not moved.
pub(in crate::api) fn failure(error: MoveError) -> Failure {
    let message = error.to_string();
    let (kind, tip) = match error {
        MoveError::CredentialsNeeded { needed, .. } => {
            let tip = "walt help show registries";
            let error = ApiError::new(ErrorKind::CredentialsNeeded, message).with_tip(tip);
            return error.with_credentials(needed).into();
        }
        MoveError::BadLink { .. }
        | MoveError::UnknownLocation { .. }
        | MoveError::UnknownRegistry { .. } => {
            (ErrorKind::Invalid, Some("walt image search".to_owned()))
        }
        MoveError::AlreadyYours(_) => (ErrorKind::Conflict, Some("walt image duplicate".into())),
        MoveError::NoSuchImage(_) => (ErrorKind::NotFound, Some("walt image search".to_owned())),
        MoveError::NotWalt(_) => {
            (ErrorKind::Invalid, Some("walt help show image-from-scratch".to_owned()))
        }
        MoveError::TooNew { .. } => (ErrorKind::Conflict, Some("upgrade the server".to_owned())),
        MoveError::Exists { command, .. } => (ErrorKind::Conflict, Some(command)),
        MoveError::Incompatible { .. } => (ErrorKind::Conflict, Some("choose another name".into())),
        MoveError::Remote(error) => (kind_of(&error), None),
        MoveError::Interrupted => (ErrorKind::Unavailable, None),
        MoveError::NoHub => (ErrorKind::Unsupported, None),
    };
    let error = ApiError::new(kind, message);
    match tip {
        Some(tip) => error.with_tip(tip).into(),
        None => error.into(),
    }
}

fn kind_of(error: &walt_images::registry::RemoteError) -> ErrorKind {
    use walt_images::registry::RemoteError;
    match error {
        RemoteError::BadName { .. } | RemoteError::NotWalt { .. } => ErrorKind::Invalid,
        RemoteError::NotFound { .. } => ErrorKind::NotFound,
        RemoteError::WrongArchitecture { .. } => ErrorKind::Conflict,
        RemoteError::Unsupported { .. } => ErrorKind::Unsupported,
        RemoteError::NoRoom { .. }
        | RemoteError::Podman(_)
        | RemoteError::Command(_)
        | RemoteError::Configuration { .. }
        | RemoteError::File { .. } => ErrorKind::Unavailable,
        _ => ErrorKind::Unreachable,
    }
}

/// The registries of the platform.
pub(super) async fn registries(
    State(platform): State<Shared>,
    _: Caller,
) -> Json<Vec<RegistryInfo>> {
    let told = |remote: &walt_images::registry::Remote| {
        let conf = remote.conf();
        let (api, address) = match conf.api {
            RegistryApi::DockerHub => ("docker-hub", String::new()),
            RegistryApi::DockerRegistryV2 => {
                ("docker-registry-v2", format!("{}:{}", conf.host, conf.port))
            }
            RegistryApi::JfrogArtifactory => {
                ("jfrog-artifactory", format!("{}:{}", conf.host, conf.port))
            }
        };
        RegistryInfo {
            label: conf.label.clone(),
            description: conf.description.clone(),
            api: api.to_owned(),
            address,
            needs_account: conf.auth == RegistryAuth::Basic,
        }
    };
    Json(platform.remotes.registries().iter().map(told).collect())
}

/// Looks for images everywhere.
pub(super) async fn search(
    State(platform): State<Shared>,
    caller: Caller,
    Body(request): Body<SearchImages>,
) -> Result<Response, Failure> {
    let tasks = platform.tasks.clone();
    Ok(events(&tasks, "image search", |report| async move {
        let query = Query {
            user: &caller.user,
            keyword: request.keyword.as_deref(),
            accounts: &request.accounts,
            without: &request.without,
        };
        let (sender, mut findings) = mpsc::unbounded_channel();
        let tell = move |finding| drop(sender.send(finding));
        let searched = async {
            let result = search::search(&platform, &query, &tell).await;
            drop(tell);
            result
        };
        let searched = unless_gone(&platform, searched, report.gone());
        let told = async {
            while let Some(finding) = findings.recv().await {
                report
                    .send(match finding {
                        Finding::Image(image) => Event::Found(image),
                        Finding::LeftOut(why) => Event::Err { text: why + "\n" },
                    })
                    .await;
            }
        };
        let (searched, ()) = tokio::join!(searched, told);
        searched?;
        Ok(None)
    }))
}

/// Clones an image.
pub(super) async fn clone(
    State(platform): State<Shared>,
    caller: Caller,
    Body(request): Body<CloneImage>,
) -> Result<Response, Failure> {
    let name = request.name.as_deref();
    let plan = clone::plan(&platform, &caller.user, &request.link, name, request.force)?;
    let tasks = platform.tasks.clone();
    Ok(events(&tasks, "image clone", |report| async move {
        let image = plan.target.name().to_string();
        if plan.renamed {
            let text = format!("The name of the clone will be '{image}'.\n");
            report.send(Event::Out { text }).await;
        }
        let put = clone::clone(&platform, &plan, &request.accounts, &report, report.gone()).await?;
        report.send(Event::CloneComplete { image }).await;
        reboot_users(&platform, put, &report).await;
        Ok(None)
    }))
}

/// Publishes an image.
pub(super) async fn publish(
    State(platform): State<Shared>,
    caller: Caller,
    Body(request): Body<PublishImage>,
) -> Result<Response, Failure> {
    let tasks = platform.tasks.clone();
    Ok(events(&tasks, "image publish", |report| async move {
        let PublishImage { image, registry, accounts } = &request;
        let (user, gone) = (&caller.user, report.gone());
        let published = publish::publish(&platform, user, image, registry, accounts, &report, gone);
        report.send(Event::Published { clone_link: published.await? }).await;
        Ok(None)
    }))
}

/// Takes newer default images.
pub(super) async fn update_defaults(
    State(platform): State<Shared>,
    caller: Caller,
    Body(request): Body<UpdateDefaults>,
) -> Result<Response, Failure> {
    let tasks = platform.tasks.clone();
    Ok(events(&tasks, "update of default images", |report| async move {
        let UpdateDefaults { accounts, without } = &request;
        let tell = |text: String| report.hint(Event::Err { text: text + "\n" });
        let looked = defaults::newer(&platform, accounts, without, &tell);
        let found = unless_gone(&platform, looked, report.gone()).await?;
        if found.is_empty() {
            report.send(Event::Out { text: "No updates available.\n".to_owned() }).await;
        }
        for newer in found {
            let (image, location) = (newer.image.short(), &newer.location);
            let text = format!("Updating {image} using a newer version from {location}...\n");
            report.send(Event::Out { text }).await;
            let (user, gone) = (&caller.user, report.gone());
            let put = defaults::update(&platform, &newer, user, accounts, &report, gone).await?;
            reboot_users(&platform, put, &report).await;
        }
        Ok(None)
    }))
}

/// Makes the list of images of an account of the hub again.
pub(super) async fn update_hub_meta(
    State(platform): State<Shared>,
    _: Caller,
    Body(request): Body<UpdateHubMeta>,
) -> Result<Response, Failure> {
    let tasks = platform.tasks.clone();
    Ok(events(&tasks, "update of the hub's list", |report| async move {
        let found = {
            let report = report.clone();
            move |link: String| report.hint(Event::Out { text: link + "\n" })
        };
        let UpdateHubMeta { platform: of_platform, accounts } = &request;
        let count =
            publish::update_hub_meta(&platform, *of_platform, accounts, &found, report.gone());
        let text = match count.await? {
            1 => "1 image is listed.\n".to_owned(),
            count => format!("{count} images are listed.\n"),
        };
        report.send(Event::Out { text }).await;
        Ok(None)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use walt_proto::api::image::registry::CredentialsNeeded;

    #[test]
    fn which_registry_wants_an_account() {
        let needed = CredentialsNeeded { registry: "lab".to_owned(), refused: true };
        let error = MoveError::CredentialsNeeded { needed: needed.clone(), message: "m".into() };
        let Failure(told) = failure(error);
        assert_eq!(told.kind, ErrorKind::CredentialsNeeded);
        assert_eq!(told.credentials, Some(needed));
    }
}
