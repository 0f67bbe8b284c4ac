//! Who asks: the peer of the Unix socket.

use axum::extract::ConnectInfo;
use axum::extract::FromRequestParts;
use axum::extract::connect_info::Connected;
use axum::http::request::Parts;
use axum::serve::IncomingStream;
use nix::unistd::{Uid, User};
use tokio::net::UnixListener;
use walt_model::UserName;
use walt_proto::api::{ApiError, ErrorKind};

use super::failure::Failure;

/// The caller of a request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Name of the user.
    pub user: UserName,
}

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let uid = stream.io().peer_cred().map(|peer| peer.uid());
        Self { user: user_of(uid.unwrap_or(u32::MAX)) }
    }
}

/// The name of a user, or `uid<n>` when the system has none that could own images. `waltplatform`
/// is nobody's name.
fn user_of(uid: u32) -> UserName {
    let name = User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name);
    let name = name.and_then(|name| name.parse::<UserName>().ok());
    match name.filter(|name| !name.is_platform()) {
        Some(name) => name,
        None => match format!("uid{uid}").parse() {
            Ok(name) => name,
            Err(_) => UserName::platform(),
        },
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        match parts.extensions.get::<ConnectInfo<Self>>() {
            Some(ConnectInfo(caller)) => Ok(caller.clone()),
            None => {
                Err(ApiError::new(ErrorKind::Forbidden, "The caller could not be identified.")
                    .into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_their_name_or_their_number() {
        assert_eq!(user_of(0), "root");
        assert_eq!(user_of(4_242_424), "uid4242424");
    }
}
