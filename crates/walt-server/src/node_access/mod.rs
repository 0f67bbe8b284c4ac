//! Reaching a node from the server: ssh, commands, transfers.

pub mod changes;
pub mod path;
pub mod pty;
pub mod quote;
pub mod ssh;

pub use ssh::{Ssh, SshError};
