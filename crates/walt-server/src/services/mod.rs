//! What the services for nodes ask of the platform: the decisions behind DHCP, boot files, names, NFS
//! and the node ports. Each file answers one part crate.

pub(crate) mod boot_files;
mod exports;
mod hub;
mod policy;

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use walt_model::{ImageFullName, Mac, platform_lines};

use crate::platform::Platform;
use crate::registry::discovery::{Sighting, register};
use crate::served::ServedImage;
use crate::workflow::image::defaults::ensure_later;

/// How often it is said that a device cannot become a node, or lacks a file to boot.
const SAY_AGAIN: Duration = Duration::from_secs(300);

/// The platform as the services see it.
#[derive(Clone)]
pub struct Services(pub Arc<Platform>);

impl Services {
    /// True once per device and subject in [`SAY_AGAIN`]: a loader without image asks again every few seconds.
    fn worth_saying(&self, mac: Mac, about: &'static str) -> bool {
        let now = Instant::now();
        let mut said = self.0.said.lock();
        said.retain(|_, at| now.duration_since(*at) < SAY_AGAIN);
        match said.entry((mac, about)) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(now);
                true
            }
        }
    }

    /// What a node gets in the boot it is in.
    fn image_for_boot(&self, mac: Mac, image: &ImageFullName) -> Option<Arc<ServedImage>> {
        let boot = self.0.boots.current(mac);
        let key = boot.map_or((0, None), |entry| (entry.id, entry.boot.end_ms()));
        self.0.images.for_boot(mac, key, image)
    }

    /// A device was seen: registers it if it is new, or better known than before.
    fn seen(&self, sighting: &Sighting<'_>) {
        let platform = &self.0;
        let catalogue = platform.images.catalogue();
        let Some(found) = register(&platform.registry, sighting, |image| {
            catalogue.get(image).map(|entry| entry.models.clone())
        }) else {
            return;
        };
        // Queued now, committed with others: the answer to the client does not wait for the disk.
        platform.save(&found.device).detach();
        drop(platform.logs.name_issuer(found.device.mac, &found.device.name));
        for line in &found.lines {
            platform.say(platform_lines::DEVICES_STREAM, line);
        }
        if let Some(obstacle) = found.obstacle
            && self.worth_saying(found.device.mac, "model")
        {
            if let Some((model, image)) = obstacle.missing_default() {
                let line =
                    platform_lines::downloading_default_image(&found.device.name, model, image);
                ensure_later(platform, model.clone(), &line);
            }
            platform.say(platform_lines::DEVICES_STREAM, &obstacle.to_string());
        }
        if let Some(node) = found.device.node {
            crate::workflow::boot_image::ensure_later(platform, node.image);
        }
    }
}
