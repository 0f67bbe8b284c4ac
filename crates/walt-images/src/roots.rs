//! An image as a directory to serve.
//!
//! `<state>/roots/<root id>/` holds, for each root: `fs` (an overlay mount: the image's layers, ours
//! on top), `upper` and `work` (our layer), `ready` (written last: what was done). A mount with its
//! `ready` file is complete and is used again by the next server; anything else found there is a root
//! that was being made or removed when a server was killed, and is cleaned.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::catalogue::{ImageId, Inspected, MOUNTS_PREFIX};
use crate::features;
use crate::inject::{ImageSpec, VitalStepFailed, carry_out};
use crate::inside::Inside;
use crate::keys::PlatformKeys;
use crate::layer::{LayerReport, Step, WaltLayer};
use crate::mounts;
use crate::podman::{CHANGE_DEADLINE, Podman, PodmanError, READ_DEADLINE};

/// How long `release` waits for the last open file of a root before detaching it.
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(3);

/// Which root: sha256 of (image id, walt layer digest), first 16 bytes. The same image with the same
/// walt layer has the same id on any server start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RootId(pub [u8; 16]);

impl fmt::Display for RootId {
    /// 32 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for RootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootId({self})")
    }
}

impl FromStr for RootId {
    type Err = RootError;

    fn from_str(text: &str) -> Result<Self, RootError> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| RootError::BadId(text.to_owned()))?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for RootId {
    type Error = RootError;

    fn try_from(text: String) -> Result<Self, RootError> {
        text.parse()
    }
}

impl From<RootId> for String {
    fn from(id: RootId) -> String {
        id.to_string()
    }
}

/// Why a root could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// podman did not work, or has no such image.
    #[error(transparent)]
    Podman(#[from] PodmanError),
    /// Not a root id.
    #[error("'{0}' is not a root id (32 hexadecimal digits)")]
    BadId(String),
    /// The store keeps layers in a way we cannot mount.
    #[error(
        "the image store uses the driver '{0}'; roots need the driver 'overlay' (storage.conf)"
    )]
    Driver(String),
    /// A system call failed.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The walt layer could not be written.
    #[error(transparent)]
    Layer(#[from] VitalStepFailed),
    /// Another server uses the same state.
    #[error("another walt-server uses {0}; stop it first")]
    InUse(PathBuf),
    /// The making was interrupted inside this process.
    #[error("the making of the root was interrupted: {0}")]
    Interrupted(String),
}

pub(crate) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RootError {
    let path = path.to_owned();
    move |source| RootError::Io { what, path, source }
}

/// An image ready to be served.
#[derive(Debug)]
pub struct Root {
    /// Its id.
    pub id: RootId,
    /// The image it shows.
    pub image: ImageId,
    /// Where its files are (`<state>/roots/<id>/fs`). Read only by agreement: what is written there
    /// is seen by every node.
    pub dir: PathBuf,
    /// What was done to it, and what could not be done.
    pub report: LayerReport,
}

impl Root {
    /// Opens `/boot/<model>/<path>` of the image for reading (TFTP, HTTP boot). The path and every
    /// symlink on its way are resolved inside the image.
    ///
    /// # Errors
    /// No such file; not a regular file; the model is not one name.
    pub fn open_boot_file(&self, model: &str, path: &str) -> io::Result<std::fs::File> {
        if model.is_empty() || model.contains('/') || model == "." || model == ".." {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a node model"));
        }
        Inside::enter(&self.dir)?.open_file(format!("boot/{model}/{path}"))
    }
}

/// What the `ready` file says.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Ready {
    image: ImageId,
    report: LayerReport,
}

/// All roots of a server.
#[derive(Debug)]
pub struct Roots {
    podman: Podman,
    keys: PlatformKeys,
    dir: PathBuf,
    runtime: String,
    /// Given by `ensure`, not yet released.
    live: Mutex<HashMap<RootId, Arc<Root>>>,
    /// Found at start, not yet asked for.
    found: Mutex<HashMap<RootId, Ready>>,
    /// Held while a root is made or released.
    gates: Mutex<HashMap<RootId, Arc<tokio::sync::Mutex<()>>>>,
    /// Held while the tag that keeps an image alive is given or taken.
    tags: tokio::sync::Mutex<()>,
    /// Locked as long as this server lives.
    _lock: OwnedFd,
}

impl Roots {
    /// Opens `<state_dir>/roots`: mounts left by a killed server are found, half-made ones removed.
    ///
    /// # Errors
    /// The state directory cannot be used, or another server uses it.
    pub async fn open(
        podman: Podman,
        state_dir: PathBuf,
        keys: PlatformKeys,
    ) -> Result<Self, RootError> {
        let info =
            podman.run(&["info", "--format", "{{.Host.OCIRuntime.Path}}"], READ_DEADLINE).await?;
        let runtime = String::from_utf8_lossy(&info.stdout).trim().to_owned();
        let dir = state_dir.join("roots");
        let (dir, lock, found) = blocking(move || {
            std::fs::create_dir_all(&dir).map_err(io_error("make", &dir))?;
            // Mounts are compared by the path the kernel shows.
            let dir = dir.canonicalize().map_err(io_error("resolve", &dir))?;
            let lock = lock(&dir)?;
            let found = find(&dir)?;
            Ok((dir, lock, found))
        })
        .await?;
        Ok(Self {
            podman,
            keys,
            dir,
            runtime,
            live: Mutex::default(),
            found: Mutex::new(found),
            gates: Mutex::default(),
            tags: tokio::sync::Mutex::default(),
            _lock: lock,
        })
    }

    /// The platform's keys.
    pub fn keys(&self) -> &PlatformKeys {
        &self.keys
    }

    /// The id `ensure` would give.
    pub fn id_of(&self, image: &ImageId, layer: &WaltLayer) -> RootId {
        let mut hash = Sha256::new();
        hash.update(image.as_str());
        hash.update(layer.digest(&self.keys));
        let digest: [u8; 32] = hash.finalize().into();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        RootId(id)
    }

    /// The root of an image, made if needed (0.1 to some seconds). Callers of the same image share
    /// one making.
    ///
    /// # Errors
    /// See [`RootError`].
    pub async fn ensure(&self, image: &ImageId, layer: &WaltLayer) -> Result<Arc<Root>, RootError> {
        let id = self.id_of(image, layer);
        if let Some(root) = self.get(id) {
            return Ok(root);
        }
        let gate = self.gate(id);
        let _making = gate.lock().await;
        if let Some(root) = self.get(id) {
            return Ok(root);
        }
        let dir = self.dir.join(id.to_string()).join("fs");
        let found = locked(&self.found).get(&id).cloned();
        let report = match found {
            Some(ready) if mounts::overlay_at(&dir).unwrap_or(false) => ready.report,
            _ => self.make(id, image, layer).await?,
        };
        let root = Arc::new(Root { id, image: image.clone(), dir, report });
        locked(&self.live).insert(id, root.clone());
        locked(&self.found).remove(&id);
        Ok(root)
    }

    /// A root that `ensure` gave and that was not released.
    pub fn get(&self, id: RootId) -> Option<Arc<Root>> {
        locked(&self.live).get(&id).cloned()
    }

    /// A root left by an earlier server, still mounted, taken over as it is: after an upgrade the same
    /// image has another root, and nodes that booted before still read the old one.
    pub fn claim(&self, id: RootId) -> Option<Arc<Root>> {
        if let Some(root) = self.get(id) {
            return Some(root);
        }
        let dir = self.dir.join(id.to_string()).join("fs");
        let ready = locked(&self.found).get(&id).cloned()?;
        if !mounts::overlay_at(&dir).unwrap_or(false) {
            return None;
        }
        let root = Arc::new(Root { id, image: ready.image, dir, report: ready.report });
        locked(&self.live).insert(id, root.clone());
        locked(&self.found).remove(&id);
        Some(root)
    }

    /// All roots `ensure` gave and that were not released.
    pub fn active(&self) -> Vec<Arc<Root>> {
        locked(&self.live).values().cloned().collect()
    }

    /// Unmounts and removes a root. Files still open after 3 s stay readable, the root goes anyway.
    ///
    /// # Errors
    /// The directory cannot be removed.
    pub async fn release(&self, id: RootId) -> Result<(), RootError> {
        let gate = self.gate(id);
        let _releasing = gate.lock().await;
        let image = locked(&self.live)
            .remove(&id)
            .map(|root| root.image.clone())
            .or_else(|| locked(&self.found).remove(&id).map(|ready| ready.image));
        let dir = self.dir.clone();
        blocking(move || clear(&dir, id)).await?;
        if let Some(image) = image {
            self.let_go(&image).await;
        }
        Ok(())
    }

    /// Releases what a previous server left and no `ensure` of this one asked for: call it once every
    /// node's image is ensured. Answers what failed.
    pub async fn release_unclaimed(&self) -> Vec<RootError> {
        let ids: Vec<RootId> = locked(&self.found).keys().copied().collect();
        self.release_each(ids).await
    }

    /// Releases everything (server stop): no mount is left. Answers what failed.
    pub async fn release_all(&self) -> Vec<RootError> {
        let mut ids: Vec<RootId> = locked(&self.live).keys().copied().collect();
        ids.extend(locked(&self.found).keys());
        self.release_each(ids).await
    }

    async fn release_each(&self, ids: Vec<RootId>) -> Vec<RootError> {
        let mut errors = Vec::new();
        for id in ids {
            errors.extend(self.release(id).await.err());
        }
        errors
    }

    fn gate(&self, id: RootId) -> Arc<tokio::sync::Mutex<()>> {
        locked(&self.gates).entry(id).or_default().clone()
    }

    async fn make(
        &self,
        id: RootId,
        image: &ImageId,
        layer: &WaltLayer,
    ) -> Result<LayerReport, RootError> {
        let started = std::time::Instant::now();
        let inspected: Vec<Inspected> =
            self.podman.json(&["image", "inspect", image.as_str()], READ_DEADLINE).await?;
        let inspected = inspected
            .into_iter()
            .next()
            .ok_or_else(|| RootError::Interrupted(format!("no image {image}")))?;
        let lowers = layers(&inspected)?;
        self.hold(image).await?;
        let size_kib = inspected.size().div_ceil(1024);
        let mtime = inspected.created();
        let plan = layer.plan(&self.keys, image, size_kib);
        let split = plan
            .iter()
            .position(|step| matches!(step, Step::EnableFeatures(_)))
            .unwrap_or(plan.len());
        let mut before = plan;
        let after = before.split_off(split);

        let dir = self.dir.clone();
        let (spec, mut report) = blocking(move || {
            // Whatever a killed server left half done.
            clear(&dir, id)?;
            let home = dir.join(id.to_string());
            for name in ["fs", "upper", "work"] {
                let path = home.join(name);
                std::fs::create_dir_all(&path).map_err(io_error("make", &path))?;
            }
            let point = home.join("fs");
            // The merged root directory has the attributes of `upper`.
            copy_attributes(&lowers[0], &home.join("upper")).map_err(io_error("prepare", &home))?;
            mounts::mount_overlay(&lowers, &home.join("upper"), &home.join("work"), &point)
                .map_err(io_error("mount the layers of the image on", &point))?;
            let inside = Inside::enter(&point).map_err(io_error("enter", &point))?;
            let mut report = LayerReport::default();
            for step in &before {
                carry_out(&inside, step, mtime, &mut report)?;
            }
            let spec = ImageSpec::read(&inside, &mut LayerReport::default());
            Ok((spec, report))
        })
        .await?;

        let home = self.dir.join(id.to_string());
        if let Some(Step::EnableFeatures(features)) = after.first() {
            let name = format!("walt-{id}");
            features::enable(
                &self.runtime,
                &spec,
                features,
                &home.join("fs"),
                &home,
                &name,
                &mut report,
            )
            .await;
        }
        let image = image.clone();
        let report = blocking(move || {
            let point = home.join("fs");
            let inside = Inside::enter(&point).map_err(io_error("enter", &point))?;
            for step in &after {
                carry_out(&inside, step, mtime, &mut report)?;
            }
            let ready = Ready { image, report };
            let text = serde_json::to_vec_pretty(&ready)
                .map_err(|error| RootError::Interrupted(error.to_string()))?;
            let (temporary, path) = (home.join("ready.new"), home.join("ready"));
            std::fs::write(&temporary, text)
                .and_then(|()| std::fs::rename(&temporary, &path))
                .map_err(io_error("write", &path))?;
            Ok(ready.report)
        })
        .await?;
        for warning in &report.warnings {
            tracing::warn!(image = inspected.id, %warning, "an image could not be prepared completely");
        }
        tracing::info!(image = inspected.id, root = %id, elapsed = ?started.elapsed(), "image root ready");
        Ok(report)
    }

    /// Tags an image so that it outlives its last user name.
    async fn hold(&self, image: &ImageId) -> Result<(), RootError> {
        let _tags = self.tags.lock().await;
        let tag = format!("{MOUNTS_PREFIX}{}", image.short());
        self.podman.run(&["tag", image.as_str(), &tag], CHANGE_DEADLINE).await?;
        Ok(())
    }

    /// Takes that tag away when no root shows the image any more; an image without any other name
    /// goes with it.
    async fn let_go(&self, image: &ImageId) {
        let _tags = self.tags.lock().await;
        let used = locked(&self.live).values().any(|root| root.image == *image)
            || locked(&self.found).values().any(|ready| ready.image == *image);
        if used {
            return;
        }
        let tag = format!("{MOUNTS_PREFIX}{}", image.short());
        if let Err(error) = self.podman.run(&["rmi", &tag], CHANGE_DEADLINE).await {
            tracing::warn!(%error, %image, "the tag of a root that is no longer served stays");
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RootError> + Send + 'static,
) -> Result<T, RootError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| RootError::Interrupted(error.to_string()))?
}

fn lock(dir: &Path) -> Result<OwnedFd, RootError> {
    let path = dir.join("lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let fd = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600))
        .map_err(|error| io_error("open", &path)(error.into()))?;
    match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(fd),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(RootError::InUse(dir.to_owned())),
        Err(error) => Err(io_error("lock", &path)(error.into())),
    }
}

/// Complete roots of a previous server; everything else below `dir` is cleaned.
fn find(dir: &Path) -> Result<HashMap<RootId, Ready>, RootError> {
    let mut found = HashMap::new();
    for entry in std::fs::read_dir(dir).map_err(io_error("list", dir))? {
        let entry = entry.map_err(io_error("list", dir))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(".trash-") {
            remove_tree(&entry.path())?;
            continue;
        }
        let Ok(id) = name.parse::<RootId>() else { continue };
        let ready = std::fs::read(entry.path().join("ready")).ok();
        let ready = ready.and_then(|text| serde_json::from_slice::<Ready>(&text).ok());
        match ready {
            Some(ready) if mounts::overlay_at(&entry.path().join("fs")).unwrap_or(false) => {
                found.insert(id, ready);
            }
            _ => clear(dir, id)?,
        }
    }
    Ok(found)
}

/// Unmounts and removes whatever stands for a root. Nothing there is no error. Blocks.
fn clear(dir: &Path, id: RootId) -> Result<(), RootError> {
    let home = dir.join(id.to_string());
    let point = home.join("fs");
    while mounts::overlay_at(&point).unwrap_or(false) {
        if mounts::unmount(&point, UNMOUNT_PATIENCE).map_err(io_error("unmount", &point))? {
            tracing::warn!(root = %id, "files of a released image root are still open");
        }
    }
    let trash = dir.join(format!(".trash-{id}"));
    remove_tree(&trash)?;
    match std::fs::rename(&home, &trash) {
        Ok(()) => remove_tree(&trash),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_error("remove", &home)(error)),
    }
}

fn remove_tree(path: &Path) -> Result<(), RootError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Directories of an image's layers, from top to bottom.
pub(crate) fn layers(image: &Inspected) -> Result<Vec<PathBuf>, RootError> {
    let driver = &image.graph_driver;
    let Some(upper) = driver.value("UpperDir").filter(|_| driver.name == "overlay") else {
        return Err(RootError::Driver(driver.name.clone()));
    };
    let lower = driver.value("LowerDir").unwrap_or_default();
    Ok(std::iter::once(upper)
        .chain(lower.split(':').filter(|path| !path.is_empty()))
        .map(PathBuf::from)
        .collect())
}

/// Gives a directory the owner, permissions and times of another.
fn copy_attributes(from: &Path, to: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let metadata = std::fs::metadata(from)?;
    chown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(metadata.mode() & 0o7777))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn root_ids() {
        let id: RootId = "000102030405060708090a0b0c0d0e0f".parse().unwrap();
        assert_eq!(id.to_string(), "000102030405060708090a0b0c0d0e0f");
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{id}\""));
        assert!("xyz".parse::<RootId>().is_err());
    }

    #[test]
    fn layer_directories() {
        let image: Inspected = serde_json::from_str(
            r#"{"Id": "x", "GraphDriver": {"Name": "overlay", "Data": {"UpperDir": "/c", "LowerDir": "/b:/a"}}}"#,
        )
        .unwrap();
        assert_eq!(layers(&image).unwrap(), ["/c", "/b", "/a"].map(PathBuf::from));
        let image: Inspected =
            serde_json::from_str(r#"{"Id": "x", "GraphDriver": {"Name": "vfs", "Data": null}}"#)
                .unwrap();
        assert!(layers(&image).unwrap_err().to_string().contains("'vfs'"));
    }
}
