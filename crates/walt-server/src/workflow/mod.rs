//! What the platform does over several steps: plain async functions, a limit on every step.
//!
//! They know nothing of the API: they take devices and names, tell their progress through [`Progress`]
//! and give results per node as data. Whoever asked may go away: the work goes on.

pub mod boot_image;
pub mod bundle;
pub mod clone_default;
pub mod create;
pub mod image;
pub mod imports;
mod ran;
pub mod reboot;
pub mod remove;
pub mod rename;
pub mod retention;
pub mod save;
pub mod settings;
pub mod upkeep;
pub mod wait;
pub mod watchdog;

use walt_model::{DeviceName, ImageFullName, ImageName, NodeModel, sentence};

use crate::registry::RegistryError;
use crate::served::ServeError;
use crate::state::StateError;

/// Told how far a workflow is.
pub trait Progress: Send + Sync {
    /// What it is busy with (`Preparing the image`).
    fn label(&self, text: &str);

    /// Bytes it has moved, of how many when that is known.
    fn amount(&self, _what: &str, _done: u64, _total: Option<u64>) {}

    /// What a person should know though nothing failed: whole lines.
    fn warn(&self, _text: &str) {}
}

/// Why a workflow did not do what it was asked. The messages are what users read.
#[derive(Debug, thiserror::Error)]
pub enum WorkflowError {
    /// Refused by the registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Not written to disk.
    #[error(transparent)]
    State(#[from] StateError),
    /// The image cannot be served.
    #[error("Image '{image}' cannot be used: {source}.")]
    Serve {
        /// The image.
        image: String,
        /// Why.
        source: ServeError,
    },
    /// Somebody else changes this image.
    #[error(transparent)]
    Busy(#[from] walt_images::turn::Busy),
    /// What was cut is not settled.
    #[error(
        "Images cannot be changed yet: the server is still finishing or undoing what was cut. Please try again in a minute."
    )]
    Unsettled,
    /// The image store does not work.
    #[error("The image store did not answer: {0}.")]
    Store(#[from] walt_images::CatalogueError),
    /// The image is for another CPU, and its programs do not run here.
    #[error("{}.", walt_model::sentence::capitalised(&.0.to_string()))]
    Foreign(#[from] walt_images::foreign::ForeignError),
    /// An image was not moved.
    #[error(transparent)]
    Move(#[from] image::elsewhere::MoveError),
    /// Something inside the image failed.
    #[error("{}.", walt_model::sentence::capitalised(&.0.to_string()))]
    Session(#[from] walt_images::session::SessionError),
    /// The image can get no further layer.
    #[error("Image '{0}' has reached the limit of 128 layers: it cannot be changed any more.")]
    TooManyLayers(ImageName),
    /// No such image in the working set.
    #[error("Error: No such image '{0}'.")]
    NoSuchImage(ImageName),
    /// The name is already used.
    #[error("Error: Image '{0}' already exists.")]
    ImageExists(ImageName),
    /// Nodes boot this image.
    #[error("Image '{image}' is in use by {}: it cannot be {action}.", sentence::list("node", .nodes))]
    ImageInUse {
        /// The image.
        image: ImageName,
        /// The nodes.
        nodes: Vec<String>,
        /// What was asked (`removed`).
        action: &'static str,
    },
    /// The new content of an image does not boot nodes that have this image.
    #[error(
        "Image '{image}' was not changed: {}, of model(s) {}, could not boot the new content, which is for {}.",
        sentence::list("node", .nodes), .models.join(", "), .has.join(", ")
    )]
    LeavesOut {
        /// The image.
        image: ImageName,
        /// The nodes.
        nodes: Vec<String>,
        /// Their models.
        models: Vec<String>,
        /// What the new content is for.
        has: Vec<String>,
    },
    /// The new content of an image is for no model.
    #[error(
        "Image '{0}' was not changed: the new content has no label walt.node.models, so that no node could boot it."
    )]
    NoModels(ImageName),
    /// An image has no such version.
    #[error("Image '{image}' has no version {number} any more.")]
    NoSuchVersion {
        /// The image.
        image: ImageName,
        /// The number asked for.
        number: u32,
    },
    /// The default image of a model is not there.
    #[error("The default image of {model} nodes, {image}, is not on this server.")]
    NoDefaultImage {
        /// The model.
        model: NodeModel,
        /// The image.
        image: ImageFullName,
    },
    /// The image does not boot these models.
    #[error("Image '{image}' is not compatible with node model(s) {}.", .models.join(", "))]
    Incompatible {
        /// The image.
        image: ImageFullName,
        /// The models.
        models: Vec<String>,
    },
    /// The new content of an image does not boot the nodes that have it.
    #[error("Image '{image}' was not changed: its nodes would not boot any more.\n{}", .causes.join("\n"))]
    Unbootable {
        /// The image.
        image: ImageName,
        /// Why, one sentence each.
        causes: Vec<String>,
    },
    /// The files of an image cannot be looked at.
    #[error("The image could not be looked at: {0}.")]
    Root(#[from] walt_images::RootError),
    /// Only virtual nodes can be removed.
    #[error("FAILED: {0} is a real node (not virtual).")]
    NotVirtual(DeviceName),
    /// The virtual machine does not start or stop.
    #[error("The virtual machine of {node} failed: {source}.")]
    Machine {
        /// The node.
        node: DeviceName,
        /// Why.
        source: walt_virtual::NodeError,
    },
    /// A step took too long.
    #[error("{what} took more than {seconds} s.")]
    Timeout {
        /// The step.
        what: &'static str,
        /// Its limit.
        seconds: u64,
    },
    /// Settings that cannot be.
    #[error(transparent)]
    Settings(#[from] walt_model::settings::SettingsError),
    /// Disks larger than what is left.
    #[error(transparent)]
    NoRoom(#[from] walt_virtual::disk::NoRoom),
    /// A value that cannot be.
    #[error("{0}")]
    Invalid(String),
}

/// The names of devices, sorted.
pub(crate) fn names_of(devices: &[crate::registry::Device]) -> Vec<String> {
    let mut names: Vec<String> = devices.iter().map(|device| device.name.to_string()).collect();
    names.sort();
    names
}

/// Runs a step with its limit.
pub(crate) async fn within<T>(
    what: &'static str,
    seconds: u64,
    step: impl Future<Output = T>,
) -> Result<T, WorkflowError> {
    tokio::time::timeout(std::time::Duration::from_secs(seconds), step)
        .await
        .map_err(|_| WorkflowError::Timeout { what, seconds })
}
