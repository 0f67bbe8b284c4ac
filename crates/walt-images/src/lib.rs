//! OCI images on podman: catalogue, mounts, and the walt layer every image gets before it is served.
//!
//! * [`command`]: the one way to run a subprocess (argument vectors, deadline, stderr kept).
//! * [`podman`]: podman on a store of our own, whatever the host's configuration.
//! * [`catalogue`]: the WalT images of that store, in memory, refreshed when the store changes.
//! * [`roots`]: an image as a directory to serve: its layers, a writable layer of ours above, the
//!   walt layer in it. Survives a kill of the server.
//! * [`layer`]: what is written into an image (a plan, and what carries it out).
//! * [`build`]: what an image is built from.
//! * [`check`]: what an image lacks to boot nodes.
//! * [`registry`]: images from and to registries.
//! * [`session`]: working inside an image.
//! * [`leftovers`]: what changes cut by a crash left behind.
//! * [`tags`]: what holds content no user name leads to.
//! * [`changes`]: what changed on a node, as a layer; [`added_layer`]: an image with one layer more.
//! * [`turn`]: one change at a time for each image name.
//! * [`packages`]: the packages an image says it has.
//! * [`stack`]: the files of an image as its layers say; [`difference`]: what differs between two.
//! * [`foreign`]: programs of another CPU.
//! * [`inside`]: file operations that cannot leave a directory, whatever its symlinks say.

pub mod added_layer;
pub mod build;
pub mod catalogue;
pub mod changes;
pub mod check;
pub mod command;
pub mod difference;
pub mod features;
pub mod foreign;
pub mod inject;
pub mod inside;
pub mod keys;
pub mod layer;
pub mod layer_files;
pub mod leftovers;
pub mod mounts;
pub mod packages;
pub mod percent;
pub mod podman;
pub mod registry;
pub mod roots;
pub mod rpm;
pub mod session;
pub mod stack;
pub mod tags;
pub mod turn;

pub use catalogue::{Catalogue, CatalogueError, ImageEntry, ImageId};

pub use inside::Inside;
pub use keys::PlatformKeys;
pub use layer::{LayerReport, WaltLayer};
pub use layer_files::LayerFile;
pub use podman::{Podman, PodmanError, Store};
pub use roots::{Root, RootError, RootId, Roots};
