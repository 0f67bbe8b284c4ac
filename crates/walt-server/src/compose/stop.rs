//! Stopping, in order: answers first, then nodes if asked, then what is on disk, then networks.

use std::sync::Arc;
use std::time::Duration;

use super::Places;
use crate::net::{self, Stop};
use crate::platform::Platform;
use crate::swap::keeper;
use crate::workflow::upkeep::flush_boots;

/// Limit on the end of all tasks.
const TASKS: Duration = Duration::from_secs(10);
/// Limit on each step after that.
const STEP: Duration = Duration::from_secs(30);

/// Stops the platform. Virtual nodes go on running, with the roots they read and their network, unless
/// `stop_nodes` is set: then nothing is left.
pub(super) async fn stop(
    platform: Arc<Platform>,
    places: &Places,
    stop_nodes: bool,
) -> anyhow::Result<()> {
    let left = platform.tasks.stop(TASKS).await;
    if left > 0 {
        tracing::warn!(left, "tasks did not end in time");
    }
    let _ = std::fs::remove_file(places.socket());
    if stop_nodes {
        stop_machines(&platform).await;
    }
    keeper::retire(&places.run, stop_nodes).await;
    flush_boots(&platform);
    limited("state", platform.state.flush()).await;
    limited("logs", platform.logs.close()).await;
    let nodes_run = !stop_nodes && platform.registry.devices().iter().any(|d| d.is_virtual);
    if !nodes_run {
        let released = tokio::time::timeout(STEP, platform.images.release_all()).await;
        if released.is_err() {
            tracing::error!("image roots could not be released in time");
        }
    }
    drop(platform);
    let how = if nodes_run { Stop::KeepIfBusy } else { Stop::Everything };
    undo_networks(places, how).await;
    tracing::info!("stopped");
    Ok(())
}

async fn stop_machines(platform: &Platform) {
    for device in platform.registry.devices().into_iter().filter(|device| device.is_virtual) {
        if let Some(root) = platform.images.forget_reader(device.mac) {
            platform.state.release_root(device.mac, root.to_string()).detach();
        }
        if platform.presence.went_down(device.mac) {
            platform.state.set_booted(device.mac, false).detach();
            platform.boots.observe(device.mac, |boot| boot.down(crate::platform::now_ms()));
        }
    }
    match tokio::time::timeout(STEP, platform.machines.stop_all()).await {
        Ok(errors) => {
            for error in errors {
                tracing::error!("a virtual node did not stop: {error}");
            }
        }
        Err(_) => tracing::error!("virtual nodes did not stop in time"),
    }
}

async fn undo_networks(places: &Places, how: Stop) {
    if let Err(error) = net::down(&places.state, how).await {
        tracing::error!("networks: {error}");
    }
}

async fn limited<E: std::fmt::Display>(
    what: &'static str,
    step: impl Future<Output = Result<(), E>>,
) {
    match tokio::time::timeout(STEP, step).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!("{what}: {error}"),
        Err(_) => tracing::error!("{what}: not written in time"),
    }
}
