//! Images as registries show them, and what transfers did.

use std::collections::BTreeMap;

use super::RemoteError;
use super::architecture::Architecture;
use super::reference::{Digest, Reference};
use crate::ImageId;
use crate::catalogue::LABEL_MODELS;

/// What one may want of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Find images.
    Search,
    /// Take an image, or look at it.
    Pull,
    /// Give an image.
    Push,
}

/// Told about each image a search finds, or why one could not be looked at.
pub type OnFound<'a> = &'a (dyn Fn(Result<FoundImage, RemoteError>) + Send + Sync);

/// An image of a registry, as far as it is known without its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteImage {
    /// Digest of its manifest.
    pub digest: Digest,
    /// Id it has, or would have, in the store.
    pub id: ImageId,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made, seconds since 1970, if it says so.
    pub created: Option<i64>,
    /// Size of its compressed layers, in bytes.
    pub size: u64,
    /// Number of layers.
    pub layers: usize,
    /// The processor it is for.
    pub architecture: Architecture,
    /// The processors there are images for under this name.
    pub available: Vec<Architecture>,
}

impl RemoteImage {
    /// Models of nodes it boots on: the label `walt.node.models`. Empty: not a WalT image.
    pub fn models(&self) -> Vec<String> {
        models_of(&self.labels)
    }
}

/// The models in the labels of an image.
fn models_of(labels: &BTreeMap<String, String>) -> Vec<String> {
    let list = labels.get(LABEL_MODELS).map(String::as_str).unwrap_or_default();
    list.split(',').map(str::trim).filter(|model| !model.is_empty()).map(str::to_owned).collect()
}

/// A WalT image found by a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundImage {
    /// Its name there: `<user>/<name>:<tag>`.
    pub image: Reference,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made, seconds since 1970, if known.
    pub created: Option<i64>,
}

impl FoundImage {
    /// Models of nodes it boots on.
    pub fn models(&self) -> Vec<String> {
        models_of(&self.labels)
    }
}

/// What a pull did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The image: in the store, under the temporary name of the workplace.
    pub id: ImageId,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Bytes downloaded now.
    pub downloaded: u64,
    /// Bytes of layers that were there already: in the store, or kept from an earlier try.
    pub reused: u64,
}

/// What a push did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Digest of the manifest now on the registry.
    pub digest: Digest,
    /// Bytes uploaded now.
    pub uploaded: u64,
    /// Bytes of layers the registry had already.
    pub reused: u64,
}
