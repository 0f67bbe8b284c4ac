//! What nodes may mount.
//!
//! Nodes name `/var/lib/walt/nodes/<mac|mac-with-dashes|ip|name>/{fs,persist}`, whatever the state
//! directory of this server is. Any machine of walt-net may read an image; `/persist` of a node is for
//! that node (and for the server itself), and for NFSv3 only.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use walt_model::Mac;
use walt_nfs::{
    Exports, ImageRoot, MountDenied, MountTarget, NfsEvent, NfsObservation, PersistId, Place,
    RootId, TargetId,
};

use super::Services;
use crate::boot::{Stage, StageKind};
use crate::platform::ms_of;
use crate::registry::{Device, Registry};

/// Where nodes believe that their files are.
const NODES: &str = "/var/lib/walt/nodes/";

/// What a path of a node names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Root,
    Persist,
}

/// Splits `/var/lib/walt/nodes/<who>/<part>[/<within>]`.
fn split(path: &str) -> Option<(&str, Part, &str)> {
    let rest = path.strip_prefix(NODES)?;
    let (who, rest) = rest.split_once('/')?;
    let (part, within) = rest.split_once('/').unwrap_or((rest, ""));
    let part = match part {
        "fs" => Part::Root,
        "persist" => Part::Persist,
        _ => return None,
    };
    Some((who, part, within))
}

/// What NFSv4 clients find at a path before an image root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step<'a> {
    /// A folder above [`NODES`], which holds this name.
    Above(&'a str),
    /// The folder of all nodes.
    Nodes,
    /// The folder of a node, in any of its spellings.
    Node(&'a str),
}

impl<'a> Step<'a> {
    fn at(path: &'a str) -> Option<Self> {
        let nodes = NODES.trim_end_matches('/');
        if path == nodes {
            return Some(Self::Nodes);
        }
        if let Some(rest) = nodes.strip_prefix(path)
            && let Some(rest) = rest.strip_prefix('/')
        {
            return rest.split('/').next().map(Self::Above);
        }
        let who = path.strip_prefix(NODES)?;
        (!who.is_empty() && !who.contains('/')).then_some(Self::Node(who))
    }
}

/// The device a path names.
fn named(registry: &Registry, who: &str) -> Option<Device> {
    if let Ok(ip) = who.parse::<Ipv4Addr>() {
        return registry.by_ip(ip);
    }
    if let Ok(mac) = who.parse::<Mac>() {
        return registry.by_mac(mac);
    }
    registry.by_dns_name(who)
}

/// The names of the folder of a device, if it is a node.
fn spellings(device: &Device) -> Vec<String> {
    if device.node.is_none() {
        return Vec::new();
    }
    let (mac, ip) = (device.mac, device.ip.map(|ip| ip.to_string()));
    [mac.to_string(), mac.dashed(), device.name.to_string()].into_iter().chain(ip).collect()
}

impl Device {
    fn is_at(&self, client: IpAddr) -> bool {
        self.ip.map(IpAddr::V4) == Some(client.to_canonical())
    }
}

impl Services {
    /// The node a mount request comes from.
    fn node_at(&self, client: IpAddr) -> Option<Device> {
        match client.to_canonical() {
            IpAddr::V4(ip) => self.0.registry.by_ip(ip).filter(|device| device.node.is_some()),
            IpAddr::V6(_) => None,
        }
    }

    /// The tree of the image of a node, for a client that mounts it. The node itself reads it from now on.
    fn root_of(&self, device: &Device, is_itself: bool) -> Result<Arc<ImageRoot>, MountDenied> {
        let node = device.node.as_ref().ok_or(MountDenied::NotFound)?;
        let image = match is_itself {
            true => self.image_for_boot(device.mac, &node.image),
            false => self.0.images.of(&node.image),
        };
        let image = image.ok_or_else(|| {
            let why = self.0.images.problem(&node.image);
            let why = why.unwrap_or_else(|| "it is being prepared".into());
            MountDenied::NotPermitted(format!("image {}: {why}", node.image))
        })?;
        let id = image.tree.id();
        if is_itself && self.0.images.read_by(device.mac, id) {
            self.0.state.use_only_root(device.mac, id.to_string()).detach();
        }
        Ok(image.tree.clone())
    }

    fn allowed(&self, client: IpAddr) -> bool {
        match client.to_canonical() {
            IpAddr::V4(ip) => self.0.registry.subnet().contains(ip),
            IpAddr::V6(_) => false,
        }
    }
}

impl Exports for Services {
    fn mount(&self, client: IpAddr, path: &str) -> Result<MountTarget, MountDenied> {
        if !self.allowed(client) {
            return Err(MountDenied::NotPermitted("only walt-net is served".into()));
        }
        let (who, part, within) = split(path).ok_or(MountDenied::NotFound)?;
        let device = named(&self.0.registry, who).ok_or(MountDenied::NotFound)?;
        let node = device.node.as_ref().ok_or(MountDenied::NotFound)?;
        let is_itself = device.is_at(client);
        match part {
            Part::Root => {
                let root = self.root_of(&device, is_itself)?;
                Ok(MountTarget::Image { root, within: within.to_owned() })
            }
            Part::Persist => {
                let server = IpAddr::V4(self.0.registry.subnet().server());
                if !is_itself && client.to_canonical() != server {
                    let why = format!("/persist of {} is for that node", device.name);
                    return Err(MountDenied::NotPermitted(why));
                }
                if !device.mounts_persist() {
                    return Err(MountDenied::NotFound);
                }
                let (id, path) =
                    self.0.persist.of(device.mac, node.image.owner()).map_err(|error| {
                        tracing::error!(node = %device.name, "no persistent directory: {error}");
                        MountDenied::NotPermitted("its directory could not be made".into())
                    })?;
                let within = within.to_owned();
                Ok(MountTarget::Persist { id, path, within, writable: true })
            }
        }
    }

    fn place(&self, client: IpAddr, path: &str) -> Result<Place, MountDenied> {
        if !self.allowed(client) {
            return Err(MountDenied::NotPermitted("only walt-net is served".into()));
        }
        let node = |who| {
            let device = named(&self.0.registry, who).ok_or(MountDenied::NotFound)?;
            if device.node.is_some() { Ok(device) } else { Err(MountDenied::NotFound) }
        };
        match (Step::at(path), split(path)) {
            (Some(Step::Above(_) | Step::Nodes), _) => Ok(Place::Folder),
            (Some(Step::Node(who)), _) => node(who).map(|_| Place::Folder),
            (None, Some((who, Part::Root, ""))) => {
                let device = node(who)?;
                let root = self.root_of(&device, device.is_at(client))?;
                Ok(Place::Image { root, within: String::new() })
            }
            _ => Err(MountDenied::NotFound),
        }
    }

    fn names(&self, client: IpAddr, path: &str) -> Vec<String> {
        match Step::at(path) {
            _ if !self.allowed(client) => Vec::new(),
            Some(Step::Above(name)) => vec![name.to_owned()],
            Some(Step::Nodes) => self.0.registry.devices().iter().flat_map(spellings).collect(),
            Some(Step::Node(_)) => vec!["fs".to_owned()],
            None => Vec::new(),
        }
    }

    fn image_root(&self, id: &RootId) -> Option<Arc<ImageRoot>> {
        self.0.images.tree(id)
    }

    fn persist(&self, id: &PersistId) -> Option<PathBuf> {
        self.0.persist.get(id)
    }

    fn observe(&self, observation: NfsObservation) {
        let Some(device) = self.node_at(observation.client) else { return };
        let at_ms = ms_of(observation.at);
        let stage = match observation.event {
            NfsEvent::MountGranted { path, target: TargetId::Image(_) } => {
                Stage::instant(StageKind::Root, path, at_ms)
            }
            NfsEvent::MountGranted { path, target: TargetId::Persist(_) } => {
                Stage::instant(StageKind::Persist, path, at_ms)
            }
            NfsEvent::MountDenied { path, reason } => {
                let kind = match split(&path) {
                    Some((_, Part::Persist, _)) => StageKind::Persist,
                    _ => StageKind::Root,
                };
                Stage::failed(kind, path, at_ms, reason.to_string())
            }
            NfsEvent::Unmounted { .. }
            | NfsEvent::FirstLookup { .. }
            | NfsEvent::FirstRead { .. } => return,
        };
        self.0.boots.observe(device.mac, |boot| boot.note(stage));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_nodes() {
        assert_eq!(split("/var/lib/walt/nodes/n1/fs"), Some(("n1", Part::Root, "")));
        assert_eq!(
            split("/var/lib/walt/nodes/10.0.0.2/persist/a/b"),
            Some(("10.0.0.2", Part::Persist, "a/b"))
        );
        for (path, step) in [
            ("", Step::Above("var")),
            ("/var", Step::Above("lib")),
            ("/var/lib/walt", Step::Above("nodes")),
            ("/var/lib/walt/nodes", Step::Nodes),
            ("/var/lib/walt/nodes/n1", Step::Node("n1")),
        ] {
            assert_eq!(Step::at(path), Some(step), "{path}");
        }
        for none in
            ["/", "/v", "/etc", "/var/", "/var/lib/walt/nodes/", "/var/lib/walt/nodes/n1/fs"]
        {
            assert_eq!(Step::at(none), None, "{none}");
        }
        for bad in ["/", "/etc", "/var/lib/walt/nodes/n1", "/var/lib/walt/nodes/n1/disks", "fs"] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }
}
