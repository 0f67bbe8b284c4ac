//! Images in other places: which place a link means, what is known of an image there, bringing it here.

use std::collections::BTreeMap;

use walt_images::ImageId;
use walt_images::catalogue::LABEL_MODELS;
use walt_images::registry::{
    Credentials, DockerDaemon, Reference, Remote, RemoteError, Use, Wanted,
};
use walt_model::{CloneLink, ImageFullName};
use walt_proto::api::image::registry::{Accounts, CredentialsNeeded};

use super::space::Space;
use super::transfer::Pace;
use crate::platform::Platform;
use crate::remotes::{DOCKER, WALT};
use crate::workflow::{Progress, WorkflowError};

/// Label with the version of WalT an image needs, an integer.
pub const LABEL_MIN_VERSION: &str = "walt.server.minversion";
/// The version of WalT whose images this server boots.
pub const OUR_VERSION: u32 = 10;

/// Why an image was not moved. The messages are what users read.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// Not a clone link.
    #[error("Invalid clone link '{link}'; expected [{}]:<user>/<image_name>[:<tag>].", .known.join("|"))]
    BadLink {
        /// What was given.
        link: String,
        /// The places there are.
        known: Vec<String>,
    },
    /// The link names no place of this platform.
    #[error("Unknown location '{location}'; expected [{}]:<user>/<image_name>[:<tag>].", .known.join("|"))]
    UnknownLocation {
        /// What was given.
        location: String,
        /// What there is.
        known: Vec<String>,
    },
    /// No registry has this label.
    #[error("Invalid registry '{label}'; there is {}.", .known.join(", "))]
    UnknownRegistry {
        /// What was given.
        label: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The image is the caller's own.
    #[error("Error: image '{0}' already belongs to your working set.")]
    AlreadyYours(String),
    /// Nothing is there.
    #[error("Error: no such remote image '{0}'.")]
    NoSuchImage(String),
    /// It lacks the label.
    #[error("Error: '{0}' is not a WalT image: it has no label {LABEL_MODELS}.")]
    NotWalt(String),
    /// Made for a newer WalT.
    #[error(
        "Error: image '{image}' needs a server of version {needs} or later; this one is at version {OUR_VERSION}."
    )]
    TooNew {
        /// The link.
        image: String,
        /// What it needs.
        needs: u32,
    },
    /// The name is taken.
    #[error("{}", overwrite(.image, .nodes))]
    Exists {
        /// The image.
        image: String,
        /// Nodes that boot it.
        nodes: Vec<String>,
        /// What to type.
        command: String,
    },
    /// Nodes that boot the target could not boot the new image.
    #[error(
        "Error: image '{image}' is in use, and the new one is not compatible with node model(s) {}.",
        .models.join(", ")
    )]
    Incompatible {
        /// The target.
        image: String,
        /// The models.
        models: Vec<String>,
    },
    /// A registry needs an account.
    #[error("{message}")]
    CredentialsNeeded {
        /// Which one, and whether one was refused.
        needed: CredentialsNeeded,
        /// What it said.
        message: String,
    },
    /// A registry did not do it.
    #[error("{}.", walt_model::sentence::capitalised(&.0.to_string()))]
    Remote(#[from] RemoteError),
    /// Nobody waits for it any more.
    #[error("Interrupted.")]
    Interrupted,
    /// There is no Docker Hub here.
    #[error("The Docker Hub is not a registry of this platform.")]
    NoHub,
}

fn overwrite(image: &str, nodes: &[String]) -> String {
    let reboots = match nodes.len() {
        0 => String::new(),
        1 => " It is in use: 1 node would be rebooted.".to_owned(),
        n => format!(" It is in use: {n} nodes would be rebooted."),
    };
    format!(
        "An image '{image}' already exists in your working set: it would be overwritten.{reboots}"
    )
}

/// The models in the labels of an image. None: not a WalT image.
pub fn models(labels: &BTreeMap<String, String>) -> Option<Vec<String>> {
    let list = labels.get(LABEL_MODELS)?;
    let mut models: Vec<String> =
        list.split(',').map(str::trim).filter(|m| !m.is_empty()).map(str::to_owned).collect();
    models.sort();
    models.dedup();
    (!models.is_empty()).then_some(models)
}

/// The version of WalT an image needs, if this server is older.
pub fn needs_newer(labels: &BTreeMap<String, String>) -> Option<u32> {
    // Values that are not numbers are ignored, as they always were.
    let needs: u32 = labels.get(LABEL_MIN_VERSION)?.trim().parse().ok()?;
    (needs > OUR_VERSION).then_some(needs)
}

/// A place images come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// This server.
    Walt,
    /// The docker daemon of its machine.
    Docker(Box<DockerDaemon>),
    /// A registry.
    Registry(Box<Remote>),
}

/// What is known of an image elsewhere.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made, seconds since 1970.
    pub created: Option<i64>,
    /// The id it has, or would have, in the store, when that can be told.
    pub id: Option<ImageId>,
}

impl Source {
    /// Word of links to it.
    pub fn location(&self) -> &str {
        match self {
            Self::Walt => WALT,
            Self::Docker(_) => DOCKER,
            Self::Registry(remote) => remote.label(),
        }
    }

    /// The name of an image there: a JFrog repository stands in the place of every owner.
    pub fn name_of(&self, image: &ImageFullName) -> ImageFullName {
        let Self::Registry(remote) = self else { return image.clone() };
        let repository = remote.conf().repository.as_deref().and_then(|name| name.parse().ok());
        match repository {
            Some(owner) => image.name().clone().owned_by(owner),
            None => image.clone(),
        }
    }

    /// The place a link means.
    ///
    /// # Errors
    /// There is no such place.
    pub fn of(platform: &Platform, link: &CloneLink) -> Result<Self, MoveError> {
        let remotes = &platform.remotes;
        let unknown = || MoveError::UnknownLocation {
            location: link.location.clone(),
            known: remotes.locations().into_iter().map(str::to_owned).collect(),
        };
        match link.location.as_str() {
            WALT => Ok(Self::Walt),
            // Without docker, nothing is found there.
            DOCKER => remotes
                .docker()
                .map(Box::new)
                .map(Self::Docker)
                .ok_or_else(|| MoveError::NoSuchImage(link.to_string())),
            label => remotes
                .registry(label)
                .cloned()
                .map(Box::new)
                .map(Self::Registry)
                .ok_or_else(unknown),
        }
    }

    /// What is known of an image there.
    ///
    /// # Errors
    /// It is not there; the place does not answer properly; an account is needed.
    pub async fn look(
        &self,
        platform: &Platform,
        image: &ImageFullName,
        wanted: &Wanted,
        accounts: &Accounts,
    ) -> Result<Known, WorkflowError> {
        match self {
            Self::Walt => {
                let store = platform.images.catalogue().current().await?;
                let entry = store
                    .get(&image.to_string())
                    .ok_or_else(|| MoveError::NoSuchImage(format!("{WALT}:{}", image.short())))?;
                let labels = entry.labels.clone();
                Ok(Known { labels, created: Some(entry.created), id: Some(entry.id.clone()) })
            }
            Self::Docker(daemon) => {
                let found = daemon.inspect(&reference(image)?).await;
                let found = found.map_err(|error| told(error, DOCKER, image, false))?;
                Ok(Known { labels: found.labels, created: found.created, id: None })
            }
            Self::Registry(remote) => {
                let credentials = credentials(remote, Use::Pull, accounts)?;
                let found = remote.inspect(&reference(image)?, wanted, credentials.as_ref()).await;
                let given = credentials.is_some();
                let found = found.map_err(|error| told(error, remote.label(), image, given))?;
                Ok(Known { labels: found.labels, created: found.created, id: Some(found.id) })
            }
        }
    }

    /// Brings an image into the store, under the temporary name of the space.
    ///
    /// # Errors
    /// As [`Source::look`]; the transfer failed. The store then holds nothing new.
    pub async fn bring(
        &self,
        image: &ImageFullName,
        wanted: &Wanted,
        accounts: &Accounts,
        space: &Space,
        progress: &dyn Progress,
    ) -> Result<ImageId, WorkflowError> {
        let pace = Pace::new(progress);
        let note = |transfer| pace.note(transfer);
        let reference = reference(image)?;
        let (place, pulled, given) = match self {
            Self::Walt => return Err(MoveError::AlreadyYours(image.short()).into()),
            Self::Docker(daemon) => {
                (DOCKER, daemon.pull(&reference, &space.workplace(), &note).await, false)
            }
            Self::Registry(remote) => {
                let credentials = credentials(remote, Use::Pull, accounts)?;
                let place = space.workplace();
                let pulled =
                    remote.pull(&reference, wanted, credentials.as_ref(), &place, &note).await;
                (remote.label(), pulled, credentials.is_some())
            }
        };
        Ok(pulled.map_err(|error| told(error, place, image, given))?.id)
    }
}

/// The name of an image on registries.
fn reference(image: &ImageFullName) -> Result<Reference, MoveError> {
    let repository = format!("{}/{}", image.owner(), image.name().name());
    Ok(Reference::tagged(&repository, image.name().tag())?)
}

/// The account given for a registry.
///
/// # Errors
/// There is none and the registry wants one for this.
pub fn credentials(
    remote: &Remote,
    what: Use,
    accounts: &Accounts,
) -> Result<Option<Credentials>, MoveError> {
    match accounts.get(remote.label()) {
        Some(account) => {
            Ok(Some(Credentials::new(account.username.clone(), account.password.reveal())))
        }
        None if remote.needs_credentials(what) => Err(needed(remote.label(), false, None)),
        None => Ok(None),
    }
}

/// An account is needed.
pub fn needed(registry: &str, refused: bool, error: Option<&RemoteError>) -> MoveError {
    let message = match error {
        Some(error) => walt_model::sentence::capitalised(&format!("{error}.")),
        None => format!("Registry '{registry}' asks for a user name and a password."),
    };
    let needed = CredentialsNeeded { registry: registry.to_owned(), refused };
    MoveError::CredentialsNeeded { needed, message }
}

/// What a place answered about an image; `given`: with an account.
fn told(error: RemoteError, place: &str, image: &ImageFullName, given: bool) -> MoveError {
    let link = || format!("{place}:{}", image.short());
    match error {
        RemoteError::NotFound { .. } => MoveError::NoSuchImage(link()),
        RemoteError::NotWalt { .. } => MoveError::NotWalt(link()),
        error => account_or(error, place, given),
    }
}

/// An error that another account may cure, or the error itself.
pub fn account_or(error: RemoteError, registry: &str, given: bool) -> MoveError {
    // One that was given an account and asks for one does not take any.
    let useless = given && matches!(error, RemoteError::CredentialsNeeded { .. });
    if error.wants_credentials() && !useless {
        needed(registry, given, Some(&error))
    } else {
        MoveError::Remote(error)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn labels_of_walt_images() {
        assert_eq!(models(&labels(&[])), None);
        assert_eq!(models(&labels(&[(LABEL_MODELS, " ,")])), None);
        let list = models(&labels(&[(LABEL_MODELS, "rpi-b, pc-x86-64,rpi-b")]));
        assert_eq!(list.unwrap(), ["pc-x86-64", "rpi-b"]);
        for (value, needs) in [("10", None), ("4", None), ("11", Some(11)), ("soon", None)] {
            assert_eq!(needs_newer(&labels(&[(LABEL_MIN_VERSION, value)])), needs, "{value}");
        }
    }

    #[test]
    fn what_an_overwrite_means() {
        assert!(!overwrite("a", &[]).contains("node"));
        assert!(overwrite("a", &["n1".into()]).contains("1 node would"));
        assert!(overwrite("a", &["n1".into(), "n2".into()]).contains("2 nodes would"));
    }
}
