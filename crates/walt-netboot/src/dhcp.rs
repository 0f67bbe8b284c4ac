//! DHCP for IPv4 (RFC 2131), authoritative on one network.

pub mod answer;
mod frame;
pub mod parse;
mod server;

use std::net::Ipv4Addr;

pub use server::DhcpServer;

/// Where the DHCP service listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpConfig {
    /// Interface it is tied to (`walt-net`); `None` only in tests on loopback.
    pub interface: Option<String>,
    /// The server's address on that interface (option 54, source of NAKs).
    pub server: Ipv4Addr,
    /// Port it listens on: 67.
    pub server_port: u16,
    /// Port clients listen on: 68.
    pub client_port: u16,
}

impl DhcpConfig {
    /// The usual ports on `interface`.
    pub fn new(interface: impl Into<String>, server: Ipv4Addr) -> Self {
        Self { interface: Some(interface.into()), server, server_port: 67, client_port: 68 }
    }
}
