//! Names of the caller's images: further ones, other ones, none any more.

use axum::Json;
use axum::extract::State;
use walt_model::UserName;
use walt_proto::api::image::history::{NewImageName, TakeOver, TakenOver};
use walt_proto::api::{ApiError, Empty, ErrorKind};

use crate::api::Shared;
use crate::api::caller::Caller;
use crate::api::extract::{Body, Name};
use crate::api::failure::Failure;
use crate::api::node::detached;
use crate::workflow::image::names;

pub(super) async fn duplicate(
    State(platform): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Body(request): Body<NewImageName>,
) -> Result<Json<Empty>, Failure> {
    detached(&platform.clone(), async move {
        names::duplicate(&platform, &caller.user, &name, &request.new_name).await
    })
    .await?;
    Ok(Json(Empty {}))
}

pub(super) async fn rename(
    State(platform): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Body(request): Body<NewImageName>,
) -> Result<Json<Empty>, Failure> {
    detached(&platform.clone(), async move {
        names::rename(&platform, &caller.user, &name, &request.new_name).await
    })
    .await?;
    Ok(Json(Empty {}))
}

pub(super) async fn remove(
    State(platform): State<Shared>,
    caller: Caller,
    Name(name): Name,
) -> Result<Json<Empty>, Failure> {
    detached(&platform.clone(), async move { names::remove(&platform, &caller.user, &name).await })
        .await?;
    Ok(Json(Empty {}))
}

/// Users change only their own images: those of an account of this machine are only taken over by its administrator.
pub(super) async fn take_over(
    State(platform): State<Shared>,
    caller: Caller,
    Body(request): Body<TakeOver>,
) -> Result<Json<TakenOver>, Failure> {
    let other: UserName = request
        .user
        .parse()
        .map_err(|error: walt_model::names::UserNameError| Failure::invalid(error.to_string()))?;
    if other == caller.user {
        return Err(Failure::invalid("These images are yours already."));
    }
    if other.is_platform() {
        return Err(Failure::invalid(
            "Images of the platform belong to nobody: clone them instead.",
        )
        .tip("walt image clone walt:waltplatform/<image>"));
    }
    if caller.user != "root" && is_account(&other) {
        let message = format!("User '{other}' is still a user of this machine.");
        let error = ApiError::new(ErrorKind::Forbidden, message);
        return Err(error.with_tip("the administrator (root) can do this").into());
    }
    let images = detached(&platform.clone(), async move {
        names::take_over(&platform, &caller.user, &other).await
    })
    .await?;
    Ok(Json(TakenOver { images: images.iter().map(ToString::to_string).collect() }))
}

/// Whether somebody may log in under this name. In doubt, yes.
fn is_account(user: &UserName) -> bool {
    !matches!(nix::unistd::User::from_name(user.as_str()), Ok(None))
}
