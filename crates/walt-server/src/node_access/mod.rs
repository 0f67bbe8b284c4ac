//! Reaching a node from the server: ssh, commands, transfers.

pub mod quote;
