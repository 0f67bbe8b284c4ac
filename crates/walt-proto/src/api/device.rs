//! Devices: everything of the platform network, nodes and server included.

use super::node::{NetSetup, NodeKind};
use serde::{Deserialize, Serialize};

/// A device. [`route::DEVICES`](super::route::DEVICES) answers an array sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Device name.
    pub name: String,
    /// Address.
    #[serde(default)]
    pub ip: Option<String>,
    /// MAC address, lower case, with colons.
    #[serde(default)]
    pub mac: Option<String>,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: DeviceKind,
    /// Kind of machine, for nodes.
    #[serde(default)]
    pub node_type: Option<NodeKind>,
    /// Model, for nodes.
    #[serde(default)]
    pub model: Option<String>,
    /// Network mode; absent for the server and outside walt-net.
    #[serde(default)]
    pub netsetup: Option<NetSetup>,
}

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// The WalT server.
    Server,
    /// A network switch.
    Switch,
    /// A node.
    Node,
    /// Not determined yet.
    Unknown,
    /// A kind added after this client was made.
    #[serde(other)]
    Other,
}
