//! Bundles that were imported: each in a folder of its own, read only, beside the logs of the platform.

use std::io::Read;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use walt_logs::bundle::{Limits, Manifest, import};
use walt_logs::{LogError, LogStore, Options, Timestamp};
use walt_model::{CheckpointName, DeviceName, Mac, UserName};
use walt_proto::api::log::LogImport;
use walt_proto::api::{ApiError, ErrorKind};

use crate::api::failure::Failure;
use crate::killpoint;
use crate::platform::Platform;

/// Most bundles at a time.
const MAX: usize = 100;
/// Largest bundle, uncompressed.
const BYTES: u64 = 64 << 30;
/// What must stay free on the disk.
const SPARE: u64 = 1 << 30;
/// What an import may take on the disk, for each byte of its bundle.
const FACTOR: u64 = 3;
/// File that makes a folder an import.
const ABOUT: &str = "import.json";
/// The logs of an import.
const LOGS: &str = "logs.db";

/// Who has the checkpoints of an import.
pub fn owner() -> UserName {
    UserName::platform()
}

fn folder(platform: &Platform) -> PathBuf {
    platform.place.state_dir.join("imports")
}

/// A label names a folder: it is one word.
fn label_of(text: &str) -> Result<CheckpointName, Failure> {
    text.parse().map_err(|_| {
        let message = format!("'{text}' cannot be a label: letters, digits and dashes.");
        Failure::invalid(message)
    })
}

fn missing(label: &str) -> Failure {
    let message = format!("No bundle was imported as '{label}'.");
    ApiError::new(ErrorKind::NotFound, message).with_tip("walt log list-imports").into()
}

fn on_disk(error: std::io::Error) -> Failure {
    Failure::internal(&format_args!("imports of logs: {error}"))
}

/// The imports, by label.
///
/// # Errors
/// The folder cannot be read.
pub async fn list(platform: &Platform) -> Result<Vec<LogImport>, Failure> {
    let folder = folder(platform);
    blocking(move || {
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(on_disk)?,
        };
        let mut found: Vec<LogImport> =
            entries.filter_map(|entry| about(&entry.ok()?.path())).collect();
        found.sort_by(|a, b| a.label.cmp(&b.label));
        Ok(found)
    })
    .await
}

fn about(folder: &Path) -> Option<LogImport> {
    serde_json::from_slice(&std::fs::read(folder.join(ABOUT)).ok()?).ok()
}

/// The logs of an import.
///
/// # Errors
/// There is no such import; its file cannot be opened.
pub async fn open(platform: &Platform, label: &str) -> Result<LogStore, Failure> {
    let label = label_of(label)?;
    let folder = folder(platform).join(label.as_str());
    blocking(move || {
        if !folder.join(ABOUT).is_file() {
            return Err(missing(label.as_str()));
        }
        Ok(LogStore::open(&folder.join(LOGS), Options::default())?)
    })
    .await
}

/// The issuers of an import that a set names: sets of nodes are all of them here.
///
/// # Errors
/// A name that none has.
pub fn issuers(logs: &LogStore, set: Option<&str>) -> Result<Option<Vec<Mac>>, Failure> {
    let known = logs.issuers();
    let mut chosen = Vec::new();
    for word in set.unwrap_or("all-nodes").split(',').map(str::trim) {
        match word {
            "my-nodes" | "all-nodes" | "all-devices" | "free-nodes" => return Ok(None),
            word => {
                let name =
                    if word == "server" { DeviceName::SERVER.to_owned() } else { word.to_owned() };
                let found = known.iter().find(|(_, known)| **known == *name);
                let (mac, _) = found.ok_or_else(|| {
                    let message = format!("No issuer called '{word}' in this import.");
                    Failure::from(ApiError::new(ErrorKind::NotFound, message))
                })?;
                chosen.push(*mac);
            }
        }
    }
    Ok(Some(chosen))
}

/// Reads a bundle and keeps it under a label, once all of it is verified.
///
/// # Errors
/// A label that is taken or wrong, a bundle that is not accepted, no room.
pub async fn add(
    platform: &Platform,
    user: &UserName,
    label: &str,
    source: impl Read + Send + 'static,
) -> Result<LogImport, Failure> {
    let label = label_of(label)?;
    let known = list(platform).await?;
    if known.len() >= MAX {
        return Err(ApiError::new(
            ErrorKind::Conflict,
            format!("{MAX} bundles are imported already."),
        )
        .with_tip("walt log remove-import")
        .into());
    }
    let (folder, user) = (folder(platform), user.clone());
    let target = folder.join(label.as_str());
    let taken = {
        let label = label.clone();
        move || -> Failure {
            let message = format!("A bundle was imported as '{label}' already.");
            let tip = "another label: --label, or walt log remove-import";
            ApiError::new(ErrorKind::Conflict, message).with_tip(tip).into()
        }
    };
    if target.exists() {
        return Err(taken());
    }
    let work = Work::make(&platform.place.state_dir).map_err(on_disk)?;
    blocking(move || {
        let promise = Promise::of(free(&work.0).map_err(on_disk)?);
        let limits = Limits { bytes: promise.0 };
        let store = LogStore::open(&work.0.join(LOGS), Options::default())?;
        let runtime = tokio::runtime::Handle::current();
        let read = import(source, limits, &store, &owner());
        // Issuers are known once what names them is committed.
        let flushed = runtime.block_on(store.flush());
        let issuers = store.issuers().into_iter().map(|(_, name)| name.to_string()).collect();
        let closed = runtime.block_on(store.close());
        let (manifest, documents) = read?;
        flushed?;
        closed?;
        drop(promise);
        let import = told(&manifest, label.as_str(), &user, issuers);
        for (name, bytes) in documents {
            std::fs::write(work.0.join(format!("{name}.json")), bytes).map_err(on_disk)?;
        }
        let bytes = serde_json::to_vec_pretty(&import).unwrap_or_default();
        std::fs::write(work.0.join(ABOUT), bytes).map_err(on_disk)?;
        std::fs::create_dir_all(&folder).map_err(on_disk)?;
        killpoint::reached("import: before the folder gets its name");
        match std::fs::rename(&work.0, &target) {
            Ok(()) => {}
            Err(_) if target.exists() => return Err(taken()),
            Err(error) => return Err(on_disk(error)),
        }
        killpoint::reached("import: after the folder got its name");
        Ok(import)
    })
    .await
}

fn told(manifest: &Manifest, label: &str, user: &UserName, issuers: Vec<String>) -> LogImport {
    LogImport {
        label: label.to_owned(),
        user: user.to_string(),
        imported_us: Timestamp::now().0,
        made_us: manifest.made_us,
        server_version: manifest.server_version.chars().take(40).collect(),
        range: manifest.range.chars().take(200).collect(),
        lines: manifest.lines,
        issuers,
    }
}

/// Forgets an import.
///
/// # Errors
/// There is none; it is of somebody else.
pub async fn remove(platform: &Platform, user: &UserName, label: &str) -> Result<(), Failure> {
    let label = label_of(label)?;
    let target = folder(platform).join(label.as_str());
    let import = about(&target).ok_or_else(|| missing(label.as_str()))?;
    if import.user != user.as_str() && user.as_str() != "root" {
        let message = format!("'{label}' was imported by {}.", import.user);
        return Err(ApiError::new(ErrorKind::Forbidden, message).into());
    }
    let work = Work::make(&platform.place.state_dir).map_err(on_disk)?;
    // Gone at once, whatever happens to its files afterwards.
    let doomed = work.0.join(label.as_str());
    blocking(move || {
        std::fs::rename(&target, &doomed).map_err(on_disk)?;
        drop(work);
        Ok(())
    })
    .await
}

/// A folder that disappears with this value, or at the next start.
struct Work(PathBuf);

impl Work {
    fn make(state_dir: &Path) -> std::io::Result<Self> {
        let folder = state_dir.join("work").join(format!("op-{:016x}", rand::random::<u64>()));
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!("{} stays: {error}", self.0.display());
        }
    }
}

/// Bytes of bundles that imports under way may read.
static PROMISED: Mutex<u64> = Mutex::new(0);

/// How many bytes of a bundle an import may read. Until it ends, others get a share of what is left.
struct Promise(u64);

impl Promise {
    fn of(free: u64) -> Self {
        let mut promised = PROMISED.lock();
        let left = (free.saturating_sub(SPARE) / FACTOR).saturating_sub(*promised);
        let bytes = BYTES.min(left / 2);
        *promised += bytes;
        Self(bytes)
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        *PROMISED.lock() -= self.0;
    }
}

fn free(path: &Path) -> std::io::Result<u64> {
    let told = rustix::fs::statvfs(path)?;
    Ok(told.f_bavail.saturating_mul(told.f_frsize))
}

/// Work that may wait for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(LogError::Stopped.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_share_the_disk() {
        let free = SPARE + FACTOR * 1000;
        let promises: Vec<Promise> = (0..8).map(|_| Promise::of(free)).collect();
        let bytes: Vec<u64> = promises.iter().map(|promise| promise.0).collect();
        assert_eq!(bytes[..4], [500, 250, 125, 62]);
        assert!(bytes.iter().sum::<u64>() <= 1000, "{bytes:?}");
        drop(promises);
        assert_eq!(Promise::of(free).0, 500);
        assert_eq!(Promise::of(SPARE).0, 0);
        assert_eq!(Promise::of(u64::MAX).0, BYTES);
    }
}
