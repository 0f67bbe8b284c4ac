//! `walt device ...`

pub mod ping;
pub mod show;
