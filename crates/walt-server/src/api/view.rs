//! What the platform knows, in the words of the API.

use std::time::Duration;

use walt_model::{DeviceType, UserName};
use walt_proto::api::device::{Device as ApiDevice, DeviceKind};
use walt_proto::api::node::{Node as ApiNode, NodeClock, NodeKind, VirtualMachine};
use walt_virtual::Accel;

use super::gate::ownership;
use crate::boot::report;
use crate::platform::{Platform, now_ms};
use crate::registry::Device;

/// Longest time a virtual machine is asked how it is.
const ASK: Duration = Duration::from_millis(500);

/// Nodes as `user` sees them. Devices that are no nodes are left out.
pub async fn nodes(platform: &Platform, user: &UserName, devices: &[Device]) -> Vec<ApiNode> {
    let views = devices.iter().map(|device| node(platform, user, device));
    futures_util::future::join_all(views).await.into_iter().flatten().collect()
}

/// A node as `user` sees it.
pub async fn node(platform: &Platform, user: &UserName, device: &Device) -> Option<ApiNode> {
    let node = device.node.as_ref()?;
    let boots = platform.boots.of(device.mac);
    let boot = report::summary(&boots, &platform.facts(device), now_ms());
    Some(ApiNode {
        name: device.name.to_string(),
        mac: device.mac.to_string(),
        ip: device.ip.map(|ip| ip.to_string()),
        kind: kind(device),
        model: node.model.to_string(),
        image: node.image.to_string(),
        owner: node.image.owner().to_string(),
        ownership: ownership(device, user),
        netsetup: device.netsetup(),
        booted: platform.presence.is_booted(device.mac),
        powersave: false,
        boot,
        clock: platform.logs.clock(device.mac).map(|clock| NodeClock {
            measured_us: clock.measured.0,
            offset_us: clock.offset,
            uncertainty_us: clock.uncertainty,
        }),
        virtual_machine: machine(platform, device).await,
    })
}

async fn machine(platform: &Platform, device: &Device) -> Option<VirtualMachine> {
    let wanted = device.machine()?;
    let status = match platform.machines.of(device.mac) {
        Some(machine) => {
            tokio::time::timeout(ASK, machine.status()).await.ok().and_then(Result::ok)
        }
        None => None,
    };
    Some(VirtualMachine {
        firmware: wanted.firmware,
        ram_mib: wanted.ram_mib,
        cpu_cores: wanted.cpu_cores,
        accel: status.as_ref().and_then(|status| status.accel).map(|accel| {
            match accel {
                Accel::Kvm => "kvm",
                Accel::Tcg => "tcg",
            }
            .to_owned()
        }),
        running: status.is_some_and(|status| status.pid.is_some()),
    })
}

fn kind(device: &Device) -> NodeKind {
    if device.is_virtual { NodeKind::Virtual } else { NodeKind::Physical }
}

/// A device.
pub fn device(platform: &Platform, device: &Device) -> ApiDevice {
    let subnet = platform.registry.subnet();
    let inside = device.ip.is_some_and(|ip| subnet.contains(ip));
    let is_node = device.node.is_some();
    ApiDevice {
        name: device.name.to_string(),
        ip: device.ip.map(|ip| ip.to_string()),
        mac: Some(device.mac.to_string()),
        kind: match device.kind {
            DeviceType::Server => DeviceKind::Server,
            DeviceType::Switch => DeviceKind::Switch,
            DeviceType::Node => DeviceKind::Node,
            DeviceType::Unknown => DeviceKind::Unknown,
        },
        node_type: is_node.then(|| kind(device)),
        model: device.node.as_ref().map(|node| node.model.to_string()),
        netsetup: (inside && device.kind != DeviceType::Server).then(|| device.netsetup()),
    }
}
