//! An image from a registry to the store.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::architecture::Wanted;
use super::blob::{self, Blob, Counters};
use super::inspect::{self, Resolved};
use super::known::Known;
use super::layer_check::{self, Budget, Refusal};
use super::local::{self, Layers};
use super::manifest::Descriptor;
use super::reference::{Digest, Reference};
use super::session::Session;
use super::{OnTransfer, Pulled, RemoteError, Stage, Transfer, Workplace};
use crate::Podman;

/// Bytes left free on the disk, whatever an image wants.
pub(super) const RESERVE: u64 = 256 << 20;

/// One layer to bring.
struct Layer<'m> {
    descriptor: &'m Descriptor,
    diff_id: &'m Digest,
}

/// Downloads an image, checks it, gives it to the store.
pub(super) async fn pull(
    session: &Session<'_>,
    known: &Known,
    reference: &Reference,
    wanted: &Wanted,
    place: &Workplace<'_>,
    progress: OnTransfer<'_>,
) -> Result<Pulled, RemoteError> {
    blob::clean(place.resume_dir, session.http.limits.keep_partial);
    let resolved = inspect::resolve(session, reference, wanted).await?;
    let Resolved { image, manifest, config, .. } = &resolved;
    if image.models().is_empty() {
        return Err(RemoteError::NotWalt { image: reference.to_string() });
    }
    let offered = std::slice::from_ref(&image.architecture);
    if wanted.choose(offered).is_none() {
        return Err(inspect::wrong_architecture(reference, wanted, offered));
    }
    let there = Layers::of(place.podman).await;
    let mut layers: Vec<Layer<'_>> = Vec::new();
    for (descriptor, diff_id) in manifest.layers.iter().zip(&config.diff_ids) {
        // One archive may be several layers of an image (empty ones often are).
        if !layers.iter().any(|layer| layer.descriptor.digest == descriptor.digest) {
            layers.push(Layer { descriptor, diff_id });
        }
    }
    // skopeo remembers which archives have which content: often it needs no archive when the content is there.
    let (missing, doubtful): (Vec<_>, Vec<_>) = layers
        .into_iter()
        .filter(|layer| !there.has(&layer.descriptor.digest))
        .partition(|layer| !there.has_content(layer.diff_id));

    let dir = place.work_dir.join("pull");
    std::fs::create_dir_all(&dir).map_err(RemoteError::file(&dir))?;
    local::lay_out(&dir, &resolved.manifest_bytes, &manifest.config, &resolved.config_bytes)?;
    let downloads = Downloads { session, reference, place, progress, dir: &dir };
    let mut counters = Counters::default();
    let mut blobs = downloads.bring(&missing, &counters).await?;
    let source = format!("dir:{}", dir.display());
    let storing = || progress(Transfer { stage: Stage::Storing, done: 0, total: None });
    storing();
    let import = || local::import(place.podman, &source, place.tag, place.work_dir);
    let id = match import().await {
        Err(RemoteError::Command(error)) if !doubtful.is_empty() => {
            tracing::debug!(%error, "layers are needed that the store seemed to have");
            let more = Counters::default();
            blobs.extend(downloads.bring(&doubtful, &more).await?);
            *counters.downloaded.get_mut() += more.downloaded.into_inner();
            storing();
            import().await?
        }
        other => other?,
    };
    blobs.into_iter().for_each(Blob::remove);
    if id != image.id {
        forget(place.podman, place.tag).await;
        let (expected, got) = (manifest.config.digest.clone(), Digest::of_id(&id));
        let (registry, what) = (session.http.label.clone(), reference.to_string());
        return Err(RemoteError::WrongDigest { registry, what, expected, got });
    }
    known.remember(reference.repository(), manifest.layers.iter().map(|layer| &layer.digest));
    let downloaded = counters.downloaded.into_inner();
    let reused = image.size.saturating_sub(downloaded);
    Ok(Pulled { id, digest: image.digest.clone(), downloaded, reused })
}

async fn forget(podman: &Podman, tag: &str) {
    // With the name only once, all names of the image would go.
    let result = podman.run(&["untag", tag, tag], crate::podman::CHANGE_DEADLINE).await;
    if let Err(error) = result {
        tracing::warn!(tag, %error, "temporary name stays");
    }
}

struct Downloads<'d> {
    session: &'d Session<'d>,
    reference: &'d Reference,
    place: &'d Workplace<'d>,
    progress: OnTransfer<'d>,
    dir: &'d Path,
}

impl Downloads<'_> {
    /// Brings layers in the directory for the store, checked.
    async fn bring(
        &self,
        layers: &[Layer<'_>],
        counters: &Counters,
    ) -> Result<Vec<Blob>, RemoteError> {
        let total: u64 =
            layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.descriptor.size));
        let free = local::free_bytes(self.place.resume_dir)?.saturating_sub(RESERVE);
        if total > free {
            return Err(no_room(total, free));
        }
        let store = local::free_bytes(self.place.podman.graph_root())?.saturating_sub(RESERVE);
        let budget = Arc::new(Budget { room: AtomicU64::new(store), ..Budget::default() });
        // Given up (an error elsewhere, the caller goes away): threads that read layers end too.
        let _stop = StopOnDrop(budget.clone());
        let moved = || {
            let done = counters.present.load(Ordering::Relaxed).min(total);
            (self.progress)(Transfer { stage: Stage::Downloading, done, total: Some(total) });
        };
        let repository = self.reference.repository();
        let one = async |layer: &Layer<'_>| {
            let blob = blob::fetch(
                self.session,
                repository,
                layer.descriptor,
                self.place.resume_dir,
                counters,
                &moved,
            )
            .await?;
            self.check(&blob, layer, store, &budget).await?;
            let path = self.dir.join(layer.descriptor.digest.hex());
            std::fs::hard_link(&blob.path, &path).map_err(RemoteError::file(&path))?;
            Ok(blob)
        };
        stream::iter(layers)
            .map(one)
            .buffer_unordered(self.session.http.limits.parallel.max(1))
            .try_collect()
            .await
    }

    async fn check(
        &self,
        blob: &Blob,
        layer: &Layer<'_>,
        store: u64,
        budget: &Arc<Budget>,
    ) -> Result<(), RemoteError> {
        let (path, diff_id, shared) = (blob.path.clone(), layer.diff_id.clone(), budget.clone());
        let checked =
            tokio::task::spawn_blocking(move || layer_check::check(&path, &diff_id, &shared)).await;
        let refusal = match checked {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(refusal)) => refusal,
            Err(error) => Refusal::File(error.to_string()),
        };
        let layer_name = layer.descriptor.digest.short().to_owned();
        if !matches!(refusal, Refusal::NoRoom | Refusal::Stopped) {
            // It will not be better next time.
            let _ = std::fs::remove_file(&blob.path);
        }
        Err(match refusal {
            Refusal::Hostile(problem) => RemoteError::HostileLayer { layer: layer_name, problem },
            Refusal::Other { got } => RemoteError::WrongDigest {
                registry: self.session.http.label.clone(),
                what: format!("the content of layer {layer_name}"),
                expected: layer.diff_id.clone(),
                got,
            },
            Refusal::NoRoom => no_room(store.saturating_add(1), store),
            Refusal::Stopped => RemoteError::HostileLayer {
                layer: layer_name,
                problem: "its check was given up".to_owned(),
            },
            Refusal::File(problem) => RemoteError::file(&blob.path)(std::io::Error::other(problem)),
        })
    }
}

pub(super) fn no_room(needed: u64, free: u64) -> RemoteError {
    RemoteError::NoRoom { needed: needed.div_ceil(1 << 20), free: free >> 20 }
}

struct StopOnDrop(Arc<Budget>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}
