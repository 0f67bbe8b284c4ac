//! DNS for the nodes: the zone `walt`, its reverse zone, and a forwarder for everything else.

mod forward;
mod server;
mod zone;

use std::net::{Ipv4Addr, SocketAddr};

use ipnet::Ipv4Net;

pub use server::DnsServer;

/// Where the DNS service listens, and whom it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsConfig {
    /// The server's address in the network: it listens there and it is `server.walt`.
    pub server: Ipv4Addr,
    /// Port: 53 (0: any free port, for tests).
    pub port: u16,
    /// Interface it is tied to.
    pub interface: Option<String>,
    /// The network whose reverse queries are answered here.
    pub network: Ipv4Net,
    /// Resolvers asked for other names, in order; none: such queries are refused.
    pub upstreams: Vec<SocketAddr>,
}

impl DnsConfig {
    /// The usual port, no upstream resolver.
    pub fn new(server: Ipv4Addr, network: Ipv4Net) -> Self {
        Self { server, port: 53, interface: None, network, upstreams: Vec::new() }
    }
}

/// Reacts to a datagram as the service does; for `fuzz/`.
#[cfg(fuzzing)]
pub fn fuzz(bytes: &[u8], config: &DnsConfig, policy: &dyn crate::policy::BootPolicy) {
    if let zone::Reaction::Answer(message) = zone::react(bytes, config, policy) {
        drop(message.to_vec());
    }
}
