//! How a failure is told, in a plain answer, in an event stream and in a WebSocket session.

use super::image::registry::CredentialsNeeded;
use serde::{Deserialize, Serialize};

/// What went wrong, for programs. The HTTP status follows from it ([`ErrorKind::status`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request breaks a rule: a bad name, a bad range, a bad combination.
    Invalid,
    /// A node, image, device, checkpoint or endpoint that does not exist.
    NotFound,
    /// The state of the platform forbids it: a name already taken, an image in use, an incompatible model.
    Conflict,
    /// The ownership gate said no, and no confirmation can change that (`release` of a node of another user).
    /// [`ApiError::gate`] has the facts.
    Ownership,
    /// The request would disturb somebody else: ask the user, then send it again with `confirmed: true`.
    /// [`ApiError::gate`] has the facts.
    ConfirmationNeeded,
    /// Asked for something this server does not offer (yet).
    Unsupported,
    /// The server cannot do it now: it is starting, stopping, or a tool it needs is missing.
    Unavailable,
    /// The node (or device) did not answer.
    Unreachable,
    /// A deadline given by the user or by the server passed.
    Timeout,
    /// The caller may not do this.
    Forbidden,
    /// A registry needs an account: send the request again with one. [`ApiError::credentials`] names the registry.
    CredentialsNeeded,
    /// A fault of the server. The message is safe to show; details are in the server's journal.
    Internal,
    /// A kind added after this client was made.
    #[serde(other)]
    Other,
}

impl ErrorKind {
    /// HTTP status of an answer of this kind.
    pub const fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::CredentialsNeeded => 401,
            Self::Forbidden | Self::Ownership => 403,
            Self::NotFound => 404,
            Self::Conflict | Self::ConfirmationNeeded => 409,
            Self::Unsupported => 501,
            Self::Unreachable => 502,
            Self::Unavailable => 503,
            Self::Timeout => 504,
            Self::Internal | Self::Other => 500,
        }
    }

    /// Exit status of a `walt` command that ends with this error: a failure never ends with 0.
    pub const fn exit_status(self) -> u8 {
        1
    }
}

/// A failure. `message` is one or more complete sentences without a final newline, ready for the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What went wrong, for programs.
    pub kind: ErrorKind,
    /// What was asked and what was found: `No device with name 'n1' found.`
    pub message: String,
    /// What to try: `walt image show`. Shown as `(tip: <tip>)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tip: Option<String>,
    /// Facts behind [`ErrorKind::Ownership`] and [`ErrorKind::ConfirmationNeeded`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// Facts behind [`ErrorKind::CredentialsNeeded`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialsNeeded>,
}

impl ApiError {
    /// A failure without tip.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), tip: None, gate: None, credentials: None }
    }

    /// Adds what to try.
    #[must_use]
    pub fn with_tip(mut self, tip: impl Into<String>) -> Self {
        self.tip = Some(tip.into());
        self
    }

    /// Adds which registry needs an account.
    #[must_use]
    pub fn with_credentials(mut self, needed: CredentialsNeeded) -> Self {
        self.credentials = Some(needed);
        self
    }

    /// Adds the facts of the ownership gate.
    #[must_use]
    pub fn with_gate(mut self, gate: Gate) -> Self {
        self.gate = Some(gate);
        self
    }
}

/// Body of every answer whose status is not 2xx.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The failure.
    pub error: ApiError,
}

/// Which nodes a command may touch, seen from its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum GateMode {
    /// Any node; used by commands that disturb nobody (`wait`, `ping`, `show`).
    #[default]
    Any,
    /// Own and free nodes; nodes of others need a confirmation.
    OwnedOrFree,
    /// `acquire`: own nodes are an error, nodes of others need a confirmation.
    FreeOrNotOwned,
    /// `release`: own nodes only.
    Owned,
}

/// What the ownership gate found in the set of a request. Names are sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// The rule that was applied.
    pub mode: GateMode,
    /// Nodes booting an image of the caller.
    #[serde(default)]
    pub owned: Vec<String>,
    /// Nodes booting an image of `waltplatform`.
    #[serde(default)]
    pub free: Vec<String>,
    /// Nodes booting an image of another user.
    #[serde(default)]
    pub foreign: Vec<String>,
    /// Devices of the set that are not nodes.
    #[serde(default)]
    pub not_nodes: Vec<String>,
}
