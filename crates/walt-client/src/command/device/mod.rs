//! `walt device ...`

pub mod config;
pub mod ping;
pub mod show;
