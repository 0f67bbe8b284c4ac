//! The WalT server as a library of rooms; `main.rs` puts them together.

pub mod boot;
pub mod net;
pub mod node_access;
pub mod ports;
pub mod presence;
pub mod registry;
pub mod state;
pub mod tasks;
