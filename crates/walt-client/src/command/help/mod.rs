//! `walt help ...`: works without server.

pub mod list;
pub mod show;
