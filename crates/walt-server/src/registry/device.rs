//! One device of the platform, as the server thinks of it.

use std::net::Ipv4Addr;

use walt_model::settings::{BootDelay, Disk, Subject, disks, ram_mib};
use walt_model::{DeviceFacts, DeviceName, DeviceType, ImageFullName, Mac, NetSetup, NodeModel};
use walt_proto::api::node::Firmware;

use crate::state::{self, Settings};

/// A device.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Its MAC address: what identifies it.
    pub mac: Mac,
    /// Its name, unique.
    pub name: DeviceName,
    /// Its address on walt-net, for ever once given.
    pub ip: Option<Ipv4Addr>,
    /// What it is.
    pub kind: DeviceType,
    /// Whether it is a virtual node of this server.
    pub is_virtual: bool,
    /// When it was first seen, microseconds since the Unix epoch.
    pub created_us: i64,
    /// Its stored settings.
    pub settings: Settings,
    /// What makes it a node, when it is one.
    pub node: Option<Node>,
}

/// What makes a device a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its model.
    pub model: NodeModel,
    /// The image it boots.
    pub image: ImageFullName,
    /// Firmware of its virtual machine.
    pub firmware: Firmware,
}

/// The virtual machine of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Firmware it starts with.
    pub firmware: Firmware,
    /// Memory, in mebibytes.
    pub ram_mib: u32,
    /// CPU cores.
    pub cpu_cores: u32,
    /// Its disks.
    pub disks: Vec<Disk>,
    /// Pause before each of its starts.
    pub boot_delay: BootDelay,
}

/// Memory of a virtual node without setting `ram`, in mebibytes.
const DEFAULT_RAM_MIB: u32 = 512;
/// CPU cores of a virtual node without setting `cpu.cores`, on a machine that has as many.
const DEFAULT_CPU_CORES: u32 = 4;
/// Setting `boot.timeout` when absent, in seconds.
const DEFAULT_BOOT_TIMEOUT: u64 = 180;
/// Setting `boot.retries` when absent.
const DEFAULT_BOOT_RETRIES: u64 = 9;

impl Device {
    /// A device just seen, without settings.
    pub fn new(mac: Mac, name: DeviceName, ip: Option<Ipv4Addr>, kind: DeviceType) -> Self {
        Self {
            mac,
            name,
            ip,
            kind,
            is_virtual: false,
            created_us: walt_logs::Timestamp::now().0,
            settings: Settings::new(),
            node: None,
        }
    }

    /// Its virtual machine, when it has one.
    pub fn machine(&self) -> Option<Machine> {
        let node = self.node.as_ref().filter(|_| self.is_virtual)?;
        let text = |name: &str| self.settings.get(name).and_then(serde_json::Value::as_str);
        let cores = self.settings.get("cpu.cores").and_then(serde_json::Value::as_u64);
        let delay = text("boot.delay").and_then(|text| text.parse().ok());
        Some(Machine {
            firmware: node.firmware,
            ram_mib: text("ram").and_then(ram_mib).unwrap_or(DEFAULT_RAM_MIB),
            cpu_cores: cores.and_then(|n| u32::try_from(n).ok()).unwrap_or_else(default_cores),
            disks: text("disks").and_then(|text| disks(text).ok()).unwrap_or_default(),
            boot_delay: delay.unwrap_or(BootDelay::Seconds(0)),
        })
    }

    /// Whether it may go out of walt-net.
    pub fn netsetup(&self) -> NetSetup {
        match self.settings.get("netsetup") {
            Some(serde_json::Value::String(word)) => word.parse().unwrap_or_default(),
            Some(serde_json::Value::Number(n)) if n.as_u64() == Some(1) => NetSetup::Nat,
            _ => NetSetup::default(),
        }
    }

    /// Whether `/persist` is offered (setting `mount.persist`, true by default).
    pub fn mounts_persist(&self) -> bool {
        self.settings.get("mount.persist").and_then(serde_json::Value::as_bool).unwrap_or(true)
    }

    /// After how many seconds without bootup it is hard-rebooted (setting `boot.timeout`; null: never).
    pub fn boot_timeout(&self) -> Option<u64> {
        match self.settings.get("boot.timeout") {
            None => Some(DEFAULT_BOOT_TIMEOUT),
            Some(value) => value.as_u64(),
        }
    }

    /// How many times in a row that is done (setting `boot.retries`).
    pub fn boot_retries(&self) -> u64 {
        let value = self.settings.get("boot.retries").and_then(serde_json::Value::as_u64);
        value.unwrap_or(DEFAULT_BOOT_RETRIES)
    }

    /// What decides which settings it has.
    pub fn subject(&self, subnet: &walt_model::Subnet) -> Subject {
        Subject {
            name: self.name.clone(),
            device_type: self.kind,
            is_virtual: self.is_virtual,
            in_walt_net: self.ip.is_some_and(|ip| subnet.contains(ip)),
        }
    }

    /// What device sets need to know of it.
    pub fn facts(&self) -> DeviceFacts {
        DeviceFacts {
            name: self.name.clone(),
            device_type: self.kind,
            owner: self.node.as_ref().map(|node| node.image.owner().clone()),
            explorable: false,
        }
    }

    /// From the rows of the state.
    pub fn from_state(device: state::Device, node: Option<state::Node>) -> Self {
        Self {
            mac: device.mac,
            name: device.name,
            ip: device.ip,
            kind: device.device_type,
            is_virtual: device.is_virtual,
            created_us: device.created,
            settings: device.settings,
            node: node.map(|node| Node {
                model: node.model,
                image: node.image,
                firmware: match node.firmware {
                    state::Firmware::Bios => Firmware::Bios,
                    state::Firmware::Uefi => Firmware::Uefi,
                },
            }),
        }
    }

    /// As rows of the state.
    pub fn to_state(&self, booted: bool) -> (state::Device, Option<state::Node>) {
        let device = state::Device {
            mac: self.mac,
            ip: self.ip,
            name: self.name.clone(),
            device_type: self.kind,
            is_virtual: self.is_virtual,
            created: self.created_us,
            settings: self.settings.clone(),
        };
        let node = self.node.as_ref().map(|node| state::Node {
            mac: self.mac,
            model: node.model.clone(),
            image: node.image.clone(),
            firmware: match node.firmware {
                Firmware::Bios => state::Firmware::Bios,
                Firmware::Uefi => state::Firmware::Uefi,
            },
            booted,
        });
        (device, node)
    }
}

/// Four cores, or as many as this machine has: more virtual than real ones only slow a guest down.
pub fn default_cores() -> u32 {
    let real = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    DEFAULT_CPU_CORES.min(real)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_are_read_with_their_defaults() {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let mut device = Device::new(mac, "n1".parse().unwrap(), None, DeviceType::Node);
        assert_eq!(device.netsetup(), NetSetup::Lan);
        assert_eq!(device.boot_timeout(), Some(180));
        assert!(device.machine().is_none());
        device.is_virtual = true;
        device.node = Some(Node {
            model: "pc-x86-64".parse().unwrap(),
            image: "me/img".parse().unwrap(),
            firmware: Firmware::Uefi,
        });
        device.settings.insert("ram".into(), json!("1G"));
        device.settings.insert("cpu.cores".into(), json!(3));
        device.settings.insert("netsetup".into(), json!("NAT"));
        device.settings.insert("boot.timeout".into(), json!(null));
        let machine = device.machine().unwrap();
        assert_eq!((machine.ram_mib, machine.cpu_cores), (1024, 3));
        assert_eq!(device.netsetup(), NetSetup::Nat);
        assert_eq!(device.boot_timeout(), None);
        let (row, node) = device.to_state(false);
        assert_eq!(Device::from_state(row, node), device);
    }
}
