//! DHCP, TFTP, HTTP boot and DNS as libraries over one boot policy.
//!
//! A [`policy::BootPolicy`] decides who a client is and what it may have; the other modules are the
//! protocols. Each service is bound first (errors are known before anything runs) and then run until a
//! cancellation token is cancelled:
//!
//! ```no_run
//! # async fn example(policy: std::sync::Arc<dyn walt_netboot::policy::BootPolicy>,
//! #     stop: tokio_util::sync::CancellationToken) -> Result<(), walt_netboot::NetbootError> {
//! use walt_netboot::tftp::{TftpConfig, TftpServer};
//!
//! let config = TftpConfig::new("192.168.152.1".parse().expect("an address"));
//! let tftp = TftpServer::bind(config, policy)?;
//! tokio::spawn(tftp.run(stop.clone()));
//! # Ok(()) }
//! ```
//!
//! `bind` must be called inside a tokio runtime.

pub mod dhcp;
pub mod dns;
mod error;
mod files;
pub mod http;
pub mod policy;
mod quiet;
pub mod ra;
mod socket;
pub mod tftp;

pub use error::NetbootError;
pub use files::BadPath;
