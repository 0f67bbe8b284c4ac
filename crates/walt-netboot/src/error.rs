//! Why a service could not start.

use std::io;
use std::net::SocketAddr;

/// Why a service of this crate could not start.
#[derive(Debug, thiserror::Error)]
pub enum NetbootError {
    /// The socket of a service could not be had.
    #[error(
        "{service} cannot listen on {address}{}: {source} (is another server using this port, does the \
         interface exist, and is this process root?)", on(.interface)
    )]
    Bind {
        /// `DHCP`, `TFTP`, ...
        service: &'static str,
        /// Wanted address.
        address: SocketAddr,
        /// Wanted interface.
        interface: Option<String>,
        /// What the system said.
        source: io::Error,
    },
    /// A raw socket could not be had.
    #[error("{service} cannot use interface {interface}: {source}")]
    Interface {
        /// What wanted it.
        service: &'static str,
        /// Name of the interface.
        interface: String,
        /// What the system said.
        source: io::Error,
    },
}

fn on(interface: &Option<String>) -> String {
    match interface {
        Some(name) => format!(" of interface {name}"),
        None => String::new(),
    }
}
