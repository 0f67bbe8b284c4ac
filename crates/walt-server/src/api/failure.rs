//! Errors of the rooms of the server, as the API tells them.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use walt_logs::LogError;
use walt_model::DeviceSetError;
use walt_proto::api::{ApiError, ErrorBody, ErrorKind};

use crate::node_access::SshError;
use crate::registry::RegistryError;
use crate::state::StateError;
use crate::workflow::WorkflowError;

/// An error answer.
#[derive(Debug)]
pub struct Failure(pub Box<ApiError>);

impl Failure {
    /// A request that breaks a rule.
    pub fn invalid(message: impl Into<String>) -> Self {
        ApiError::new(ErrorKind::Invalid, message).into()
    }

    /// Adds what to try.
    #[must_use]
    pub fn tip(mut self, tip: &str) -> Self {
        self.0.tip = Some(tip.to_owned());
        self
    }

    /// A fault of the server: details go to the journal only.
    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!("a request failed: {error}");
        ApiError::new(ErrorKind::Internal, "The server failed; its journal has the details.").into()
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(Box::new(error))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.kind.status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(ErrorBody { error: *self.0 })).into_response()
    }
}

impl From<DeviceSetError> for Failure {
    fn from(error: DeviceSetError) -> Self {
        let kind = match &error {
            DeviceSetError::UnknownName(_) | DeviceSetError::Empty(_) => ErrorKind::NotFound,
            DeviceSetError::NotANode { .. } | DeviceSetError::NotAllowed { .. } => {
                ErrorKind::Invalid
            }
        };
        ApiError::new(kind, error.to_string()).into()
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        let kind = match &error {
            RegistryError::NameTaken(_) | RegistryError::MacTaken(_) => ErrorKind::Conflict,
            RegistryError::UnknownName(_) => ErrorKind::NotFound,
            RegistryError::NoAddress(_) => ErrorKind::Unavailable,
        };
        ApiError::new(kind, error.to_string()).into()
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Taken { .. } => ApiError::new(
                ErrorKind::Conflict,
                walt_model::sentence::capitalised(&error.to_string()),
            )
            .into(),
            StateError::NoSuchDevice(_) => {
                ApiError::new(ErrorKind::NotFound, "This device is no longer registered.").into()
            }
            StateError::Stopped => stopping(),
            StateError::Open { .. }
            | StateError::Newer { .. }
            | StateError::Invalid { .. }
            | StateError::Sqlite(_)
            | StateError::NotWritten(_) => Self::internal(&error),
        }
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        match error {
            LogError::CheckpointExists(_) => {
                ApiError::new(ErrorKind::Conflict, format!("Failed: {error}")).into()
            }
            LogError::NoSuchCheckpoint(_) => {
                ApiError::new(ErrorKind::NotFound, format!("Failed: {error}")).into()
            }
            LogError::Stopped => stopping(),
            LogError::Bundle(why) => Self::invalid(format!("This bundle is not accepted: {why}.")),
            LogError::NotWritten(_) => {
                let message = walt_model::sentence::capitalised(&error.to_string());
                ApiError::new(ErrorKind::Unavailable, message).into()
            }
            LogError::Export(_)
            | LogError::Open { .. }
            | LogError::Newer { .. }
            | LogError::Sqlite(_) => Self::internal(&error),
        }
    }
}

impl From<SshError> for Failure {
    fn from(error: SshError) -> Self {
        let kind = match &error {
            SshError::Start(_) => ErrorKind::Unavailable,
            SshError::Unreachable { .. } => ErrorKind::Unreachable,
            SshError::Failed { .. } => ErrorKind::Invalid,
            SshError::Timeout { .. } => ErrorKind::Timeout,
        };
        ApiError::new(kind, walt_model::sentence::capitalised(&error.to_string())).into()
    }
}

impl From<WorkflowError> for Failure {
    fn from(error: WorkflowError) -> Self {
        let message = error.to_string();
        let (kind, tip) = match error {
            WorkflowError::Registry(error) => return error.into(),
            WorkflowError::State(error) => return error.into(),
            WorkflowError::Move(error) => return super::image::registry::failure(error),
            WorkflowError::Serve { .. } => (ErrorKind::Unavailable, None),
            WorkflowError::Unsettled => (ErrorKind::Unavailable, None),
            WorkflowError::Busy(_) => (ErrorKind::Conflict, Some("try again when it has ended")),
            WorkflowError::Store(_) => (ErrorKind::Unavailable, Some("is podman installed?")),
            WorkflowError::Foreign(_) => {
                (ErrorKind::Unavailable, Some("walt help show foreign-cpus"))
            }
            WorkflowError::Session(_) => (ErrorKind::Unavailable, None),
            WorkflowError::TooManyLayers(name) => {
                let error = ApiError::new(ErrorKind::Conflict, message);
                return error.with_tip(format!("walt image squash {name}")).into();
            }
            WorkflowError::ImageExists(_) => (ErrorKind::Conflict, None),
            WorkflowError::ImageInUse { .. } => {
                (ErrorKind::Conflict, Some("walt node boot gives nodes another image"))
            }
            WorkflowError::LeavesOut { .. } | WorkflowError::NoModels(_) => {
                (ErrorKind::Conflict, Some("walt help show image"))
            }
            WorkflowError::NoSuchVersion { .. } => {
                (ErrorKind::NotFound, Some("walt image history"))
            }
            WorkflowError::NoSuchImage(_) => (ErrorKind::NotFound, Some("walt image show")),
            WorkflowError::NoDefaultImage { .. } => {
                (ErrorKind::Unavailable, Some("cargo xtask demo makes the default image"))
            }
            WorkflowError::Incompatible { .. } => (ErrorKind::Conflict, Some("walt image show")),
            WorkflowError::Unbootable { .. } => {
                (ErrorKind::Conflict, Some("walt help show image-from-scratch"))
            }
            WorkflowError::Root(_) => (ErrorKind::Unavailable, None),
            WorkflowError::NotVirtual(_) | WorkflowError::Invalid(_) => (ErrorKind::Invalid, None),
            WorkflowError::Settings(_) => (ErrorKind::Invalid, Some("walt help show node-config")),
            WorkflowError::NoRoom(_) => (ErrorKind::Unavailable, None),
            WorkflowError::Machine { .. } => (ErrorKind::Internal, None),
            WorkflowError::Timeout { .. } => (ErrorKind::Timeout, None),
        };
        let error = ApiError::new(kind, message);
        match tip {
            Some(tip) => error.with_tip(tip).into(),
            None => error.into(),
        }
    }
}

fn stopping() -> Failure {
    ApiError::new(ErrorKind::Unavailable, "The server is stopping.").into()
}
