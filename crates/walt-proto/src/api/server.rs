//! The server itself.

use serde::{Deserialize, Serialize};

/// Answer of [`route::VERSION`](super::route::VERSION): who answers, and who the server takes the caller for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    /// Version of the software (`0.1.0`).
    pub version: String,
    /// Newest API version it speaks.
    pub api: u32,
    /// Oldest API version it still speaks.
    pub oldest_api: u32,
    /// User name of the caller (from the peer credentials of the socket).
    pub user: String,
    /// The server's clock, in milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// The server's time zone, as an IANA name (`Europe/Paris`, `UTC`): times are shown in it.
    pub timezone: String,
    /// Whether the platform is up.
    pub state: ServerState,
}

/// Answer of [`route::HEALTH`](super::route::HEALTH): 200 when ready, 503 otherwise, with this body in both cases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether the platform is up.
    pub state: ServerState,
    /// One line per part that is not as it should be (`dhcp: cannot bind 192.168.152.1:67: address in use`).
    #[serde(default)]
    pub problems: Vec<String>,
}

/// State of the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// Parts are being started.
    Starting,
    /// Everything runs.
    Ready,
    /// Running, but some part failed.
    Degraded,
    /// Parts are being stopped.
    Stopping,
    /// A state added after this client was made.
    #[serde(other)]
    Other,
}
