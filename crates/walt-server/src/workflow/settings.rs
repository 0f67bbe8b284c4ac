//! Settings of devices: what they are, and their change.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use walt_model::settings::{self, Disk, Setting, Subject};

use super::WorkflowError;
use crate::platform::Platform;
use crate::registry::Device;
use crate::registry::device::default_cores;

/// Settings that were checked: all of them make sense for all these devices.
#[derive(Clone, Debug)]
pub struct Plan {
    devices: Vec<Device>,
    values: BTreeMap<&'static str, Value>,
}

/// A setting of a device that is not what it was.
#[derive(Clone, Debug)]
pub struct Change {
    /// The device.
    pub device: Device,
    /// The setting.
    pub setting: &'static Setting,
    /// As it would be typed: what it was.
    pub old: Option<String>,
    /// What it is.
    pub new: String,
}

/// The value of a setting of a device, default included, as it would be typed. `None`: unspecified.
pub fn value_of(device: &Device, setting: &'static Setting) -> Option<String> {
    match device.settings.get(setting.name) {
        Some(value) => Some(setting.show(value)),
        None if setting.name == "cpu.cores" => Some(default_cores().to_string()),
        None => setting.default.map(str::to_owned),
    }
}

/// Checks settings for devices, without changing anything.
pub fn check(
    platform: &Platform,
    devices: Vec<Device>,
    wanted: &BTreeMap<String, String>,
) -> Result<Plan, WorkflowError> {
    let subnet = platform.registry.subnet();
    let subjects: Vec<Subject> = devices.iter().map(|device| device.subject(subnet)).collect();
    let values = settings::check(wanted, &subjects)?;
    if let Some(text) = values.get("disks").and_then(Value::as_str) {
        // Checked above: its text is good.
        let disks = settings::disks(text).unwrap_or_default();
        room(platform, &devices, &disks)?;
    }
    Ok(Plan { devices, values })
}

/// Whether the disks of these devices may all be filled.
fn room(platform: &Platform, devices: &[Device], disks: &[Disk]) -> Result<(), WorkflowError> {
    let wanted: Vec<_> = devices.iter().map(|device| (Some(device.mac), disks)).collect();
    Ok(platform.machines.room_for(&wanted)?)
}

/// Changes settings: all devices or none. They are in effect at once, or at the next boot.
pub async fn change(platform: &Arc<Platform>, plan: Plan) -> Result<Vec<Change>, WorkflowError> {
    let _changing = platform.changing.lock().await;
    let mut before = Vec::new();
    for device in &plan.devices {
        let merge = |device: &mut Device| {
            let values =
                plan.values.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
            device.settings.extend(values);
        };
        // Others may have changed it since the plan was made.
        let old = platform.registry.by_mac(device.mac);
        match (old, platform.registry.change(device.mac, merge)) {
            (Some(old), Ok(_)) => before.push(old),
            (_, changed) => {
                put_back(platform, &plan, &before);
                changed?;
            }
        }
    }
    let macs = before.iter().map(|device| device.mac).collect();
    let values = plan.values.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    if let Err(error) = platform.state.merge_settings(macs, values.collect()).await {
        // The registry must say what the state says.
        put_back(platform, &plan, &before);
        return Err(error.into());
    }
    let mut changes = Vec::new();
    for old in before {
        let Some(device) = platform.registry.by_mac(old.mac) else { continue };
        if device.is_virtual {
            platform.machines.reconfigure(&device);
        }
        for setting in plan.values.keys().filter_map(|name| settings::setting(name)) {
            let (old, new) = (value_of(&old, setting), value_of(&device, setting));
            if let Some(new) = new
                && old.as_ref() != Some(&new)
            {
                changes.push(Change { device: device.clone(), setting, old, new });
            }
        }
    }
    Ok(changes)
}

/// Gives devices the settings they had.
fn put_back(platform: &Platform, plan: &Plan, before: &[Device]) {
    for old in before {
        let restored = platform.registry.change(old.mac, |device| {
            for name in plan.values.keys() {
                match old.settings.get(*name) {
                    Some(value) => device.settings.insert((*name).to_owned(), value.clone()),
                    None => device.settings.remove(*name),
                };
            }
        });
        if let Err(error) = restored {
            tracing::debug!(device = %old.name, "removed while its settings were changed: {error}");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use walt_model::{DeviceType, Mac};

    #[test]
    fn values_are_shown_with_their_defaults() {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let mut device = Device::new(mac, "n1".parse().unwrap(), None, DeviceType::Node);
        let shown = |device: &Device, name| value_of(device, settings::setting(name).unwrap());
        assert_eq!(shown(&device, "boot.timeout").unwrap(), "180");
        assert_eq!(shown(&device, "netsetup").unwrap(), "LAN");
        assert_eq!(shown(&device, "snmp.version"), None);
        device.settings.insert("boot.timeout".into(), Value::Null);
        device.settings.insert("cpu.cores".into(), 3.into());
        assert_eq!(shown(&device, "boot.timeout").unwrap(), "none");
        assert_eq!(shown(&device, "cpu.cores").unwrap(), "3");
    }
}
