//! `walt log ...`

pub mod add_checkpoint;
pub mod bundle;
pub mod export;
pub mod import;
pub mod list_checkpoints;
pub mod list_imports;
mod output_file;
mod query;
pub mod remove_checkpoint;
pub mod remove_import;
pub mod show;
pub mod wait;
