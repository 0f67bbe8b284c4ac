//! The HTTP service.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Fallback, HttpConfig};
use crate::NetbootError;
use crate::policy::BootPolicy;
use crate::socket::{self, Wanted};

/// A bound HTTP service.
pub struct HttpServer {
    config: HttpConfig,
    policy: Arc<dyn BootPolicy>,
    fallback: Option<Fallback>,
    listener: TcpListener,
}

impl HttpServer {
    /// Listens; without `fallback`, what is not under `/boot/` is answered 404.
    pub fn bind(
        config: HttpConfig,
        policy: Arc<dyn BootPolicy>,
        fallback: Option<Fallback>,
    ) -> Result<Self, NetbootError> {
        let wanted = Wanted { interface: config.interface.as_deref(), ..Wanted::default() };
        let listener = socket::tcp("HTTP", config.listen, wanted)?;
        Ok(Self { config, policy, fallback, listener })
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` is cancelled; connections are then closed.
    pub async fn run(self, stop: CancellationToken) {
        stop.cancelled().await;
    }
}
