//! The log tools and their daemon, against servers written from the protocol alone.
#![allow(clippy::unwrap_used)]

mod acknowledging;
mod original;
mod part;
