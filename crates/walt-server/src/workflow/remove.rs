//! Removing a virtual node: nothing of it is left.

use std::sync::Arc;

use super::{WorkflowError, within};
use crate::platform::Platform;
use crate::registry::Device;

/// Limit on the end of a virtual machine, in seconds.
const STOP: u64 = 30;

/// Removes a virtual node with its machine, logs, persistent files and boots.
pub async fn remove(platform: &Arc<Platform>, device: &Device) -> Result<(), WorkflowError> {
    if !device.is_virtual {
        return Err(WorkflowError::NotVirtual(device.name.clone()));
    }
    // Its end is wanted: nobody needs to be told that it is down.
    platform.presence.forget(device.mac);
    within("Stopping the virtual machine", STOP, platform.machines.remove(device.mac))
        .await?
        .map_err(|source| WorkflowError::Machine { node: device.name.clone(), source })?;
    forget(platform, device).await;
    Ok(())
}

/// Takes a device out of every table. What fails is told and the rest goes on.
pub async fn forget(platform: &Arc<Platform>, device: &Device) {
    let mac = device.mac;
    if let Err(error) = platform.machines.remove(mac).await {
        tracing::warn!(node = %device.name, "its virtual machine: {error}");
    }
    platform.registry.remove(mac);
    platform.presence.forget(mac);
    platform.boots.forget(mac);
    platform.images.forget_reader(mac);
    if let Err(error) = platform.state.remove_device(mac).await {
        tracing::warn!(node = %device.name, "{error}");
    }
    if let Err(error) = platform.logs.remove_issuer(mac).await {
        tracing::warn!(node = %device.name, "{error}");
    }
    let platform = platform.clone();
    let removed = tokio::task::spawn_blocking(move || platform.persist.remove(mac)).await;
    if let Ok(Err(error)) = removed {
        tracing::warn!(node = %device.name, "its persistent files: {error}");
    }
}
