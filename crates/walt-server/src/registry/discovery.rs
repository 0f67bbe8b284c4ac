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
    /// Why it is not (yet) what it says it is.
    pub obstacle: Option<Obstacle>,
}

/// Why a device is not registered as the model it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// It stays unknown until the default image of its model is there.
    #[error(
        "device {name} is a node of type {model}, but its default image {image} is not on this \
         server: it stays unknown until that image is there."
    )]
    Unknown {
        /// Its name.
        name: DeviceName,
        /// What it says.
        model: NodeModel,
        /// What is missing.
        image: ImageFullName,
    },
    /// A node says another model, whose default image is not there.
    #[error(
        "node {name} says it is a {model} now, but the default image {image} is not on this server: \
         it stays a {registered}."
    )]
    NoImage {
        /// Its name.
        name: DeviceName,
        /// What it says.
        model: NodeModel,
        /// What it is registered as.
        registered: NodeModel,
        /// What is missing.
        image: ImageFullName,
    },
    /// A node says another model, and the image its user gave it is not made for that.
    #[error(
        "node {name} says it is a {model} now, but image {image} is not made for that: it stays a \
         {registered}. To let it change: walt node boot {name} default, then reboot it."
    )]
    ImageOfUser {
        /// Its name.
        name: DeviceName,
        /// What it says.
        model: NodeModel,
        /// What it is registered as.
        registered: NodeModel,
        /// What it boots.
        image: ImageFullName,
    },
}

impl Obstacle {
    /// The model, and its default image, if that is what is missing.
    pub fn missing_default(&self) -> Option<(&NodeModel, &ImageFullName)> {
        match self {
            Self::Unknown { model, image, .. } | Self::NoImage { model, image, .. } => {
                Some((model, image))
            }
            Self::ImageOfUser { .. } => None,
        }
    }
}

/// Registers a sighting. `models_of` gives the models of an image that is in the store. Nothing when
/// nothing changed.
pub fn register(
    registry: &Registry,
    seen: &Sighting<'_>,
    models_of: impl Fn(&ImageFullName) -> Option<Vec<String>>,
) -> Option<Discovery> {
    let identity = Identity::of(seen.vendor_class, seen.user_class, seen.mac);
    let known = registry.by_mac(seen.mac);
    if let Some(device) = &known
        && device.kind != DeviceType::Unknown
    {
        return match (&device.node, identity.model) {
            (Some(node), Some(model)) if model != node.model && !device.is_virtual => {
                another_model(registry, device, node, model, models_of)
            }
            _ => move_in(registry, device, seen.ip),
        };
    }
    let wanted_image =
        identity.model.as_ref().map(|model| (model.clone(), ImageFullName::default_of(model)));
    let (kind, node, missing) = match (identity.device_type, wanted_image) {
        (DeviceType::Node, Some((model, image))) if models_of(&image).is_some() => {
            let node = Node { model, image, firmware: Firmware::Bios };
            (DeviceType::Node, Some(node), None)
        }
        (DeviceType::Node, missing) => (DeviceType::Unknown, None, missing),
        (kind, _) => (kind, None, None),
    };
    let obstacle = |device: &Device| {
        let (model, image) = missing?;
        Some(Obstacle::Unknown { name: device.name.clone(), model, image })
    };
    match known {
        None => {
            let name =
                candidate(registry, seen).unwrap_or_else(|| generated(registry, kind, seen.mac));
            let device = Device { node, ..Device::new(seen.mac, name, Some(seen.ip), kind) };
            let device = registry.put(device).ok()?;
            let lines = vec![announced(&device, false)];
            Some(Discovery { obstacle: obstacle(&device), device, lines })
        }
        Some(old) if kind == DeviceType::Unknown => {
            let moved = move_in(registry, &old, seen.ip);
            match (moved, obstacle(&old)) {
                (Some(discovery), obstacle) => Some(Discovery { obstacle, ..discovery }),
                (None, None) => None,
                (None, obstacle) => Some(Discovery { device: old, lines: Vec::new(), obstacle }),
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
            Some(Discovery { device, lines, obstacle: None })
        }
    }
}

/// A node says another model than its own: another card, or its network card in another board. It
/// becomes that model with an image made for it; what a user gave it is never taken away.
fn another_model(
    registry: &Registry,
    device: &Device,
    node: &Node,
    model: NodeModel,
    models_of: impl Fn(&ImageFullName) -> Option<Vec<String>>,
) -> Option<Discovery> {
    let stays = |obstacle| {
        Some(Discovery { device: device.clone(), lines: Vec::new(), obstacle: Some(obstacle) })
    };
    let (name, registered) = (device.name.clone(), node.model.clone());
    let fits = models_of(&node.image)
        .is_some_and(|models| models.iter().any(|known| model == known.as_str()));
    let is_free = node.image == ImageFullName::default_of(&registered);
    let default = ImageFullName::default_of(&model);
    let image = if is_free && models_of(&default).is_some() {
        default
    } else if fits {
        node.image.clone()
    } else if is_free {
        return stays(Obstacle::NoImage { name, model, registered, image: default });
    } else {
        let image = node.image.clone();
        return stays(Obstacle::ImageOfUser { name, model, registered, image });
    };
    let lines =
        vec![format!("node {name} is a {model} now (it was a {registered}): it boots {image}")];
    let device = registry
        .change(device.mac, |device| {
            if let Some(node) = &mut device.node {
                (node.model, node.image) = (model, image);
            }
        })
        .ok()?;
    Some(Discovery { device, lines, obstacle: None })
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
    Some(Discovery { device, lines: Vec::new(), obstacle: None })
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

    fn in_store(_: &ImageFullName) -> Option<Vec<String>> {
        Some(Vec::new())
    }

    fn registry() -> Registry {
        Registry::new("10.0.0.1/24".parse().unwrap(), [])
    }

    #[test]
    fn a_node_with_its_default_image_is_a_node_at_once() {
        let registry = registry();
        let found = register(&registry, &sighting("walt.node.pc-x86-64", ""), in_store).unwrap();
        assert_eq!(found.device.kind, DeviceType::Node);
        assert_eq!(
            found.lines,
            ["new node name=node-abcd01 model=pc-x86-64 mac=52:54:00:ab:cd:01 ip=10.0.0.9"]
        );
        assert!(found.device.node.unwrap().image.is_platform());
        // Seen again: nothing to say.
        assert_eq!(register(&registry, &sighting("walt.node.pc-x86-64", ""), in_store), None);
    }

    #[test]
    fn without_its_image_it_stays_unknown_and_is_renamed_when_the_image_comes() {
        let registry = registry();
        let first = register(&registry, &sighting("walt.node.pc-x86-64", ""), |_| None).unwrap();
        assert_eq!(first.device.kind, DeviceType::Unknown);
        assert_eq!(first.device.name, "unknown-abcd01");
        assert!(first.obstacle.is_some());
        let then = register(&registry, &sighting("walt.node.pc-x86-64", ""), in_store).unwrap();
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
        let found = register(&registry, &sighting("", "My Printer.lan"), in_store).unwrap();
        assert_eq!(found.device.kind, DeviceType::Unknown);
        assert_eq!(found.device.name, "my-printer-abcd01");
        assert_eq!(register(&registry, &sighting("", "other"), in_store), None);
    }

    #[test]
    fn a_hostile_model_or_name_does_no_harm() {
        let registry = registry();
        let found =
            register(&registry, &sighting("walt.node.../../etc", "\u{7}$(reboot)"), in_store)
                .unwrap();
        assert_eq!(found.device.kind, DeviceType::Unknown);
        assert_eq!(found.device.name, "unknown-abcd01");
    }

    /// A node booting `image`, made for `pc-x86-64` and these models, says it is a `pc-x86-32`.
    fn changed(
        image: &str,
        models: &[&str],
        defaults: bool,
        is_virtual: bool,
    ) -> (Device, Option<Discovery>) {
        let registry = registry();
        register(&registry, &sighting("walt.node.pc-x86-64", ""), in_store).unwrap();
        let image: ImageFullName = image.parse().unwrap();
        registry
            .change(MAC, |device| {
                device.is_virtual = is_virtual;
                device.node.as_mut().unwrap().image = image.clone();
            })
            .unwrap();
        let found = register(&registry, &sighting("walt.node.pc-x86-32", ""), |asked| {
            if *asked == image {
                return Some(models.iter().map(|model| model.to_string()).collect());
            }
            defaults.then(|| vec!["pc-x86-32".to_owned()])
        });
        (registry.by_mac(MAC).unwrap(), found)
    }

    #[test]
    fn a_node_that_says_another_model() {
        let default = "waltplatform/pc-x86-64-default:latest";
        let (device, found) = changed(default, &["pc-x86-64"], true, false);
        let node = device.node.unwrap();
        assert_eq!(
            (node.model.as_str(), node.image.to_string().as_str()),
            ("pc-x86-32", "waltplatform/pc-x86-32-default:latest")
        );
        assert_eq!(found.unwrap().lines.len(), 1);

        let (device, found) = changed(default, &["pc-x86-64"], false, false);
        assert_eq!(device.node.unwrap().model, "pc-x86-64");
        assert!(matches!(found.unwrap().obstacle, Some(Obstacle::NoImage { .. })));

        let (device, found) = changed("me/img:latest", &["pc-x86-64", "pc-x86-32"], true, false);
        let node = device.node.unwrap();
        assert_eq!(
            (node.model.as_str(), node.image.to_string().as_str()),
            ("pc-x86-32", "me/img:latest")
        );
        assert_eq!(found.unwrap().obstacle, None);

        let (device, found) = changed("me/img:latest", &["pc-x86-64"], true, false);
        assert_eq!(device.node.unwrap().model, "pc-x86-64");
        let obstacle = found.unwrap().obstacle.unwrap();
        assert!(
            obstacle.to_string().ends_with("walt node boot node-abcd01 default, then reboot it.")
        );

        let (device, found) = changed(default, &["pc-x86-64"], true, true);
        assert_eq!((device.node.unwrap().model.as_str(), found), ("pc-x86-64", None));
    }
}
