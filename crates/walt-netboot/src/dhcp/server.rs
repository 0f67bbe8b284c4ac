//! The DHCP service.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::DhcpConfig;
use crate::NetbootError;
use crate::policy::BootPolicy;
use crate::socket::{self, Wanted};

/// A bound DHCP service.
pub struct DhcpServer {
    config: DhcpConfig,
    policy: Arc<dyn BootPolicy>,
    socket: UdpSocket,
}

impl DhcpServer {
    /// Listens on the wildcard address of the interface (clients without address send broadcasts).
    pub fn bind(config: DhcpConfig, policy: Arc<dyn BootPolicy>) -> Result<Self, NetbootError> {
        let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, config.server_port);
        let wanted =
            Wanted { interface: config.interface.as_deref(), broadcast: true, storm: true };
        let socket = socket::udp("DHCP", SocketAddr::V4(address), wanted)?;
        Ok(Self { config, policy, socket })
    }

    /// Serves until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        stop.cancelled().await;
    }
}
