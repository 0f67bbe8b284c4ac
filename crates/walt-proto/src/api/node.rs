//! Nodes: what is known about them and what can be asked.

use super::error::GateMode;
use serde::{Deserialize, Serialize};

/// A node, with everything `walt node show` needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Device name.
    pub name: String,
    /// MAC address, lower case, with colons.
    pub mac: String,
    /// Address on walt-net.
    #[serde(default)]
    pub ip: Option<String>,
    /// What kind of machine it is.
    #[serde(rename = "type")]
    pub kind: NodeKind,
    /// Model (`pc-x86-64`).
    pub model: String,
    /// Image it boots, complete: `<owner>/<name>:<tag>`.
    pub image: String,
    /// Owner of that image, hence of the node (`waltplatform` when free).
    pub owner: String,
    /// The same, seen from the caller.
    pub ownership: Ownership,
    /// Network mode.
    pub netsetup: NetSetup,
    /// Whether it notified its bootup and is still connected.
    pub booted: bool,
    /// Whether it is switched off to save power.
    #[serde(default)]
    pub powersave: bool,
    /// How far its current (or last) boot came.
    #[serde(default)]
    pub boot: Option<BootSummary>,
    /// How far its clock was from the server's when its log daemon last connected.
    #[serde(default)]
    pub clock: Option<NodeClock>,
    /// Facts of a virtual node.
    #[serde(default, rename = "virtual")]
    pub virtual_machine: Option<VirtualMachine>,
}

/// A measure of the clock of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeClock {
    /// When, in microseconds since 1970, by the server's clock.
    pub measured_us: i64,
    /// Server's clock minus the node's, in microseconds.
    pub offset_us: i64,
    /// The truth is within this of the offset, in microseconds.
    pub uncertainty_us: i64,
}

/// Kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// A machine plugged into the platform.
    Physical,
    /// A QEMU process of the server.
    Virtual,
    /// A distant machine behind the VPN.
    Vpn,
    /// A kind added after this client was made.
    #[serde(other)]
    Other,
}

/// Whose node it is, seen from the caller of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ownership {
    /// Boots an image of the caller.
    Own,
    /// Boots an image of `waltplatform`.
    Free,
    /// Boots an image of another user.
    Foreign,
}

pub use walt_model::NetSetup;

/// How far the current (or last) boot of a node came; the whole story is a [`BootReport`](super::boot::BootReport).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootSummary {
    /// State of that boot.
    pub state: super::boot::BootState,
    /// Stage it is in, or the last one reached.
    #[serde(default)]
    pub stage: Option<super::boot::Stage>,
    /// Since when it is in that state, milliseconds since the Unix epoch.
    pub since_ms: i64,
}

/// Facts of a virtual node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualMachine {
    /// Firmware it starts with.
    pub firmware: Firmware,
    /// Memory in mebibytes.
    pub ram_mib: u32,
    /// Number of CPU cores.
    pub cpu_cores: u32,
    /// `kvm` or `tcg`: how its CPU is provided.
    #[serde(default)]
    pub accel: Option<String>,
    /// Whether its QEMU process is alive.
    #[serde(default)]
    pub running: bool,
}

/// Firmware of a virtual node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// SeaBIOS with QEMU's iPXE ROM.
    #[default]
    Bios,
    /// OVMF.
    Uefi,
}

impl Firmware {
    /// The word used on the command line and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::Uefi => "uefi",
        }
    }
}

impl std::str::FromStr for Firmware {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "bios" => Ok(Self::Bios),
            "uefi" => Ok(Self::Uefi),
            _ => Err(format!("'{text}' is neither 'bios' nor 'uefi'")),
        }
    }
}

/// Query of [`route::NODES`](super::route::NODES) (GET).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodesQuery {
    /// A device set expression (`my-nodes`, `n1,n2`); absent: all nodes. An empty result is not an error here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
}

/// Asks for a set to be resolved and checked before a client starts several things on it (`run`, `cp`).
/// Answer: the nodes of the set, an array of [`Node`] sorted by name. Errors: unknown name, not a node, empty set,
/// ownership.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelectNodes {
    /// Device set expression.
    pub set: String,
    /// Rule to apply.
    #[serde(default)]
    pub gate: GateMode,
    /// The user accepted to disturb nodes of others.
    #[serde(default)]
    pub confirmed: bool,
}

/// Creates and starts a virtual node. Stream: [`Event::Label`](super::Event::Label),
/// [`Event::Cloned`](super::Event::Cloned), [`Event::NodeCreated`](super::Event::NodeCreated), done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateNode {
    /// Name of the new node.
    pub name: String,
    /// Firmware.
    #[serde(default)]
    pub firmware: Firmware,
    /// Image of the caller's working set; absent: the caller's clone of the default image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Memory, `<n>M` or `<n>G`; absent: the default of the setting `ram`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ram: Option<String>,
    /// CPU cores; absent: the default of the setting `cpu.cores`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores: Option<u32>,
    /// Disks, as in the setting `disks`; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disks: Option<String>,
}

/// Query of [`route::NODE`](super::route::NODE) (DELETE) and of other calls without body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// The user accepted to disturb nodes of others.
    #[serde(default)]
    pub confirmed: bool,
}

/// Renames a node. Answer: [`Empty`](super::Empty).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenameNode {
    /// The new name.
    pub new_name: String,
    /// The user accepted to disturb nodes of others.
    #[serde(default)]
    pub confirmed: bool,
}

/// Changes the image of nodes, then reboots all of them. Stream:
/// [`Event::WillBoot`](super::Event::WillBoot), [`Event::Ignored`](super::Event::Ignored),
/// [`Event::Rebooted`](super::Event::Rebooted), [`Event::RebootFailed`](super::Event::RebootFailed), done.
/// A node that could not be rebooted does not end the stream with an error: the client sees the event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootNodes {
    /// Device set expression.
    pub set: String,
    /// Image of the caller's working set, or `default`.
    pub image: String,
    /// The user accepted to disturb nodes of others.
    #[serde(default)]
    pub confirmed: bool,
}

/// Makes an image of the one a node booted and of what changed there. Refused with
/// [`ConfirmationNeeded`](super::ErrorKind::ConfirmationNeeded) when the node is somebody else's, then when the image
/// exists. Stream: progress in bytes, text, reboots of the nodes that boot the image, done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaveNode {
    /// Name of the image in the working set of the caller.
    pub image: String,
    /// The user accepted to use the node of somebody else.
    #[serde(default)]
    pub confirmed: bool,
    /// The user accepted that an image of this name is replaced, and its nodes are rebooted.
    #[serde(default)]
    pub overwrite: bool,
}

/// Reboots nodes. Stream: [`Event::Rebooted`](super::Event::Rebooted) and
/// [`Event::RebootFailed`](super::Event::RebootFailed), one event per group of nodes with the same result, done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebootNodes {
    /// Device set expression.
    pub set: String,
    /// No soft reboot: kill the virtual machine, power-cycle the port.
    #[serde(default)]
    pub hard: bool,
    /// The user accepted to disturb nodes of others.
    #[serde(default)]
    pub confirmed: bool,
}

/// `acquire` and `release`: as [`BootNodes`] without an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodesRequest {
    /// Device set expression.
    pub set: String,
    /// The user accepted to disturb nodes of others.
    #[serde(default)]
    pub confirmed: bool,
}

/// Waits until all nodes of a set are booted. Stream: [`Event::Waiting`](super::Event::Waiting) at the start and each
/// time the list shrinks, [`Event::Booted`](super::Event::Booted), then done, or an error of kind `timeout`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitNodes {
    /// Device set expression.
    pub set: String,
    /// Seconds after which to give up; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u64>,
}
