//! The ports that nodes talk to, and the one they listen on.
//!
//! | port | what |
//! | --- | --- |
//! | TCP 12347 | log lines, bootup notification, boot files |
//! | TCP 12345 | clock, registration, LLDP reports |
//! | UDP 12342 | kernel messages |
//! | TCP 12346 on the node | [`net_service`]: reboot, blink |
//!
//! Everything here comes from the network: sizes, times and connection counts are bounded, a panic in
//! one connection ends that connection only, and what is dropped is told in one rate-limited line.

mod hub;
pub(crate) mod listener;
pub mod net_service;
mod netconsole;
mod rpc;
mod spooled;
mod streams;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;
use tracing::error;

use listener::{Bounds, Drops};

pub use hub::{
    BootFileOf, Caller, DeviceInfo, NodeHub, NodeInfo, NodeLine, Registration, Safe, SpooledLine,
};

/// Where the node ports listen.
#[derive(Clone, Debug)]
pub struct PortsConfig {
    /// Address of the server on the platform network.
    pub address: Ipv4Addr,
    /// TCP port of streams; 0 takes a free one.
    pub streams: u16,
    /// TCP port of calls.
    pub rpc: u16,
    /// UDP port of kernel messages.
    pub netconsole: u16,
}

impl PortsConfig {
    /// The usual ports at this address.
    pub fn new(address: Ipv4Addr) -> Self {
        Self { address, streams: 12347, rpc: 12345, netconsole: 12342 }
    }
}

/// A node port that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {what} {address}: {error}; is another walt-server running?")]
pub struct PortsError {
    what: &'static str,
    address: SocketAddr,
    error: io::Error,
}

/// The node ports, open but not served yet.
#[derive(Debug)]
pub struct Ports {
    streams: TcpListener,
    rpc: TcpListener,
    netconsole: UdpSocket,
}

impl Ports {
    /// Opens all ports. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The first port that cannot be opened.
    pub fn bind(config: PortsConfig) -> Result<Self, PortsError> {
        let at = |port| SocketAddr::new(IpAddr::V4(config.address), port);
        let tcp = |port| {
            listener::tcp(at(port)).map_err(|error| PortsError {
                what: "TCP",
                address: at(port),
                error,
            })
        };
        let netconsole = listener::udp(at(config.netconsole)).map_err(|error| PortsError {
            what: "UDP",
            address: at(config.netconsole),
            error,
        })?;
        Ok(Self { streams: tcp(config.streams)?, rpc: tcp(config.rpc)?, netconsole })
    }

    /// Where the ports are: streams, calls, kernel messages.
    ///
    /// # Errors
    /// The system does not say.
    pub fn addresses(&self) -> io::Result<[SocketAddr; 3]> {
        Ok([self.streams.local_addr()?, self.rpc.local_addr()?, self.netconsole.local_addr()?])
    }

    /// Serves all ports until cancelled. Then all connections are closed, without any
    /// [`NodeHub::boot_lost`].
    pub async fn serve(self, hub: Arc<dyn NodeHub>, cancel: CancellationToken) {
        let drops = |port| Arc::new(Drops::new(port));
        let streams = Arc::new(streams::Streams {
            hub: Arc::clone(&hub),
            drops: drops("streams"),
            cancel: cancel.clone(),
        });
        let rpc = Arc::new(rpc::Rpc { hub: Arc::clone(&hub), drops: drops("calls") });
        tokio::join!(
            listener::serve(
                self.streams,
                Bounds { total: 8192, per_ip: 256 },
                Arc::clone(&streams.drops),
                cancel.clone(),
                |stream, ip| Arc::clone(&streams).connection(stream, ip),
            ),
            listener::serve(
                self.rpc,
                Bounds { total: 1024, per_ip: 32 },
                Arc::clone(&rpc.drops),
                cancel.clone(),
                |stream, ip| Arc::clone(&rpc).connection(stream, ip),
            ),
            kernel_messages(Arc::new(self.netconsole), hub, drops("netconsole"), cancel.clone()),
        );
    }
}

/// Serves the netconsole port; a panic there loses one datagram, not the port.
async fn kernel_messages(
    socket: Arc<UdpSocket>,
    hub: Arc<dyn NodeHub>,
    drops: Arc<Drops>,
    cancel: CancellationToken,
) {
    while !cancel.is_cancelled() {
        let run = netconsole::run(Arc::clone(&socket), Arc::clone(&hub), Arc::clone(&drops));
        let mut task = tokio::spawn(run);
        tokio::select! {
            () = cancel.cancelled() => task.abort(),
            ended = &mut task => {
                if let Err(failure) = ended {
                    error!("the receiver of kernel messages failed: {failure}");
                }
            }
        }
    }
}
