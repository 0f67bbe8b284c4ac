//! The API between `walt` (and any other client) and `walt-server`: requests, answers and events.
//!
//! HTTP/1.1 with JSON bodies over a Unix socket (`<run-dir>/api.sock`). Who the caller is comes from the
//! socket's peer credentials, never from the request. Nothing here does I/O: both ends share these types.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`route`] | every endpoint: method, path, request and answer types |
//! | [`error`] | how a failure is told: `{"error": {...}}` |
//! | [`event`] | lines of the `application/x-ndjson` streams of long operations |
//! | [`session`] | WebSocket messages of node commands, shells and consoles |
//! | [`server`], [`node`], [`boot`], [`image`], [`device`], [`settings`], [`log`], [`transfer`] | the words of each subject |
//!
//! # Rules
//!
//! * **Answers are data, the client words them.** A listing is a JSON array of objects: `--json` prints it as it is.
//! * **Growth.** A reader ignores fields, events and messages it does not know; a writer adds fields with a default.
//!   Enumerations end with a variant that takes unknown values where an older reader may meet a newer writer.
//! * **Times** are integers since the Unix epoch with the unit in the field name (`_ms`, `_us`); durations too.
//! * **Every answer** carries the header [`VERSION_HEADER`].
//! * **Ownership** is enforced by the server: a request which disturbs nodes of another user is refused with
//!   [`ErrorKind::ConfirmationNeeded`] and the facts ([`error::Gate`]) until it comes with `confirmed: true`.

pub mod boot;
pub mod device;
pub mod error;
pub mod event;
pub mod image;
pub mod log;
pub mod node;
pub mod route;
pub mod server;
pub mod session;
pub mod settings;
pub mod sql;
pub mod transfer;

pub use error::{ApiError, ErrorBody, ErrorKind};
pub use event::Event;

/// Version of this API. A client and a server understand each other when the server's
/// [`server::ServerInfo::oldest_api`] ≤ the client's [`API_VERSION`] ≤ the server's [`server::ServerInfo::api`],
/// or when the client is newer by at most one.
pub const API_VERSION: u32 = 1;

/// Header of every answer: the version of the server's software (`0.1.0`).
pub const VERSION_HEADER: &str = "walt-version";

/// Content type of an event stream: one JSON [`Event`] per line.
pub const NDJSON: &str = "application/x-ndjson";

/// Content type of file transfers.
pub const TAR: &str = "application/x-tar";

/// Environment variable telling the client where the server is: `unix:/path/to/api.sock`.
pub const SERVER_VARIABLE: &str = "WALT_SERVER";

/// Socket used when [`SERVER_VARIABLE`] is not set.
pub const DEFAULT_SOCKET: &str = "/run/walt/api.sock";

/// An answer without content: `{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Empty {}
