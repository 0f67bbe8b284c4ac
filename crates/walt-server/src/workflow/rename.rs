//! Renaming a device: at once in DHCP, DNS, boot paths and logs, since all of them ask the registry.

use walt_model::DeviceName;

use super::WorkflowError;
use crate::platform::Platform;
use crate::registry::Device;

/// Gives a device another name.
pub async fn rename(
    platform: &Platform,
    device: &Device,
    name: DeviceName,
) -> Result<Device, WorkflowError> {
    let _changing = platform.changing.lock().await;
    // Another rename may have come first.
    let old = platform.registry.by_mac(device.mac).map_or(device.name.clone(), |now| now.name);
    let renamed = platform.registry.change(device.mac, |device| device.name = name.clone())?;
    if let Err(error) = platform.state.rename_device(device.mac, name).await {
        // The registry must say what the state says.
        platform.registry.change(device.mac, |device| device.name = old)?;
        return Err(error.into());
    }
    drop(platform.logs.name_issuer(renamed.mac, &renamed.name));
    platform.machines.reconfigure(&renamed);
    Ok(renamed)
}
