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

mod account;
mod architecture;
mod blob;
mod challenge;
mod credentials;
mod docker;
mod error;
mod http;
mod image;
mod inspect;
mod known;
mod layer_check;
mod lists;
mod local;
mod manifest;
mod pull;
mod push;
mod reference;
mod search;
mod session;
mod settings;
mod upload;
mod zstd;

use std::collections::BTreeMap;

use walt_model::server_conf::{Registry, RegistryApi, RegistryAuth};
use walt_model::{ImageFullName, UserName};

pub use architecture::{Architecture, Wanted};
pub use credentials::Credentials;
pub use docker::DockerDaemon;
pub use error::RemoteError;
pub use image::{FoundImage, OnFound, Pulled, Pushed, RemoteImage, Use};
pub use reference::{Digest, Reference, Version};
pub use settings::{HubAddresses, Limits, OnTransfer, Settings, Stage, Transfer, Workplace};

use http::Http;
use session::{Request, Session};

use crate::ImageId;

/// One registry of `server.conf`.
#[derive(Debug, Clone)]
pub struct Remote {
    conf: Registry,
    settings: Settings,
    http: Http,
}

impl Remote {
    /// A registry of `server.conf`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`RemoteError::Configuration`].
    pub fn new(conf: &Registry, settings: &Settings) -> Result<Self, RemoteError> {
        Ok(Self {
            conf: conf.clone(),
            settings: settings.clone(),
            http: Http::new(conf, settings)?,
        })
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
    pub async fn login(&self, credentials: &Credentials) -> Result<(), RemoteError> {
        let what = "the login";
        let session = self.session(Some(credentials), Vec::new());
        if !self.http.may_log_in {
            return Err(self.unsupported("log in: it is configured without authentication"));
        }
        session.send(&Request::get(self.http.url("v2/")?, what)).await.map(drop)
    }

    /// What a name stands for, without its layers. Of an index of several images, the best one of those wanted.
    ///
    /// # Errors
    /// Not found; credentials are needed; nothing for the architectures wanted; the registry does not answer properly.
    pub async fn inspect(
        &self,
        image: &Reference,
        wanted: &Wanted,
        credentials: Option<&Credentials>,
    ) -> Result<RemoteImage, RemoteError> {
        let session = self.session(credentials, vec![inspect::pull_scope(image.repository())]);
        Ok(inspect::resolve(&session, image, wanted).await?.image)
    }

    /// The tags of a repository, in the registry's order.
    ///
    /// # Errors
    /// Not found; credentials are needed; the registry does not answer properly.
    pub async fn tags(
        &self,
        repository: &str,
        credentials: Option<&Credentials>,
    ) -> Result<Vec<String>, RemoteError> {
        if !reference::is_repository(repository) {
            return Err(RemoteError::BadName { name: repository.chars().take(160).collect() });
        }
        let session = self.session(credentials, vec![inspect::pull_scope(repository)]);
        lists::tags(&session, repository).await
    }

    /// All repositories of a registry (the hub has no such list).
    ///
    /// # Errors
    /// Credentials are needed; the registry does not answer properly, or does not give this list.
    pub async fn catalogue(
        &self,
        credentials: Option<&Credentials>,
    ) -> Result<Vec<String>, RemoteError> {
        if self.is_hub() {
            return Err(self.unsupported("list all its repositories"));
        }
        let session = self.session(credentials, vec!["registry:catalog:*".to_owned()]);
        lists::repositories(&session, &self.prefix()).await
    }

    /// All WalT images there, given as they are found. One that cannot be read is given as its error, and the search goes on.
    ///
    /// # Errors
    /// The list itself cannot be had.
    pub async fn search(
        &self,
        credentials: Option<&Credentials>,
        found: OnFound<'_>,
    ) -> Result<(), RemoteError> {
        if self.is_hub() {
            search::hub(&self.http, &self.settings.hub, credentials, found).await
        } else {
            search::everything(&self.http, &self.prefix(), credentials, found).await
        }
    }

    /// Downloads an image into the store. It must be a WalT image.
    ///
    /// # Errors
    /// Any of [`RemoteError`]; the store then holds nothing new.
    pub async fn pull(
        &self,
        image: &Reference,
        wanted: &Wanted,
        credentials: Option<&Credentials>,
        place: &Workplace<'_>,
        progress: OnTransfer<'_>,
    ) -> Result<Pulled, RemoteError> {
        let session = self.session(credentials, vec![inspect::pull_scope(image.repository())]);
        let known = self.known(place)?;
        pull::pull(&session, &known, image, wanted, place, progress).await
    }

    /// Uploads an image of the store. For the hub, call [`Remote::published`] next.
    ///
    /// # Errors
    /// Any of [`RemoteError`]; the name on the registry then means what it meant.
    pub async fn push(
        &self,
        id: &ImageId,
        image: &Reference,
        credentials: Option<&Credentials>,
        place: &Workplace<'_>,
        progress: OnTransfer<'_>,
    ) -> Result<Pushed, RemoteError> {
        if self.needs_credentials(Use::Push) && credentials.is_none() {
            return Err(RemoteError::CredentialsNeeded { registry: self.conf.label.clone() });
        }
        let known = self.known(place)?;
        let session = self.session(credentials, vec![upload::push_scope(image)]);
        push::push(&session, &known, id, image, place, progress).await
    }

    /// Writes an image just pushed in the catalogue of its account (`<user>/walt_metadata`), so that searches find it.
    /// Does nothing where searches need no such catalogue.
    ///
    /// # Errors
    /// The catalogue cannot be read or written.
    pub async fn published(
        &self,
        image: &Reference,
        labels: &BTreeMap<String, String>,
        credentials: &Credentials,
    ) -> Result<(), RemoteError> {
        if !self.is_hub() {
            return Ok(());
        }
        account::add(&self.http, image, labels, credentials).await
    }

    /// The WalT images in the catalogue of an account of the hub; empty when it has none.
    ///
    /// # Errors
    /// The registry does not answer properly.
    pub async fn account(
        &self,
        user: &str,
        credentials: Option<&Credentials>,
    ) -> Result<Vec<FoundImage>, RemoteError> {
        self.hub_only()?;
        account::read(&self.http, user, credentials).await
    }

    /// Makes the catalogue of the hub account `user` again, from all its images. Answers how many WalT images it lists.
    ///
    /// # Errors
    /// The account's images cannot be listed; the catalogue cannot be written.
    pub async fn rescan(
        &self,
        user: &str,
        credentials: &Credentials,
        found: OnFound<'_>,
    ) -> Result<usize, RemoteError> {
        self.hub_only()?;
        let images = std::sync::Mutex::new(Vec::new());
        for name in search::hub_repositories(&self.http, &self.settings.hub, user).await? {
            if name.ends_with(account::REPOSITORY_END) {
                continue;
            }
            search::repository(&self.http, &name, Some(credentials), &|image| {
                if let Ok(image) = &image {
                    let mut images =
                        images.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    images.push(image.clone());
                }
                found(image);
            })
            .await;
        }
        let images = images.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        account::replace(&self.http, user, images, credentials).await
    }

    fn session<'s>(
        &'s self,
        credentials: Option<&'s Credentials>,
        scopes: Vec<String>,
    ) -> Session<'s> {
        Session::new(&self.http, credentials, scopes)
    }

    fn known(&self, place: &Workplace<'_>) -> Result<known::Known, RemoteError> {
        let dir = place.resume_dir;
        std::fs::create_dir_all(dir).map_err(RemoteError::file(dir))?;
        Ok(known::Known::of(dir, &self.conf.label))
    }

    fn is_hub(&self) -> bool {
        self.conf.api == RegistryApi::DockerHub
    }

    fn hub_only(&self) -> Result<(), RemoteError> {
        if self.is_hub() { Ok(()) } else { Err(self.unsupported("keep a catalogue of accounts")) }
    }

    /// What all repositories start with: the one of JFrog and a `/`, or nothing.
    fn prefix(&self) -> String {
        self.conf.repository.as_ref().map(|name| format!("{name}/")).unwrap_or_default()
    }

    fn unsupported(&self, what: &str) -> RemoteError {
        RemoteError::Unsupported { registry: self.conf.label.clone(), what: what.to_owned() }
    }
}
