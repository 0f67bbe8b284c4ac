//! Lines the server itself writes to its log streams; scripts and people look for some of them.

use crate::{DeviceName, DeviceType, DownCause, ImageFullName, Mac, NodeModel};
use std::net::Ipv4Addr;

/// Stream of node state changes.
pub const NODES_STREAM: &str = "platform.nodes";
/// Stream of what the platform does with images on its own.
pub const IMAGES_STREAM: &str = "platform.images";
/// Stream of device discovery.
pub const DEVICES_STREAM: &str = "platform.devices";
/// Stream of failures of automatic power saving.
pub const POWERSAVE_STREAM: &str = "platform.powersave.error";
/// Stream of failures of permanent port redirects.
pub const EXPOSE_STREAM: &str = "platform.expose";
/// Stream of what the server says.
pub const STDOUT_STREAM: &str = "daemon.stdout";
/// Stream of the warnings and errors of the server.
pub const STDERR_STREAM: &str = "daemon.stderr";
/// Stream of kernel messages that nodes send over UDP.
pub const NETCONSOLE_STREAM: &str = "netconsole";
/// Stream of the serial console of virtual nodes.
pub const VIRTUALCONSOLE_STREAM: &str = "virtualconsole";

/// `node <name> is booted`.
pub fn node_booted(name: &DeviceName) -> String {
    format!("node {name} is booted")
}

/// `node <name> is down (cause: <cause>, method: <method>)`.
pub fn node_down(name: &DeviceName, cause: DownCause, method: Option<&str>) -> String {
    match method {
        Some(method) => format!("node {name} is down (cause: {cause}, method: {method})"),
        None => format!("node {name} is down (cause: {cause})"),
    }
}

/// The line for a node whose connection was lost.
pub fn node_lost(name: &DeviceName) -> String {
    format!(
        "node {name} is down (cause: {}, note: server-detected disconnection)",
        DownCause::Unknown
    )
}

/// The line of the boot watchdog; `retries_left` after this try.
pub fn boot_timeout(name: &DeviceName, retries_left: u32) -> String {
    let left = match retries_left {
        0 => "last try".to_owned(),
        1 => "1 retry left".to_owned(),
        n => format!("{n} retries left"),
    };
    format!("{name}: boot timeout reached, trying hard-reboot ({left}).")
}

/// What is known of a device that has just appeared or been identified.
#[derive(Debug, Clone, Copy)]
pub struct NewDevice<'a> {
    /// Its name.
    pub name: &'a DeviceName,
    /// Its type.
    pub device_type: DeviceType,
    /// Its model, for nodes.
    pub model: Option<&'a NodeModel>,
    /// Its MAC.
    pub mac: Mac,
    /// Its address, if it has one.
    pub ip: Option<Ipv4Addr>,
    /// Was it known as `unknown` before?
    pub previously_unknown: bool,
}

/// `new node name=<n> model=<m> mac=<mac> ip=<ip>` and its variants.
pub fn new_device(device: NewDevice<'_>) -> String {
    let kind = match device.device_type {
        DeviceType::Node => "node",
        DeviceType::Switch => "switch",
        DeviceType::Server | DeviceType::Unknown => "device",
    };
    let note = if device.previously_unknown { " (device type previously unknown)" } else { "" };
    let detail = match (device.device_type, device.model) {
        (DeviceType::Node, Some(model)) => format!(" model={model}"),
        (DeviceType::Server | DeviceType::Unknown, _) => format!(" type={}", device.device_type),
        _ => String::new(),
    };
    let ip = device.ip.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
    format!("new {kind}{note} name={}{detail} mac={} ip={ip}", device.name, device.mac)
}

/// `renamed <old> to <new> for clarity`.
pub fn renamed(old: &DeviceName, new: &DeviceName) -> String {
    format!("renamed {old} to {new} for clarity")
}

/// The line that announces the download of a default image.
pub fn downloading_default_image(
    name: &DeviceName,
    model: &NodeModel,
    image: &ImageFullName,
) -> String {
    format!("device {name} is a node of type {model}. Downloading the default image {image}.")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let name: DeviceName = "n1".parse().unwrap();
        assert_eq!(node_booted(&name), "node n1 is booted");
        assert_eq!(
            node_down(&name, DownCause::RebootRequested, Some("soft-reboot")),
            "node n1 is down (cause: reboot requested, method: soft-reboot)"
        );
        assert_eq!(
            node_lost(&name),
            "node n1 is down (cause: unknown, note: server-detected disconnection)"
        );
        assert_eq!(
            boot_timeout(&name, 8),
            "n1: boot timeout reached, trying hard-reboot (8 retries left)."
        );
        assert_eq!(
            boot_timeout(&name, 0),
            "n1: boot timeout reached, trying hard-reboot (last try)."
        );
        let model = "pc-x86-64".parse().unwrap();
        let node = NewDevice {
            name: &name,
            device_type: DeviceType::Node,
            model: Some(&model),
            mac: Mac([0x52, 0x54, 0, 1, 2, 3]),
            ip: Some(Ipv4Addr::new(10, 0, 0, 2)),
            previously_unknown: true,
        };
        assert_eq!(
            new_device(node),
            "new node (device type previously unknown) name=n1 model=pc-x86-64 mac=52:54:00:01:02:03 ip=10.0.0.2"
        );
        let plain = NewDevice {
            device_type: DeviceType::Unknown,
            model: None,
            previously_unknown: false,
            ..node
        };
        assert_eq!(
            new_device(plain),
            "new device name=n1 type=unknown mac=52:54:00:01:02:03 ip=10.0.0.2"
        );
    }
}
