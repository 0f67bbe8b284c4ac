//! What the platform does regularly for itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use walt_model::Mac;

use super::boot_image::ensure_later;
use crate::boot::book::Entry;
use crate::boot::{BootBook, End};
use crate::platform::Platform;
use crate::state::{Boot as BootRow, State, StateError};

/// How often boots are written to the state.
const WRITE: Duration = Duration::from_millis(500);
/// How often old roots and lost nodes are looked for.
const SWEEP: Duration = Duration::from_secs(5);
/// How often the image store is looked at.
const STORE: Duration = Duration::from_secs(2);

/// Writes what changed in the boots to the state, until cancelled and once more then.
pub async fn write_boots(platform: Arc<Platform>, cancel: CancellationToken) {
    loop {
        let stop = tokio::select! {
            () = cancel.cancelled() => true,
            () = tokio::time::sleep(WRITE) => false,
        };
        flush_boots(&platform);
        if stop {
            return;
        }
    }
}

/// Queues the boots that changed.
pub fn flush_boots(platform: &Platform) {
    for (mac, entry) in platform.boots.take_changed() {
        // A node removed meanwhile has no boots to keep.
        if platform.registry.by_mac(mac).is_some() {
            platform.state.put_boot(row(mac, &entry)).detach();
        }
    }
}

fn row(mac: Mac, entry: &Entry) -> BootRow {
    let outcome = match entry.boot.end {
        Some(End::Up(_)) => Some("booted".to_owned()),
        Some(End::Down(_)) => Some("down".to_owned()),
        None => None,
    };
    BootRow {
        id: format!("{mac}/{:010}", entry.id),
        mac,
        started: i64::try_from(entry.boot.start_ms.saturating_mul(1000)).unwrap_or(i64::MAX),
        stages: serde_json::to_value(&entry.boot).unwrap_or_default(),
        outcome,
    }
}

/// The boots of the state.
pub async fn read_boots(state: &State, nodes: &[Mac]) -> Result<BootBook, StateError> {
    let mut entries = Vec::new();
    for mac in nodes {
        let mut rows = state.boots(*mac).await?;
        rows.reverse();
        for row in rows {
            let id = row.id.rsplit('/').next().and_then(|id| id.parse().ok());
            match (id, serde_json::from_value(row.stages)) {
                (Some(id), Ok(boot)) => entries.push((*mac, Entry { id, boot })),
                _ => tracing::debug!(boot = row.id, "a boot of the state is not readable"),
            }
        }
    }
    Ok(BootBook::new(entries))
}

/// The boots of a node that are known, oldest first: those of the state, as they are now.
pub async fn boots_of(platform: &Platform, mac: Mac) -> Result<Vec<BootRow>, StateError> {
    let kept = platform.state.boots(mac).await?.into_iter();
    let current = platform.boots.of(mac);
    let rows = kept.chain(current.iter().map(|entry| row(mac, entry)));
    let by_number: BTreeMap<String, BootRow> = rows.map(|row| (row.id.clone(), row)).collect();
    Ok(by_number.into_values().collect())
}

/// Releases old roots and gives up on nodes that did not come back after a restart, until cancelled.
pub async fn sweep(platform: Arc<Platform>, cancel: CancellationToken) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
        for mac in platform.presence.expire(Instant::now()) {
            if let Some(device) = platform.registry.by_mac(mac) {
                platform.node_gone(&device);
            }
        }
        platform.images.sweep(&platform.registry.images_in_use(), Instant::now()).await;
    }
}

/// Follows the image store, until cancelled: an image that changed under its name, or has just come, is
/// made ready for the nodes that boot it.
pub async fn watch_store(platform: Arc<Platform>, cancel: CancellationToken) {
    let catalogue = platform.images.catalogue().clone();
    let changed = |_: &walt_images::catalogue::Snapshot| {
        for image in platform.registry.images_in_use() {
            if catalogue.get(&image).is_some() {
                ensure_later(&platform, image);
            }
        }
    };
    catalogue.watch(STORE, cancel, changed).await;
}
