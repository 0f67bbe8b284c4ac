//! What an image is built from: a Dockerfile, files of a client, a git repository.

pub mod containers;
pub mod context;
pub mod dockerfile;
pub mod git;
pub mod sources;
