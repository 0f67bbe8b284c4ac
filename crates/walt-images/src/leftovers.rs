//! What changes of images that were cut by a crash left in the store and on disk: only what has one of our names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::catalogue::{Catalogue, CatalogueError};
use crate::mounts;
use crate::podman::{CHANGE_DEADLINE, READ_DEADLINE};
use crate::tags::OP_PREFIX;

/// Names of the containers of changes under way begin with this.
pub const OP_CONTAINER: &str = "walt-op-";
/// Names of the folders of changes under way, in `<state>/work`, begin with this.
pub const OP_FOLDER: &str = "op-";

/// Removes the containers, tags and folders (in `work`) of changes that no server makes any more. To be called before
/// any change begins. Answers what was removed, and tells in the journal what could not be.
///
/// # Errors
/// podman did not work.
pub async fn remove(catalogue: &Catalogue, work: &Path) -> Result<Vec<String>, CatalogueError> {
    let mut removed = Vec::new();
    let podman = catalogue.podman();
    let args = ["ps", "--all", "--external", "--format", "json"];
    let containers: Option<Vec<Container>> = podman.json(&args, READ_DEADLINE).await?;
    for container in containers.unwrap_or_default() {
        let names = container.names.unwrap_or_default();
        let Some(name) = names.iter().find(|name| name.starts_with(OP_CONTAINER)) else { continue };
        // By id: a container of buildah is no container of podman by its name.
        let id = container.id.as_str();
        match podman.run(&["rm", "--force", "--time", "0", id], CHANGE_DEADLINE).await {
            Ok(_) => removed.push(format!("container {name}")),
            Err(error) => tracing::warn!("container {name} of an earlier change stays: {error}"),
        }
    }
    let content = catalogue.content().await?;
    for (tag, id) in content.references.iter().filter(|(tag, _)| tag.starts_with(OP_PREFIX)) {
        match catalogue.drop_reference(tag, id).await {
            Ok(()) => removed.push(format!("tag {tag}")),
            Err(error) => tracing::warn!("tag {tag} of an earlier change stays: {error}"),
        }
    }
    catalogue.drop_leaving(&content).await?;
    let work = work.to_owned();
    let folders = tokio::task::spawn_blocking(move || remove_folders(&work)).await;
    removed.extend(folders.unwrap_or_default());
    Ok(removed)
}

fn remove_folders(work: &Path) -> Vec<String> {
    let mut removed = Vec::new();
    let Ok(entries) = std::fs::read_dir(work) else { return removed };
    for entry in entries.flatten() {
        let path = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(OP_FOLDER) {
            continue;
        }
        match remove_folder(&path) {
            Ok(()) => removed.push(format!("folder {}", path.display())),
            Err(error) => {
                tracing::warn!("{} of an earlier change stays: {error}", path.display());
            }
        }
    }
    removed
}

/// Nothing is removed through a mount.
fn remove_folder(path: &Path) -> std::io::Result<()> {
    let resolved = path.canonicalize()?;
    let mut points: Vec<PathBuf> = mounts::current()?.into_iter().map(|m| m.point).collect();
    points.retain(|point| point.starts_with(&resolved));
    for point in points.iter().rev() {
        mounts::unmount(point, Duration::ZERO)?;
    }
    let still = mounts::current()?.into_iter().any(|mount| mount.point.starts_with(&resolved));
    if still {
        return Err(std::io::Error::other("something is mounted in it"));
    }
    if std::fs::symlink_metadata(path)?.is_dir() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
    names: Option<Vec<String>>,
}
