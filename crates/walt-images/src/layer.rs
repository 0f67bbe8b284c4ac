//! The walt layer: what is written into every image before it is served.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// What the walt layer depends on, besides the keys and the table of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaltLayer {
    /// The server's address on `walt-net`.
    pub server_ip: Ipv4Addr,
    /// The server's MAC address on `walt-net`, `aa:bb:cc:dd:ee:ff`.
    pub server_mac: String,
    /// TCP port of the node RPC service (12345).
    pub rpc_port: u16,
    /// TCP port of logs and of the bootup notification (12347).
    pub logs_port: u16,
    /// TCP port of the service nodes run (12346).
    pub node_service_port: u16,
    /// Features of the server (`/etc/walt/server.spec`), default `["ptp"]`.
    pub features: Vec<String>,
    /// The server's time zone file, e.g. `/usr/share/zoneinfo/Europe/Paris`.
    pub timezone: Option<String>,
}

impl WaltLayer {
    /// The layer of a server at this address, with the ports every image knows.
    pub fn new(server_ip: Ipv4Addr, server_mac: impl Into<String>) -> Self {
        Self {
            server_ip,
            server_mac: server_mac.into(),
            rpc_port: 12345,
            logs_port: 12347,
            node_service_port: 12346,
            features: vec!["ptp".into()],
            timezone: None,
        }
    }
}

/// What was done to a root, and what could not be done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerReport {
    /// Steps carried out, e.g. `wrote /etc/hosts`.
    pub done: Vec<String>,
    /// What could not be done and is not vital, worded for a person.
    pub warnings: Vec<String>,
}
