//! How registries are talked to: bounds, waits, certificates.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::podman::Podman;

/// How registries are talked to. The default is what a server uses.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether the proxies of the environment (`https_proxy`, `no_proxy`...) are used. Never for loopback addresses.
    pub proxies: bool,
    /// Where more certificate authorities are found, as podman and docker do: `<directory>/<host>:<port>/*.crt`.
    pub certificates: Vec<PathBuf>,
    /// Where the Docker Hub is.
    pub hub: HubAddresses,
    /// Bounds and waits.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            proxies: true,
            certificates: vec!["/etc/containers/certs.d".into(), "/etc/docker/certs.d".into()],
            hub: HubAddresses::default(),
            limits: Limits::default(),
        }
    }
}

/// Where the Docker Hub is: base URLs, without a final `/`.
#[derive(Debug, Clone)]
pub struct HubAddresses {
    /// The registry proper.
    pub registry: String,
    /// The search by name (`/v1/search`).
    pub index: String,
    /// The list of an account's repositories (`/v2/repositories`).
    pub accounts: String,
}

impl Default for HubAddresses {
    fn default() -> Self {
        Self {
            registry: "https://registry-1.docker.io".to_owned(),
            index: "https://index.docker.io".to_owned(),
            accounts: "https://hub.docker.com".to_owned(),
        }
    }
}

/// Bounds and waits.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest manifest, image configuration or JSON answer, in bytes.
    pub document: u64,
    /// Most layers of an image.
    pub layers: usize,
    /// Most names in a catalogue or list of tags.
    pub names: usize,
    /// Layers transferred at the same time.
    pub parallel: usize,
    /// How often a request is made, at most, when it fails in a way that may pass.
    pub tries: u32,
    /// Wait before the second try; doubled before each further one.
    pub first_wait: Duration,
    /// Longest wait a registry may ask for (`Retry-After`); beyond, the user is told.
    pub longest_wait: Duration,
    /// A connection that is not made in this time fails.
    pub connect: Duration,
    /// A transfer that does not move for this time is cut.
    pub stall: Duration,
    /// Partial downloads older than this are removed.
    pub keep_partial: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            document: 4 << 20,
            layers: 500,
            names: 50_000,
            parallel: 4,
            tries: 5,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(60),
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(60),
            keep_partial: Duration::from_secs(3 * 24 * 3600),
        }
    }
}

/// Where a transfer works.
#[derive(Debug, Clone, Copy)]
pub struct Workplace<'a> {
    /// The store the image comes to, or is taken from.
    pub podman: &'a Podman,
    /// An existing directory of this operation alone; its caller removes it, whatever happens.
    pub work_dir: &'a Path,
    /// A directory of the server where partial downloads wait for their next try; on the same file system as `work_dir`.
    pub resume_dir: &'a Path,
    /// The temporary name the image gets when it is complete and verified (`localhost/walt/op:<hex>`); its caller removes
    /// it once the image has its final name.
    pub tag: &'a str,
}

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// What is being done.
    pub stage: Stage,
    /// Bytes done. In [`Stage::Downloading`] and [`Stage::Uploading`], of compressed layers, without those that were there.
    pub done: u64,
    /// Bytes in all, when known.
    pub total: Option<u64>,
}

/// What a transfer is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Layers come from the registry.
    Downloading,
    /// Layers are unpacked in the store. Bytes are not counted.
    Storing,
    /// Layers are taken out of the store. Bytes are not counted.
    Exporting,
    /// Layers go to the registry.
    Uploading,
}

impl Stage {
    /// For people: `Downloading`.
    pub fn words(self) -> &'static str {
        match self {
            Self::Downloading => "Downloading",
            Self::Storing => "Storing",
            Self::Exporting => "Exporting",
            Self::Uploading => "Uploading",
        }
    }
}

/// Told about every step of a transfer; called often: at least every 100 KiB or so.
pub type OnTransfer<'a> = &'a (dyn Fn(Transfer) + Send + Sync);
