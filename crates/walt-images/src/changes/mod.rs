//! What changed on a node, as a layer of an image.
//!
//! A node keeps its changes in the upper directory of an overlay. It sends that directory as a tar; [`layer_of`] makes a
//! layer of it: removed files (character devices 0:0 there) become the `.wh.` names of OCI layers, what the boot of
//! the node made is left out, and so is what belongs to this server or to this very node.
//!
//! Nothing a node sends is trusted: names stay inside, sizes and numbers are bounded, and unpacking is done by the
//! container tools.

mod entry;
mod filter;
mod pick;
mod writer;

pub use entry::{Moment, parse_moment};
pub use pick::{Selection, Summary, layer_of};
pub use writer::{Layer, LayerWriter};

/// Why no layer could be made.
#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    /// The stream ended early, or could not be read.
    #[error("the files of the node could not be read: {0}")]
    Read(#[source] std::io::Error),
    /// The layer could not be written.
    #[error("the layer could not be written: {0}")]
    Write(#[source] std::io::Error),
    /// Not a tar, or one no program we know would make.
    #[error("the node sent something unexpected: {0}")]
    Malformed(String),
    /// Something that has no place in a layer.
    #[error("{0}")]
    Unfit(String),
    /// More than can be taken.
    #[error("the changes are too large: {0}")]
    TooLarge(String),
    /// Nobody wants it any more.
    #[error("interrupted")]
    Interrupted,
}
