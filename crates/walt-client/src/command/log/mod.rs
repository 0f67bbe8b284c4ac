//! `walt log ...`

pub mod add_checkpoint;
pub mod list_checkpoints;
mod query;
pub mod remove_checkpoint;
pub mod show;
pub mod wait;
