//! The WalT images of the store, in memory.
//!
//! A WalT image is one with the label `walt.node.models`. Its full name is `<owner>/<repo>:<tag>`,
//! kept in the store as `docker.io/<owner>/<repo>:<tag>`; tags under `localhost/walt/` are internal
//! and never shown. What is known of an image id never changes, so only new ids are inspected.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::podman::{CHANGE_DEADLINE, Podman, PodmanError, READ_DEADLINE};

/// Label holding the node models an image boots on: a comma-separated list.
pub const LABEL_MODELS: &str = "walt.node.models";
/// Label holding the name given to automatic clones of a default image.
pub const LABEL_PREFERRED_NAME: &str = "walt.image.preferred-name";
/// Prefix of the tags that keep a served image alive.
pub const MOUNTS_PREFIX: &str = "localhost/walt/mounts:";
/// Registry part of the names users know.
pub(crate) const OURS: &str = "docker.io/";
/// From this number of layers on, an image can no longer be changed (only squashed).
pub const MAX_LAYERS: usize = 128;

/// sha256 of an image's configuration, as podman shows it: 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageId(Arc<str>);

impl ImageId {
    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, as people see it.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageId({})", self.short())
    }
}

impl FromStr for ImageId {
    type Err = CatalogueError;

    fn from_str(text: &str) -> Result<Self, CatalogueError> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if digits.len() == 64 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(digits.into()))
        } else {
            Err(CatalogueError::BadId(text.to_owned()))
        }
    }
}

impl TryFrom<String> for ImageId {
    type Error = CatalogueError;

    fn try_from(text: String) -> Result<Self, CatalogueError> {
        text.parse()
    }
}

impl From<ImageId> for String {
    fn from(id: ImageId) -> String {
        id.as_str().to_owned()
    }
}

/// Why the catalogue could not answer.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// podman did not work.
    #[error(transparent)]
    Podman(#[from] PodmanError),
    /// Not an image id.
    #[error("'{0}' is not an image id (64 hexadecimal digits)")]
    BadId(String),
    /// Not a full image name.
    #[error("'{0}' is not a full image name (expected <owner>/<name>:<tag>)")]
    BadName(String),
    /// No WalT image has this name.
    #[error("no image is called '{0}'; `walt image show --all` lists the images")]
    Unknown(String),
    /// An image id leads to nothing (any more).
    #[error("image {0} is no longer in the store")]
    Gone(String),
    /// The layers of an image cannot be read.
    #[error("{0}")]
    Layers(String),
}

/// What is known of one image, under one of its names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageEntry {
    /// `<owner>/<repo>:<tag>`.
    pub fullname: String,
    /// The owner: text before the `/`.
    pub owner: String,
    /// The image behind the name now.
    pub id: ImageId,
    /// Size of all its layers, in bytes.
    pub size: u64,
    /// Creation time, seconds since 1970.
    pub created: i64,
    /// Models of [`LABEL_MODELS`], in the label's order.
    pub models: Vec<String>,
    /// All its labels.
    pub labels: BTreeMap<String, String>,
    /// Number of layers.
    pub layers: usize,
    /// sha256 of its manifest, as registries name it.
    pub digest: String,
}

impl ImageEntry {
    /// The name without its owner, and without `:latest`, as its owner sees it.
    pub fn user_name(&self) -> &str {
        let name = self.fullname.split_once('/').map_or(self.fullname.as_str(), |(_, name)| name);
        name.strip_suffix(":latest").unwrap_or(name)
    }

    /// Size in KiB, rounded up, as the image's own scripts are told.
    pub fn size_kib(&self) -> u64 {
        self.size.div_ceil(1024)
    }

    /// Whether the image can still receive a layer.
    pub fn editable(&self) -> bool {
        self.layers < MAX_LAYERS
    }
}

/// What never changes for an image id.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) size: u64,
    pub(crate) created: i64,
    pub(crate) models: Vec<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) layers: usize,
    digest: String,
}

/// What tells that the store changed: (inode, size, mtime ns) of its index of images.
type Stamp = (u64, u64, i64, i64);

/// One consistent view of the store: full name -> entry, in the order of names.
pub type Snapshot = Arc<BTreeMap<String, Arc<ImageEntry>>>;

/// The images of one store.
#[derive(Debug)]
pub struct Catalogue {
    podman: Podman,
    index_file: PathBuf,
    view: RwLock<Snapshot>,
    refreshing: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    stamp: Option<Stamp>,
    facts: HashMap<ImageId, Facts>,
}

impl Catalogue {
    /// Lists the store.
    ///
    /// # Errors
    /// podman did not work.
    pub async fn open(podman: Podman) -> Result<Self, CatalogueError> {
        let driver = podman.run(&["info", "--format", "{{.Store.GraphDriverName}}"], READ_DEADLINE);
        let driver = String::from_utf8_lossy(&driver.await?.stdout).trim().to_owned();
        let index_file = podman.graph_root().join(format!("{driver}-images/images.json"));
        let catalogue =
            Self { podman, index_file, view: RwLock::default(), refreshing: Mutex::default() };
        catalogue.refresh().await?;
        Ok(catalogue)
    }

    /// The podman this catalogue asks.
    pub fn podman(&self) -> &Podman {
        &self.podman
    }

    /// All WalT images as last seen. Never waits: for decisions made while a packet waits.
    pub fn snapshot(&self) -> Snapshot {
        self.view.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// One image as last seen, by full name (`owner/name:tag`).
    pub fn get(&self, fullname: &(impl Display + ?Sized)) -> Option<Arc<ImageEntry>> {
        self.snapshot().get(&fullname.to_string()).cloned()
    }

    /// Looks at the store again if it changed since (one `stat` when it did not), then answers.
    ///
    /// # Errors
    /// podman did not work.
    pub async fn current(&self) -> Result<Snapshot, CatalogueError> {
        let mut cache = self.refreshing.lock().await;
        if cache.stamp.is_none() || cache.stamp != stamp(&self.index_file) {
            self.refresh_locked(&mut cache).await?;
        }
        Ok(self.snapshot())
    }

    /// Lists the store whatever its state (`walt image show --refresh`).
    ///
    /// # Errors
    /// podman did not work.
    pub async fn refresh(&self) -> Result<Snapshot, CatalogueError> {
        let mut cache = self.refreshing.lock().await;
        self.refresh_locked(&mut cache).await?;
        Ok(self.snapshot())
    }

    /// The id behind a full name now (the store is looked at again if it changed).
    ///
    /// # Errors
    /// podman did not work; no WalT image has this name.
    pub async fn resolve(
        &self,
        fullname: &(impl Display + ?Sized),
    ) -> Result<ImageId, CatalogueError> {
        let fullname = fullname.to_string();
        let snapshot = self.current().await?;
        snapshot
            .get(&fullname)
            .map(|entry| entry.id.clone())
            .ok_or(CatalogueError::Unknown(fullname))
    }

    /// Whether a WalT image has this full name now.
    ///
    /// # Errors
    /// podman did not work.
    pub async fn exists(&self, fullname: &(impl Display + ?Sized)) -> Result<bool, CatalogueError> {
        Ok(self.current().await?.contains_key(&fullname.to_string()))
    }

    /// Gives an image a (further) full name; a name already used now means this image. What fails once that is done is
    /// told in the journal.
    ///
    /// # Errors
    /// podman did not work; the name is not `owner/name:tag`.
    pub async fn tag(
        &self,
        id: &ImageId,
        fullname: &(impl Display + ?Sized),
    ) -> Result<(), CatalogueError> {
        let fullname = fullname.to_string();
        let reference = store_reference(&fullname)?;
        self.podman.run(&["tag", id.as_str(), &reference], CHANGE_DEADLINE).await?;
        if let Err(error) = self.refresh().await {
            tracing::warn!(fullname, "the image store is to be listed again: {error}");
        }
        // The same name, imported from another registry, means nothing from now on.
        if let Err(error) = self.drop_others(&fullname, &reference).await {
            tracing::warn!(fullname, "the same name from another registry stays: {error}");
        }
        Ok(())
    }

    async fn drop_others(&self, fullname: &str, ours: &str) -> Result<(), CatalogueError> {
        let content = self.content().await?;
        for (other, id) in content.references_of(fullname) {
            if other != ours {
                self.drop_reference(other, id).await?;
            }
        }
        Ok(())
    }

    /// Takes a full name away. The image itself goes with its last name.
    ///
    /// # Errors
    /// podman did not work; no WalT image has this name.
    pub async fn untag(&self, fullname: &(impl Display + ?Sized)) -> Result<(), CatalogueError> {
        let fullname = fullname.to_string();
        let reference = store_reference(&fullname)?;
        let content = self.content().await?;
        let mut references = content.references_of(&fullname);
        if references.is_empty() {
            return Err(CatalogueError::Unknown(fullname));
        }
        // The one that tells what the name means goes last.
        references.sort_by_key(|(known, _)| *known == reference);
        for (reference, id) in references {
            self.drop_reference(reference, id).await?;
        }
        self.refresh().await?;
        Ok(())
    }

    /// Watches the store until cancelled: every `period`, one `stat`; on a change, a refresh and a
    /// call of `changed` with the new view. A failing podman is logged and tried again.
    pub async fn watch(
        &self,
        period: Duration,
        cancel: CancellationToken,
        changed: impl Fn(&Snapshot),
    ) {
        let mut before = self.snapshot();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(period) => {}
            }
            match self.current().await {
                Ok(now) => {
                    if now != before {
                        changed(&now);
                        before = now;
                    }
                }
                Err(error) => tracing::warn!(%error, "the image store could not be listed"),
            }
        }
    }

    async fn refresh_locked(&self, cache: &mut Cache) -> Result<(), CatalogueError> {
        // Taken before listing: a change made meanwhile is seen at the next look.
        let stamp = stamp(&self.index_file);
        let listed: Option<Vec<Listed>> = self.podman.images().await?;
        let mut names: BTreeMap<String, ImageId> = BTreeMap::new();
        for image in listed.unwrap_or_default() {
            let labels = image.labels.unwrap_or_default();
            if !labels.contains_key(LABEL_MODELS) {
                continue;
            }
            let Ok(id) = image.id.parse::<ImageId>() else { continue };
            for name in image.names.unwrap_or_default() {
                let Some(fullname) = walt_fullname(&name) else { continue };
                // The same name from several registries: ours is the one given by `tag`.
                if name.starts_with(OURS) || !names.contains_key(&fullname) {
                    names.insert(fullname, id.clone());
                }
            }
        }
        let mut unknown: Vec<&str> = names
            .values()
            .filter(|id| !cache.facts.contains_key(id))
            .map(ImageId::as_str)
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        if !unknown.is_empty() {
            let mut args = vec!["image", "inspect"];
            args.extend(unknown);
            let inspected: Vec<Inspected> = self.podman.json_lenient(&args, READ_DEADLINE).await?;
            for image in inspected {
                if let Ok(id) = image.id.parse() {
                    cache.facts.insert(id, image.into());
                }
            }
        }
        cache.facts.retain(|id, _| names.values().any(|used| used == id));
        let view: BTreeMap<String, Arc<ImageEntry>> = names
            .into_iter()
            .filter_map(|(fullname, id)| {
                let facts = cache.facts.get(&id)?.clone();
                let owner = fullname.split('/').next().unwrap_or_default().to_owned();
                let entry = ImageEntry {
                    fullname: fullname.clone(),
                    owner,
                    id,
                    size: facts.size,
                    created: facts.created,
                    models: facts.models,
                    labels: facts.labels,
                    layers: facts.layers,
                    digest: facts.digest,
                };
                Some((fullname, Arc::new(entry)))
            })
            .collect();
        *self.view.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(view);
        cache.stamp = stamp;
        Ok(())
    }
}

/// The models a [`LABEL_MODELS`] lists, blanks around them left out.
pub(crate) fn models_of(list: &str) -> Vec<String> {
    list.split(',').map(|model| model.trim().to_owned()).filter(|model| !model.is_empty()).collect()
}

/// `docker.io/<fullname>`, after a check of the full name's form.
///
/// # Errors
/// The name is not `owner/name:tag`.
pub fn store_reference(fullname: &str) -> Result<String, CatalogueError> {
    let reference = format!("{OURS}{fullname}");
    match walt_fullname(&reference) {
        Some(name) if name == fullname => Ok(reference),
        _ => Err(CatalogueError::BadName(fullname.to_owned())),
    }
}

/// The WalT name of a store reference: its registry dropped, exactly `owner/name:tag` left.
/// None for internal tags and for anything else.
pub(crate) fn walt_fullname(reference: &str) -> Option<String> {
    let (registry, rest) = reference.split_once('/')?;
    let (owner, name) = rest.split_once('/')?;
    if owner.is_empty() || name.contains('/') || name.contains('@') || owner.starts_with('-') {
        return None;
    }
    if registry == "localhost" && owner == "walt" {
        return None;
    }
    let clean = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let (repo, tag) = name.split_once(':').unwrap_or((name, "latest"));
    if repo.is_empty() || tag.is_empty() || !clean(owner) || !clean(repo) || !clean(tag) {
        return None;
    }
    Some(format!("{owner}/{repo}:{tag}"))
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    names: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
}

/// An image as `podman image inspect` shows it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Inspected {
    pub(crate) id: String,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    created: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    pub(crate) labels: Option<BTreeMap<String, String>>,
    #[serde(rename = "RootFS", default)]
    root_fs: Option<RootFs>,
    pub(crate) graph_driver: GraphDriver,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RootFs {
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// How the storage driver keeps an image.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GraphDriver {
    pub(crate) name: String,
    #[serde(default)]
    data: Option<BTreeMap<String, String>>,
}

impl GraphDriver {
    /// A value the driver gives about the image, e.g. `UpperDir`.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.data.as_ref()?.get(name).map(String::as_str)
    }
}

impl Inspected {
    /// Number of layers.
    pub(crate) fn layer_count(&self) -> usize {
        self.root_fs.as_ref().and_then(|fs| fs.layers.as_ref()).map_or(0, Vec::len)
    }

    /// Size of all layers, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Creation time, seconds since 1970 (0 when podman gives none).
    pub(crate) fn created(&self) -> i64 {
        parse_time(&self.created).unwrap_or(0)
    }
}

impl From<Inspected> for Facts {
    fn from(image: Inspected) -> Self {
        let labels = image.labels.clone().unwrap_or_default();
        let models = labels.get(LABEL_MODELS).map(|list| models_of(list)).unwrap_or_default();
        Self {
            size: image.size(),
            created: image.created(),
            models,
            labels,
            layers: image.layer_count(),
            digest: image.digest,
        }
    }
}

/// Seconds since 1970 of an RFC 3339 time in UTC or with an offset (fractions dropped).
fn parse_time(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    // Days since 1970-01-01 of the proleptic Gregorian calendar, years counted from March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * m + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100
        + day_of_year
        - 719_468;
    let zone = text.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone.as_bytes() {
        [b'Z'] => 0,
        [sign @ (b'+' | b'-'), rest @ ..] if rest.len() == 5 => {
            let hours: i64 = zone.get(1..3)?.parse().ok()?;
            let minutes: i64 = zone.get(4..6)?.parse().ok()?;
            (hours * 3600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    Some(days * 86_400 + hour * 3600 + minute * 60 + second - offset)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names() {
        assert_eq!(walt_fullname("docker.io/alice/x:base").unwrap(), "alice/x:base");
        assert_eq!(walt_fullname("quay.io/alice/x").unwrap(), "alice/x:latest");
        assert_eq!(walt_fullname("localhost/alice/x:1").unwrap(), "alice/x:1");
        for hidden in
            ["localhost/walt/mounts:abc", "localhost/x:base", "docker.io/a/b/c:1", "x", "r/-a/b:c"]
        {
            assert_eq!(walt_fullname(hidden), None, "{hidden}");
        }
        assert_eq!(store_reference("alice/x:base").unwrap(), "docker.io/alice/x:base");
        for bad in ["alice/x", "x", "alice/x:", "a/b c:d", "a/b:c/d"] {
            assert!(store_reference(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(parse_time("2026-11-23T15:32:29.995804903Z"), Some(1_795_447_949));
        assert_eq!(parse_time("2026-11-23T16:32:29+01:00"), Some(1_795_447_949));
        assert_eq!(parse_time("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse_time("2024-02-29T00:00:00Z"), Some(1_709_164_800));
        assert_eq!(parse_time("yesterday"), None);
    }

    #[test]
    fn ids() {
        let digits = "c573f848100be2e0a2781e0e7cfb05620c01fe67d52e70a6b29cdf7eb4714111";
        let id: ImageId = format!("sha256:{digits}").parse().unwrap();
        assert_eq!((id.as_str(), id.short()), (digits, "c573f848100b"));
        assert!("c573".parse::<ImageId>().is_err());
    }
}
