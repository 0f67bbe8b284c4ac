//! What can go wrong with networks.

use std::path::PathBuf;

/// A network that could not be brought up or down.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A raw device is not there.
    #[error(
        "network {network}: no interface is called '{device}' (`network.{network}.raw-device` of server.conf); \
         interfaces of this machine: {}", .existing.join(", ")
    )]
    MissingDevice {
        /// The network.
        network: String,
        /// The interface that was asked for.
        device: String,
        /// The interfaces that exist.
        existing: Vec<String>,
    },
    /// A network asks for something not done yet.
    #[error(
        "network {network}: `ip: dhcp` is not supported yet; write a static address, or leave `ip` out and let \
         the system configure the interface"
    )]
    DhcpNotSupported {
        /// The network.
        network: String,
    },
    /// The name of a network is too long to make an interface name.
    #[error(
        "network {network}: '{interface}' would be longer than the 15 characters of an interface name"
    )]
    NameTooLong {
        /// The network.
        network: String,
        /// The name that was needed.
        interface: String,
    },
    /// An interface cannot be used as asked.
    #[error("network {network}: interface '{interface}' {problem}")]
    Unusable {
        /// The network.
        network: String,
        /// The interface.
        interface: String,
        /// Why, and what to try.
        problem: String,
    },
    /// The kernel refused a step.
    #[error("cannot {what}: {error}{}", .tip.map(|tip| format!(" ({tip})")).unwrap_or_default())]
    Refused {
        /// What was tried.
        what: String,
        /// What the kernel said.
        error: std::io::Error,
        /// What may be wrong.
        tip: Option<&'static str>,
    },
    /// No netlink socket.
    #[error("cannot talk to the kernel about networks: {0}")]
    Netlink(String),
    /// A file of the state folder cannot be read or written.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The server is being stopped.
    #[error("stopped while waiting for a network interface")]
    Cancelled,
}

impl NetError {
    pub(super) fn file(path: &std::path::Path, reason: impl ToString) -> Self {
        Self::File { path: path.to_owned(), reason: reason.to_string() }
    }
}
