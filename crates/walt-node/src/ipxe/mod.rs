//! The subset of iPXE's script language that boot scripts of images are written in.
//!
//! A real loader runs the scripts of an image at a cold start. A node that goes over to another kernel without its
//! firmware runs the same ones here, so that both ways lead to the same kernel, initrd and command line. Nothing
//! here reads or writes anything: a [`Loader`] fetches. What a script can make grow is bounded (see [`limits`]).
//! The rules are in `docs/node-agent.md`.

mod interpreter;
mod line;
mod location;
#[cfg(test)]
mod tests;

pub use interpreter::{Boot, Loader, Variables, limits, run};
pub use location::{Location, Protocol};
