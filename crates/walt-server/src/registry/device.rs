//! One device of the platform, as the server thinks of it.

use std::net::Ipv4Addr;

use walt_model::{DeviceFacts, DeviceName, DeviceType, ImageFullName, Mac, NetSetup, NodeModel};
use walt_proto::api::node::Firmware;

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its MAC address: what identifies it.
    pub mac: Mac,
    /// Its name, unique.
    pub name: DeviceName,
    /// Its address on walt-net, for ever once given.
    pub ip: Option<Ipv4Addr>,
    /// What it is.
    pub kind: DeviceType,
    /// Whether it may go out of walt-net.
    pub netsetup: NetSetup,
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
    /// Its virtual machine, when it is one of ours.
    pub machine: Option<Machine>,
}

/// The virtual machine of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Firmware it starts with.
    pub firmware: Firmware,
    /// Memory, in mebibytes.
    pub ram_mib: u32,
    /// CPU cores.
    pub cpu_cores: u32,
}

impl Default for Machine {
    /// The defaults of the settings `ram` and `cpu.cores`, within what one machine of ours can give.
    fn default() -> Self {
        Self { firmware: Firmware::Bios, ram_mib: 512, cpu_cores: 4 }
    }
}

impl Device {
    /// The node part and the address of a node that has one.
    pub fn as_node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// Its virtual machine, when it has one.
    pub fn machine(&self) -> Option<&Machine> {
        self.node.as_ref()?.machine.as_ref()
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
}
