//! HTTP boot: `GET /boot/<path>[?node_ip=<ip>]`, and a way in for the other routes of the server.

mod answer;
mod body;
mod query;
mod server;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::{Request, Response};

pub use answer::{bytes_response, error_response, only_reading, stream_body};
pub use query::query_value;
pub use server::HttpServer;

/// Body of an answer.
pub type HttpBody = BoxBody<Bytes, io::Error>;

/// Answers every request whose path is not under `/boot/`. Gets the request and the peer
/// (an IPv4-mapped address is already turned into IPv4).
pub type Fallback = Arc<
    dyn Fn(
            Request<Incoming>,
            SocketAddr,
        ) -> Pin<Box<dyn Future<Output = Response<HttpBody>> + Send>>
        + Send
        + Sync,
>;

/// Where the HTTP service listens, and its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Address and port: the server's address, port 80.
    pub listen: SocketAddr,
    /// Interface it is tied to.
    pub interface: Option<String>,
    /// Most connections at a time; more wait in the system's queue.
    pub max_connections: usize,
}

impl HttpConfig {
    /// The usual bounds.
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, interface: None, max_connections: 2048 }
    }
}

/// Reads the path, the query and the range of a request as the service does; for `fuzz/`.
#[cfg(fuzzing)]
pub fn fuzz(text: &str) -> Result<crate::policy::FilePlace, crate::BadPath> {
    query_value(Some(text), "node_ip");
    query::part(Some(text), 1 << 24);
    query::boot_path(text).1
}
