//! What becomes of a device that asked for an address.

use std::net::Ipv4Addr;

use walt_model::{DeviceName, DeviceType, Identity, ImageFullName, Mac, NodeModel, platform_lines};

use walt_proto::api::node::Firmware;

use super::{Device, Node, Registry};

/// A device seen by DHCP (or announced by a virtual component).
#[derive(Clone, Debug)]
pub struct Sighting<'a> {
    /// Vendor class, empty when absent.
    pub vendor_class: &'a str,
    /// User class, empty when absent.
    pub user_class: &'a str,
    /// Its MAC address.
    pub mac: Mac,
    /// The address it got.
    pub ip: Ipv4Addr,
    /// The name it gives itself, empty when absent.
    pub hostname: &'a str,
}

/// What was decided, to be written to the state and to the platform log.
#[derive(Clone, Debug, PartialEq)]
pub struct Discovery {
    /// The device as it is now.
    pub device: Device,
    /// Lines of stream `platform.devices`.
    pub lines: Vec<String>,
    /// It is a node of this model, but its default image is not there: it stays unknown until then.
    pub missing_image: Option<(NodeModel, ImageFullName)>,
}

/// Registers a sighting. `default_image` tells whether a full image name is in the store. Nothing
/// when nothing changed.
pub fn register(
    registry: &Registry,
    seen: &Sighting<'_>,
    has_image: impl Fn(&ImageFullName) -> bool,
) -> Option<Discovery> {
    let identity = Identity::of(seen.vendor_class, seen.user_class, seen.mac);
    let known = registry.by_mac(seen.mac);
    if let Some(device) = &known
        && device.kind != DeviceType::Unknown
    {
        return move_in(registry, device, seen.ip);
    }
    let wanted_image =
        identity.model.as_ref().map(|model| (model.clone(), ImageFullName::default_of(model)));
    let (kind, node, missing_image) = match (identity.device_type, wanted_image) {
        (DeviceType::Node, Some((model, image))) if has_image(&image) => {
            let node = Node { model, image, firmware: Firmware::Bios };
            (DeviceType::Node, Some(node), None)
        }
        (DeviceType::Node, missing) => (DeviceType::Unknown, None, missing),
        (kind, _) => (kind, None, None),
    };
    match known {
        None => {
            let name =
                candidate(registry, seen).unwrap_or_else(|| generated(registry, kind, seen.mac));
            let device = Device { node, ..Device::new(seen.mac, name, Some(seen.ip), kind) };
            let device = registry.put(device).ok()?;
            let lines = vec![announced(&device, false)];
            Some(Discovery { device, lines, missing_image })
        }
        Some(old) if kind == DeviceType::Unknown => {
            let moved = move_in(registry, &old, seen.ip);
            match (moved, missing_image) {
                (Some(discovery), missing_image) => Some(Discovery { missing_image, ..discovery }),
                (None, None) => None,
                (None, missing_image) => {
                    Some(Discovery { device: old, lines: Vec::new(), missing_image })
                }
            }
        }
        Some(old) => {
            let mut lines = Vec::new();
            let mut name = old.name.clone();
            if name.as_str().contains("unknown") {
                name = generated(registry, kind, seen.mac);
            }
            let device = registry
                .change(seen.mac, |device| {
                    device.kind = kind;
                    device.node = node;
                    device.name = name.clone();
                    device.ip = Some(device.ip.unwrap_or(seen.ip));
                })
                .ok()?;
            if name != old.name {
                lines.push(platform_lines::renamed(&old.name, &name));
            }
            lines.push(announced(&device, true));
            Some(Discovery { device, lines, missing_image: None })
        }
    }
}

/// The only two changes of the address of a known device: it had none, or had one outside of the
/// network and is now inside.
fn move_in(registry: &Registry, device: &Device, ip: Ipv4Addr) -> Option<Discovery> {
    let subnet = registry.subnet();
    let moves = match device.ip {
        None => true,
        Some(old) => !subnet.contains(old) && subnet.contains(ip),
    };
    if !moves {
        return None;
    }
    let device = registry.change(device.mac, |device| device.ip = Some(ip)).ok()?;
    Some(Discovery { device, lines: Vec::new(), missing_image: None })
}

/// The name the device gives itself, followed by the end of its MAC address, when valid and free.
fn candidate(registry: &Registry, seen: &Sighting<'_>) -> Option<DeviceName> {
    let own = seen.hostname.split('.').next().unwrap_or_default();
    if own.is_empty() {
        return None;
    }
    let suffix = seen.mac.suffix();
    let full = if own.to_lowercase().ends_with(&suffix) {
        own.to_lowercase()
    } else {
        format!("{}-{suffix}", own.to_lowercase())
    };
    let name = DeviceName::sanitized(&full)?;
    (!registry.name_taken(name.as_str())).then_some(name)
}

fn generated(registry: &Registry, kind: DeviceType, mac: Mac) -> DeviceName {
    DeviceName::generated(kind, mac, |name| registry.name_taken(name))
}

fn announced(device: &Device, previously_unknown: bool) -> String {
    platform_lines::new_device(platform_lines::NewDevice {
        name: &device.name,
        device_type: device.kind,
        model: device.node.as_ref().map(|node| &node.model),
        mac: device.mac,
        ip: device.ip,
        previously_unknown,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([0x52, 0x54, 0, 0xab, 0xcd, 1]);

    fn sighting<'a>(user_class: &'a str, hostname: &'a str) -> Sighting<'a> {
        Sighting {
            vendor_class: "PXEClient:Arch:00000:UNDI:002001",
            user_class,
            mac: MAC,
            ip: [10, 0, 0, 9].into(),
            hostname,
        }
    }

    fn registry() -> Registry {
        Registry::new("10.0.0.1/24".parse().unwrap(), [])
    }

    #[test]
    fn a_node_with_its_default_image_is_a_node_at_once() {
        let registry = registry();
        let found = register(&registry, &sighting("walt.node.pc-x86-64", ""), |_| true).unwrap();
        assert_eq!(found.device.kind, DeviceType::Node);
        assert_eq!(
            found.lines,
            ["new node name=node-abcd01 model=pc-x86-64 mac=52:54:00:ab:cd:01 ip=10.0.0.9"]
        );
        assert!(found.device.node.unwrap().image.is_platform());
        // Seen again: nothing to say.
        assert_eq!(register(&registry, &sighting("walt.node.pc-x86-64", ""), |_| true), None);
    }

    #[test]
    fn without_its_image_it_stays_unknown_and_is_renamed_when_the_image_comes() {
        let registry = registry();
        let first = register(&registry, &sighting("walt.node.pc-x86-64", ""), |_| false).unwrap();
        assert_eq!(first.device.kind, DeviceType::Unknown);
        assert_eq!(first.device.name, "unknown-abcd01");
        assert!(first.missing_image.is_some());
        let then = register(&registry, &sighting("walt.node.pc-x86-64", ""), |_| true).unwrap();
        assert_eq!(then.device.name, "node-abcd01");
        assert_eq!(
            then.lines,
            [
                "renamed unknown-abcd01 to node-abcd01 for clarity",
                "new node (device type previously unknown) name=node-abcd01 model=pc-x86-64 \
                 mac=52:54:00:ab:cd:01 ip=10.0.0.9"
            ]
        );
    }

    #[test]
    fn other_devices_are_named_after_themselves() {
        let registry = registry();
        let found = register(&registry, &sighting("", "My Printer.lan"), |_| true).unwrap();
        assert_eq!(found.device.kind, DeviceType::Unknown);
        assert_eq!(found.device.name, "my-printer-abcd01");
        assert_eq!(register(&registry, &sighting("", "other"), |_| true), None);
    }

    #[test]
    fn a_hostile_model_or_name_does_no_harm() {
        let registry = registry();
        let found =
            register(&registry, &sighting("walt.node.../../etc", "\u{7}$(reboot)"), |_| true)
                .unwrap();
        assert_eq!(found.device.kind, DeviceType::Unknown);
        assert_eq!(found.device.name, "unknown-abcd01");
    }
}
