//! TFTP, read only (RFC 1350, options of RFC 2347, 2348, 2349 and 7440).

mod flow;
mod path;
mod request;
mod server;
mod transfer;

use std::net::Ipv4Addr;

pub use path::map_path;
pub use server::TftpServer;

/// Where the TFTP service listens, and its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TftpConfig {
    /// The server's address; transfers use other ports of the same address.
    pub server: Ipv4Addr,
    /// Port it listens on: 69 (0: any free port, for tests).
    pub port: u16,
    /// Interface it is tied to.
    pub interface: Option<String>,
    /// Largest block it agrees to, in bytes: what fits an Ethernet frame, since boot loaders do not
    /// reassemble fragments.
    pub max_block_size: u16,
    /// Largest window it agrees to, in blocks (RFC 7440).
    pub max_window_size: u16,
    /// Most transfers at a time; a request beyond is answered by an error.
    pub max_transfers: usize,
}

impl TftpConfig {
    /// The usual port and bounds.
    pub fn new(server: Ipv4Addr) -> Self {
        Self {
            server,
            port: 69,
            interface: None,
            max_block_size: 1468,
            max_window_size: 64,
            max_transfers: 4096,
        }
    }
}

/// Reads a datagram and agrees on its options as the service does; for `fuzz/`.
#[cfg(fuzzing)]
pub fn fuzz(bytes: &[u8]) {
    let config = TftpConfig::new(Ipv4Addr::LOCALHOST);
    if let request::Received::Read(read) = request::request(bytes) {
        drop(map_path(&read.name));
        request::agree(&read.options, 1 << 24, &config);
    }
    drop(request::packet(bytes));
}
