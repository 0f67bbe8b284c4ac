//! The WalT server as a library of rooms; `main.rs` puts them together.

pub mod api;
pub mod boot;
pub mod capture;
pub mod compose;
pub mod configuration;
pub mod console;
pub mod killpoint;
pub mod machines;
pub mod net;
pub mod node_access;
pub mod options;
pub mod persist;
pub mod pipe;
pub mod platform;
pub mod ports;
pub mod presence;
pub mod registry;
pub mod remotes;
pub mod served;
pub mod services;
pub mod sessions;
pub mod standby;
pub mod state;
pub mod swap;
pub mod tasks;
pub mod workflow;
