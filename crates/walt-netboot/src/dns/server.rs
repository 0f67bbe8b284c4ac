//! The DNS service.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;

use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

use super::DnsConfig;
use crate::NetbootError;
use crate::policy::BootPolicy;
use crate::socket::{self, Wanted};

/// A bound DNS service.
pub struct DnsServer {
    config: DnsConfig,
    policy: Arc<dyn BootPolicy>,
    udp: UdpSocket,
    tcp: TcpListener,
}

impl DnsServer {
    /// Listens over UDP and TCP on one port of the server's address.
    pub fn bind(config: DnsConfig, policy: Arc<dyn BootPolicy>) -> Result<Self, NetbootError> {
        let wanted =
            Wanted { interface: config.interface.as_deref(), broadcast: false, storm: true };
        let mut address = SocketAddr::V4(SocketAddrV4::new(config.server, config.port));
        let udp = socket::udp("DNS", address, wanted)?;
        if let Ok(bound) = udp.local_addr() {
            address = bound;
        }
        let tcp = socket::tcp("DNS", address, Wanted { storm: false, ..wanted })?;
        Ok(Self { config, policy, udp, tcp })
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// Serves until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        stop.cancelled().await;
    }
}
