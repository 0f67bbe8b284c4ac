//! What the services for nodes ask of the platform: the decisions behind DHCP, boot files, names, NFS
//! and the node ports. Each file answers one part crate.

mod boot_files;
mod exports;
mod hub;
mod policy;

use std::sync::Arc;

use crate::platform::Platform;
use crate::registry::discovery::{Sighting, register};

/// The platform as the services see it.
#[derive(Clone)]
pub struct Services(pub Arc<Platform>);

impl Services {
    /// A device was seen: registers it if it is new, or better known than before.
    fn seen(&self, sighting: &Sighting<'_>) {
        let platform = &self.0;
        let catalogue = platform.images.catalogue();
        let Some(found) =
            register(&platform.registry, sighting, |image| catalogue.get(image).is_some())
        else {
            return;
        };
        // Queued now, committed with others: the answer to the client does not wait for the disk.
        platform.save(&found.device).detach();
        drop(platform.logs.name_issuer(found.device.mac, &found.device.name));
        for line in &found.lines {
            platform.say(walt_model::platform_lines::DEVICES_STREAM, line);
        }
        if let Some((model, image)) = found.missing_image {
            platform.say(
                walt_model::platform_lines::DEVICES_STREAM,
                &format!(
                    "device {} is a node of type {model}, but its default image {image} is not on \
                     this server: it stays unknown until that image is there.",
                    found.device.name
                ),
            );
        }
        if let Some(node) = found.device.node {
            crate::workflow::boot_image::ensure_later(platform, node.image);
        }
    }
}
