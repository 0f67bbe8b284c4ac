//! Registries of images: looking, taking (`pull`), giving (`push`), and the docker daemon of this machine.
//!
//! * [`Remote`] is one registry of `server.conf`; made once, cheap to clone. Every call gets the [`Credentials`] it may use,
//!   nothing keeps them. [`Remote::needs_credentials`] tells whether to ask for them beforehand; an error whose
//!   [`RemoteError::wants_credentials`] is true tells the same afterwards.
//! * [`Remote::inspect`] resolves a [`Reference`] (and, for an index of several images, a [`Wanted`] architecture) to one
//!   [`RemoteImage`] without downloading its layers.
//! * [`Remote::pull`] downloads what the store does not have, checks all of it, and only then gives it to the store, under
//!   the temporary name of the [`Workplace`]. Partial downloads stay in its `resume_dir` for the next try.
//! * [`Remote::push`] uploads what the registry does not have; [`Remote::pushed_as`] is the name an image gets there.
//! * [`Remote::search`] finds WalT images: by the hub's catalogue of accounts ([`Remote::published`] keeps it), by listing
//!   the others. [`DockerDaemon`] does the same for the images of docker on this machine.
//!
//! Nothing here speaks to users or knows of nodes: names, questions and reboots are the caller's.

#![allow(dead_code)]

mod architecture;
mod credentials;
mod error;
mod reference;
mod settings;

use std::collections::BTreeMap;

use walt_model::server_conf::{Registry, RegistryAuth};
use walt_model::{ImageFullName, UserName};

pub use architecture::{Architecture, Wanted};
pub use credentials::Credentials;
pub use error::RemoteError;
pub use reference::{Digest, Reference, Version};
pub use settings::{HubAddresses, Limits, OnTransfer, Settings, Stage, Transfer, Workplace};

use crate::ImageId;
use crate::catalogue::LABEL_MODELS;

/// One registry of `server.conf`.
#[derive(Debug, Clone)]
pub struct Remote {
    conf: Registry,
    settings: Settings,
}

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

impl Remote {
    /// A registry of `server.conf`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`RemoteError::Configuration`].
    pub fn new(conf: &Registry, settings: &Settings) -> Result<Self, RemoteError> {
        Ok(Self { conf: conf.clone(), settings: settings.clone() })
    }

    /// Its entry in `server.conf`.
    pub fn conf(&self) -> &Registry {
        &self.conf
    }

    /// Its name in clone links.
    pub fn label(&self) -> &str {
        &self.conf.label
    }

    /// Whether it is known beforehand that this takes credentials.
    pub fn needs_credentials(&self, what: Use) -> bool {
        use walt_model::server_conf::RegistryApi;
        match self.conf.api {
            RegistryApi::DockerHub => what == Use::Push,
            _ => self.conf.auth == RegistryAuth::Basic,
        }
    }

    /// The name an image gets there: `waltplatform` stays; the requester's own images get the requester's name on the
    /// registry; a JFrog repository takes the place of every owner.
    ///
    /// # Errors
    /// [`RemoteError::BadName`].
    pub fn pushed_as(
        &self,
        image: &ImageFullName,
        requester: &UserName,
        credentials: Option<&Credentials>,
    ) -> Result<Reference, RemoteError> {
        let owner = match (&self.conf.repository, credentials) {
            (Some(repository), _) => repository.as_str(),
            (None, Some(credentials))
                if self.conf.auth == RegistryAuth::Basic
                    && image.owner() == requester
                    && *image.owner() != UserName::platform() =>
            {
                credentials.user()
            }
            _ => image.owner().as_str(),
        };
        Reference::tagged(&format!("{owner}/{}", image.name().name()), image.name().tag())
    }

    /// Tries credentials.
    ///
    /// # Errors
    /// [`RemoteError::Refused`], or the registry does not answer.
    pub async fn login(&self, _credentials: &Credentials) -> Result<(), RemoteError> {
        Err(self.unsupported("log in"))
    }

    /// What a name stands for, without its layers. Of an index of several images, the best one of those wanted.
    ///
    /// # Errors
    /// Not found; credentials are needed; nothing for the architectures wanted; the registry does not answer properly.
    pub async fn inspect(
        &self,
        _image: &Reference,
        _wanted: &Wanted,
        _credentials: Option<&Credentials>,
    ) -> Result<RemoteImage, RemoteError> {
        Err(self.unsupported("show images"))
    }

    /// The tags of a repository, in the registry's order.
    ///
    /// # Errors
    /// Not found; credentials are needed; the registry does not answer properly.
    pub async fn tags(
        &self,
        _repository: &str,
        _credentials: Option<&Credentials>,
    ) -> Result<Vec<String>, RemoteError> {
        Err(self.unsupported("list tags"))
    }

    /// All repositories of a registry (the hub has no such list).
    ///
    /// # Errors
    /// Credentials are needed; the registry does not answer properly, or does not give this list.
    pub async fn catalogue(
        &self,
        _credentials: Option<&Credentials>,
    ) -> Result<Vec<String>, RemoteError> {
        Err(self.unsupported("list repositories"))
    }

    /// All WalT images there, given as they are found. One that cannot be read is given as its error, and the search goes on.
    ///
    /// # Errors
    /// The list itself cannot be had.
    pub async fn search(
        &self,
        _credentials: Option<&Credentials>,
        _found: OnFound<'_>,
    ) -> Result<(), RemoteError> {
        Err(self.unsupported("search"))
    }

    /// Downloads an image into the store. It must be a WalT image.
    ///
    /// # Errors
    /// Any of [`RemoteError`]; the store then holds nothing new.
    pub async fn pull(
        &self,
        _image: &Reference,
        _wanted: &Wanted,
        _credentials: Option<&Credentials>,
        _place: &Workplace<'_>,
        _progress: OnTransfer<'_>,
    ) -> Result<Pulled, RemoteError> {
        Err(self.unsupported("give images"))
    }

    /// Uploads an image of the store. For the hub, call [`Remote::published`] next.
    ///
    /// # Errors
    /// Any of [`RemoteError`]; the name on the registry then means what it meant.
    pub async fn push(
        &self,
        _id: &ImageId,
        _image: &Reference,
        _credentials: Option<&Credentials>,
        _place: &Workplace<'_>,
        _progress: OnTransfer<'_>,
    ) -> Result<Pushed, RemoteError> {
        Err(self.unsupported("take images"))
    }

    /// Writes an image just pushed in the catalogue of its account (`<user>/walt_metadata`), so that searches find it.
    /// Does nothing where searches need no such catalogue.
    ///
    /// # Errors
    /// The catalogue cannot be read or written.
    pub async fn published(
        &self,
        _image: &Reference,
        _labels: &BTreeMap<String, String>,
        _credentials: &Credentials,
    ) -> Result<(), RemoteError> {
        Err(self.unsupported("keep a catalogue"))
    }

    /// The WalT images in the catalogue of an account of the hub; empty when it has none.
    ///
    /// # Errors
    /// The registry does not answer properly.
    pub async fn account(
        &self,
        _user: &str,
        _credentials: Option<&Credentials>,
    ) -> Result<Vec<FoundImage>, RemoteError> {
        Err(self.unsupported("keep a catalogue"))
    }

    /// Makes the catalogue of the hub account `user` again, from all its images. Answers how many WalT images it lists.
    ///
    /// # Errors
    /// The account's images cannot be listed; the catalogue cannot be written.
    pub async fn rescan(
        &self,
        _user: &str,
        _credentials: &Credentials,
        _found: OnFound<'_>,
    ) -> Result<usize, RemoteError> {
        Err(self.unsupported("keep a catalogue"))
    }

    fn unsupported(&self, what: &str) -> RemoteError {
        let _ = &self.settings;
        RemoteError::Unsupported { registry: self.conf.label.clone(), what: what.to_owned() }
    }
}

/// The docker daemon of this machine, if there is one.
#[derive(Debug, Clone)]
pub struct DockerDaemon {
    socket: std::path::PathBuf,
}

impl DockerDaemon {
    /// The daemon behind a socket (`/run/docker.sock`). `None` when there is no such socket: no docker here.
    pub fn at(socket: impl Into<std::path::PathBuf>) -> Option<Self> {
        let socket = socket.into();
        socket.exists().then_some(Self { socket })
    }

    /// Its WalT images that have a name `<user>/<name>:<tag>`.
    ///
    /// # Errors
    /// It does not answer properly.
    pub async fn search(&self) -> Result<Vec<FoundImage>, RemoteError> {
        Err(self.unsupported("search"))
    }

    /// What a name stands for.
    ///
    /// # Errors
    /// Not found; the daemon does not answer properly.
    pub async fn inspect(&self, _image: &Reference) -> Result<FoundImage, RemoteError> {
        Err(self.unsupported("show images"))
    }

    /// Copies an image into the store. It must be a WalT image.
    ///
    /// # Errors
    /// Any of [`RemoteError`]; the store then holds nothing new.
    pub async fn pull(
        &self,
        _image: &Reference,
        _place: &Workplace<'_>,
        _progress: OnTransfer<'_>,
    ) -> Result<Pulled, RemoteError> {
        Err(self.unsupported("give images"))
    }

    fn unsupported(&self, what: &str) -> RemoteError {
        let _ = &self.socket;
        RemoteError::Unsupported { registry: "docker".to_owned(), what: what.to_owned() }
    }
}
