//! The node ports over loopback, against the transcripts of the node protocols.
#![allow(clippy::unwrap_used, missing_docs)]

mod hub;
mod net_service;
mod netconsole;
mod rpc;
mod spooled;
mod streams;
mod swap;
