//! An image from the store to a registry.
//!
//! Layers the registry has in the compressed form they were once downloaded in are not even taken out of the store. skopeo
//! counts a file that is there as a layer done: an empty one named by the layer's uncompressed digest says "not this one", and the
//! manifest is then completed with the form the registry has.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;

use super::known::Known;
use super::local::{self, Layers};
use super::manifest::{Compressed, Configuration, Manifest};
use super::pull::{RESERVE, no_room};
use super::reference::{Digest, Reference};
use super::session::Session;
use super::upload::{self, Upload};
use super::{OnTransfer, Pushed, RemoteError, Stage, Transfer, Workplace};
use crate::ImageId;

/// Uploads an image.
pub(super) async fn push(
    session: &Session<'_>,
    known: &Known,
    id: &ImageId,
    image: &Reference,
    place: &Workplace<'_>,
    progress: OnTransfer<'_>,
) -> Result<Pushed, RemoteError> {
    let repository = image.repository();
    let dir = place.work_dir.join("push");
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).map_err(RemoteError::file(&blobs))?;
    progress(Transfer { stage: Stage::Exporting, done: 0, total: None });

    let stored = local::read(place.podman, id, place.work_dir).await?;
    let problem = |problem: String| session.http.answer("the image", problem);
    let diff_ids = Configuration::parse(&stored.config).map_err(problem)?.diff_ids;
    let mut there: HashMap<Digest, Compressed> = HashMap::new();
    let store = Layers::of(place.podman).await;
    for diff_id in &diff_ids {
        if there.contains_key(diff_id) {
            continue;
        }
        for form in store.forms(diff_id) {
            if has(session, known, repository, &form.digest, Some(form.size)).await? {
                let path = local::blob_file(&dir, diff_id);
                std::fs::write(&path, b"").map_err(RemoteError::file(path))?;
                there.insert(diff_id.clone(), form.clone());
                break;
            }
        }
    }
    let needed = stored.manifest.layers.iter().zip(&diff_ids);
    let needed = needed.filter(|(_, diff_id)| !there.contains_key(diff_id));
    // Compressed, they are not larger than they are in the store.
    let needed = needed.fold(0_u64, |sum, (layer, _)| sum.saturating_add(layer.size));
    let free = local::free_bytes(&dir)?.saturating_sub(RESERVE);
    if needed > free {
        return Err(no_room(needed, free));
    }
    let mut layers = local::export(place.podman, id, &dir, place.work_dir).await?;
    if layers.len() != diff_ids.len() {
        return Err(problem(format!("{} layers, not {}", layers.len(), diff_ids.len())));
    }
    let mut reused = 0;
    let mut to_send: Vec<Compressed> = Vec::new();
    for layer in &mut layers {
        if let Some(form) = there.get(&layer.digest) {
            reused += form.size;
            *layer = form.clone();
        } else if !to_send.contains(layer) {
            to_send.push(layer.clone());
        }
    }
    let manifest = Manifest::written(&stored.manifest, &stored.config, layers);
    // The configuration goes with the layers, from a file as they do.
    let config = &manifest.config;
    let path = local::blob_file(&dir, &config.digest);
    std::fs::write(&path, &stored.config).map_err(RemoteError::file(path))?;
    to_send.push(Compressed { digest: config.digest.clone(), size: config.size });
    let total = to_send.iter().map(|blob| blob.size).sum();
    let uploaded = send_all(session, known, repository, &to_send, &dir, progress, total).await?;
    reused += total - uploaded;
    let bytes = serde_json::to_vec(&manifest).map_err(|error| problem(error.to_string()))?;
    let digest = upload::manifest(session, image, bytes, manifest.media_type()).await?;
    known.remember(repository, manifest.layers.iter().map(|layer| &layer.digest));
    Ok(Pushed { digest, uploaded, reused })
}

/// Whether the repository has a blob, or gets it from another one of the registry.
async fn has(
    session: &Session<'_>,
    known: &Known,
    repository: &str,
    digest: &Digest,
    size: Option<u64>,
) -> Result<bool, RemoteError> {
    let same = |found: u64| size.is_none_or(|size| found == 0 || found == size);
    if upload::has(session, repository, digest).await?.is_some_and(same) {
        return Ok(true);
    }
    match known.repository_of(digest) {
        Some(from) if from != repository => {
            // Not allowed to read there, or gone from there: it is uploaded.
            Ok(upload::mount(session, repository, digest, &from).await.unwrap_or(false))
        }
        _ => Ok(false),
    }
}

/// Uploads what the registry does not have; answers how many bytes that was.
async fn send_all(
    session: &Session<'_>,
    known: &Known,
    repository: &str,
    blobs: &[Compressed],
    dir: &Path,
    progress: OnTransfer<'_>,
    total: u64,
) -> Result<u64, RemoteError> {
    let done = Arc::new(AtomicI64::new(0));
    // Bodies are made to outlive us, `progress` is not: they tell it through a channel.
    let (tell, mut told) = mpsc::unbounded_channel::<()>();
    let counter = done.clone();
    let moved: Arc<dyn Fn(i64) + Send + Sync> = Arc::new(move |count| {
        counter.fetch_add(count, Ordering::Relaxed);
        let _ = tell.send(());
    });
    let show = || {
        let done = u64::try_from(done.load(Ordering::Relaxed)).unwrap_or(0).min(total);
        progress(Transfer { stage: Stage::Uploading, done, total: Some(total) });
    };
    show();
    let one = async |blob: &Compressed| {
        if has(session, known, repository, &blob.digest, Some(blob.size)).await? {
            moved(i64::try_from(blob.size).unwrap_or(0));
            return Ok::<u64, RemoteError>(0);
        }
        let upload = Upload {
            digest: &blob.digest,
            path: local::blob_file(dir, &blob.digest),
            size: blob.size,
        };
        upload::blob(session, repository, &upload, &moved).await?;
        Ok(blob.size)
    };
    let send = stream::iter(blobs)
        .map(one)
        .buffer_unordered(session.http.limits.parallel.max(1))
        .try_fold(0, async |sum, size| Ok(sum + size));
    tokio::pin!(send);
    loop {
        tokio::select! {
            result = &mut send => {
                show();
                return result;
            }
            Some(()) = told.recv() => {
                while told.try_recv().is_ok() {}
                show();
            }
        }
    }
}
