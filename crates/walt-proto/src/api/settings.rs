//! Settings of devices: what they are and how they are changed. Names and values are those of
//! `walt_model::settings`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Query of [`route::SETTINGS`](super::route::SETTINGS) (GET).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsQuery {
    /// A device set expression.
    pub set: String,
    /// A device that is no node is an error.
    #[serde(default)]
    pub nodes_only: bool,
}

/// The settings of a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceSettings {
    /// Its name.
    pub device: String,
    /// What it is, in words (`virtual node`).
    pub category: String,
    /// All settings it has, defaults included, as they would be typed.
    pub settings: BTreeMap<String, String>,
    /// Those that were set, with their real types (what nodes are told).
    #[serde(default)]
    pub set: BTreeMap<String, Value>,
}

/// Changes settings of devices, all or none. Answer: [`SettingsChanged`]. Errors: unknown names, a setting that does
/// not exist, is not for these devices or has no such value (`invalid`), ownership.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChangeSettings {
    /// A device set expression.
    pub set: String,
    /// A device that is no node is an error.
    #[serde(default)]
    pub nodes_only: bool,
    /// The new values: texts as typed (`"1G"`), or JSON values (`2`, `true`, `null` for `none`).
    pub settings: BTreeMap<String, Value>,
    /// The user accepted to disturb nodes of others.
    #[serde(default)]
    pub confirmed: bool,
}

/// What was changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsChanged {
    /// Names of the devices, sorted.
    pub devices: Vec<String>,
    /// Whether all of them are nodes.
    pub all_nodes: bool,
    /// Whether a reboot is needed to see the new settings in effect.
    pub needs_reboot: bool,
    /// The values that are not what they were.
    pub changes: Vec<SettingChange>,
}

/// A value that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingChange {
    /// The device.
    pub device: String,
    /// The setting.
    pub setting: String,
    /// Its value before, as it would be typed (the default if it was not set).
    #[serde(default)]
    pub old: Option<String>,
    /// Its value now.
    pub new: String,
}
