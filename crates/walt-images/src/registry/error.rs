//! Why a registry did not do what was asked, in sentences for people.

use std::path::PathBuf;
use std::time::Duration;

use super::reference::Digest;
use crate::command::CommandError;
use crate::podman::PodmanError;

/// Why a registry (or the docker daemon) did not do what was asked. `registry` is always its label.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// A name registries do not accept.
    #[error(
        "'{name}' is not a name registries accept: lower-case letters and digits, with '.', '_', '-' between them"
    )]
    BadName {
        /// What was given.
        name: String,
    },
    /// No such image there (404).
    #[error("{what} was not found on registry '{registry}'")]
    NotFound {
        /// The registry.
        registry: String,
        /// What was looked for.
        what: String,
    },
    /// It answers only those who log in, and no credentials were given.
    #[error("registry '{registry}' asks for a user name and a password")]
    CredentialsNeeded {
        /// The registry.
        registry: String,
    },
    /// The credentials are wrong, or do not allow this.
    #[error("registry '{registry}' refused {what} to user '{user}'{detail}")]
    Refused {
        /// The registry.
        registry: String,
        /// What was asked.
        what: String,
        /// The user name given.
        user: String,
        /// What the registry said, after `: `; or empty.
        detail: String,
    },
    /// It answers too many requests already (429), and still did after the waits it asked for.
    #[error("registry '{registry}' refuses more requests for now{}", wait_words(.wait))]
    TooManyRequests {
        /// The registry.
        registry: String,
        /// After how long it wants to be asked again, if it said.
        wait: Option<Duration>,
    },
    /// It failed, again and again.
    #[error("registry '{registry}' answered '{status}' to {what}{detail}")]
    Fault {
        /// The registry.
        registry: String,
        /// What was asked.
        what: String,
        /// The status line.
        status: String,
        /// What the registry said, after `: `; or empty.
        detail: String,
    },
    /// It cannot be reached.
    #[error("registry '{registry}' cannot be reached: {detail}")]
    Unreachable {
        /// The registry.
        registry: String,
        /// What the network said.
        detail: String,
    },
    /// A transfer was cut, and again each time it was resumed. What arrived is kept: the next try goes on from there.
    #[error(
        "the transfer of {what} with registry '{registry}' was cut ({detail}); what was transferred is kept for the next try"
    )]
    Cut {
        /// The registry.
        registry: String,
        /// What was transferred.
        what: String,
        /// What happened.
        detail: String,
    },
    /// What it sent is not what it announced.
    #[error("registry '{registry}' sent wrong content for {what}: expected {expected}, got {got}")]
    WrongDigest {
        /// The registry.
        registry: String,
        /// What was transferred.
        what: String,
        /// What it should be.
        expected: Digest,
        /// What it is.
        got: Digest,
    },
    /// What it sent is longer than announced, or than anything reasonable.
    #[error("{what} of registry '{registry}' is too large: more than {limit} bytes")]
    TooLarge {
        /// The registry.
        registry: String,
        /// What was transferred.
        what: String,
        /// The bound, in bytes.
        limit: u64,
    },
    /// It answered something that makes no sense.
    #[error("registry '{registry}' answered something unexpected for {what}: {problem}")]
    Answer {
        /// The registry.
        registry: String,
        /// What was asked.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An image without the label that makes it a WalT image.
    #[error("'{image}' is not a WalT image: it has no label '{}'", crate::catalogue::LABEL_MODELS)]
    NotWalt {
        /// The image.
        image: String,
    },
    /// An image for other processors.
    #[error("'{image}' is not there for {wanted}, only for {available}")]
    WrongArchitecture {
        /// The image.
        image: String,
        /// What was wanted.
        wanted: String,
        /// What there is.
        available: String,
    },
    /// A layer holds what must never be unpacked.
    #[error("layer {layer} of the image is refused: {problem}")]
    HostileLayer {
        /// The layer.
        layer: String,
        /// Which entry, and why.
        problem: String,
    },
    /// The image does not fit on the disk.
    #[error("not enough room for this image: {needed} MiB needed, {free} MiB free")]
    NoRoom {
        /// Bytes needed, in MiB.
        needed: u64,
        /// Bytes free, in MiB.
        free: u64,
    },
    /// This registry has no such function.
    #[error("registry '{registry}' cannot {what}")]
    Unsupported {
        /// The registry.
        registry: String,
        /// What it cannot do.
        what: String,
    },
    /// A registry that cannot be used as it is configured.
    #[error("registry '{registry}' cannot be used: {problem}")]
    Configuration {
        /// The registry.
        registry: String,
        /// What is wrong.
        problem: String,
    },
    /// podman did not work.
    #[error(transparent)]
    Podman(#[from] PodmanError),
    /// skopeo did not work.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A file of the server could not be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl RemoteError {
    /// Whether the user is to be asked for (other) credentials.
    pub fn wants_credentials(&self) -> bool {
        matches!(self, Self::CredentialsNeeded { .. } | Self::Refused { .. })
    }

    pub(super) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        |source| Self::File { path, source }
    }
}

fn wait_words(wait: &Option<Duration>) -> String {
    match wait {
        Some(wait) => format!("; it wants to be asked again in {} s", wait.as_secs()),
        None => "; try again later".to_owned(),
    }
}
