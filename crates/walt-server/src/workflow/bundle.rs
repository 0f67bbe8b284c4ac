//! Making a bundle: what was logged in a range, and what is known of what ran.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::runtime::Handle;
use walt_logs::bundle::{BundleWriter, CHECKPOINTS, ISSUERS, Instant, Issuer, Manifest};
use walt_logs::{Filter, LogError, LogReader, TimeRange, Timestamp};
use walt_model::{Mac, UserName};

use super::ran;
use crate::platform::Platform;
use crate::registry::Device;

/// A bundle to write.
pub struct Plan {
    manifest: Manifest,
    documents: Vec<(&'static str, Value)>,
    reader: LogReader,
}

impl Plan {
    /// Why its last lines are lacking, if they are.
    pub fn not_written(&self) -> Option<&str> {
        self.reader.not_written()
    }
}

/// Gathers what is known now and what ran in a range, and opens the logs of that range.
///
/// # Errors
/// Those of the log store; the state cannot be read.
pub async fn plan(
    platform: &Arc<Platform>,
    user: &UserName,
    typed: &str,
    range: TimeRange,
    issuers: Option<Vec<Mac>>,
) -> Result<Plan, LogError> {
    let checkpoints: Vec<Instant> = platform
        .logs
        .checkpoints(user)
        .await?
        .into_iter()
        .map(|known| Instant { name: known.name, timestamp_us: known.timestamp.0 })
        .collect();
    let known: Vec<Issuer> = platform
        .logs
        .issuers()
        .into_iter()
        .filter(|(mac, _)| issuers.as_ref().is_none_or(|chosen| chosen.contains(mac)))
        .map(|(mac, name)| Issuer { name: name.to_string(), mac })
        .collect();
    let devices = platform.registry.devices();
    let (boots, image_versions) = ran::documents(platform, &devices, range).await?;
    let documents = vec![
        ("versions", versions(platform).await),
        ("devices", devices.iter().map(|device| described(platform, device)).collect()),
        ("images", images(platform, &devices)),
        ("boots", boots),
        ("image-versions", image_versions),
        (CHECKPOINTS, json!(checkpoints)),
        (ISSUERS, json!(known)),
    ];
    let manifest = Manifest::new(env!("CARGO_PKG_VERSION"), typed, range.start, range.end);
    let filter = Filter { issuers, ..Filter::default() };
    let reader = platform.logs.history(filter, range).await?;
    Ok(Plan { manifest, documents, reader })
}

/// Writes it. Blocks: not to be called on a thread of the runtime.
///
/// # Errors
/// Those of the log store; the output is closed.
pub fn write(mut plan: Plan, out: impl Write) -> Result<(), LogError> {
    let mut bundle = BundleWriter::new(out, plan.manifest)?;
    for (name, content) in &plan.documents {
        bundle.document(name, content)?;
    }
    while let Some(page) = Handle::current().block_on(plan.reader.next_page())? {
        bundle.lines(&page)?;
    }
    bundle.finish()?.flush().map_err(|error| LogError::Export(error.to_string()))
}

/// A device as it is now: model, image, settings, address. Where it is plugged in is not known yet.
fn described(platform: &Platform, device: &Device) -> Value {
    let node = device.node.as_ref().map(|node| {
        json!({
            "model": node.model.to_string(),
            "image": node.image.to_string(),
            "virtual": device.is_virtual,
            "booted": platform.presence.is_booted(device.mac),
            "clock": platform.logs.clock(device.mac).map(|clock| json!({
                "measured_us": clock.measured.0,
                "offset_us": clock.offset,
                "uncertainty_us": clock.uncertainty,
            })),
        })
    });
    json!({
        "name": device.name.to_string(),
        "mac": device.mac.to_string(),
        "ip": device.ip.map(|ip| ip.to_string()),
        "type": device.kind.to_string(),
        "settings": device.settings,
        "netsetup": device.netsetup(),
        "node": node,
    })
}

/// The images that nodes boot: content, labels, size.
fn images(platform: &Platform, devices: &[Device]) -> Value {
    let mut nodes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for device in devices {
        if let Some(node) = &device.node {
            nodes.entry(node.image.to_string()).or_default().push(device.name.to_string());
        }
    }
    let described = nodes.into_iter().map(|(image, nodes)| {
        let entry = platform.images.catalogue().get(&image);
        json!({
            "name": image,
            "id": entry.as_ref().map(|entry| entry.id.as_str().to_owned()),
            "digest": entry.as_ref().map(|entry| &entry.digest),
            "labels": entry.as_ref().map(|entry| &entry.labels),
            "size_kib": entry.as_ref().map(|entry| entry.size_kib()),
            "nodes": nodes,
        })
    });
    described.collect()
}

async fn versions(platform: &Platform) -> Value {
    let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
    let system = read("/etc/os-release").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
        Some(line.trim_matches('"').to_owned())
    });
    json!({
        "walt": env!("CARGO_PKG_VERSION"),
        "kernel": read("/proc/sys/kernel/osrelease"),
        "system": system,
        "network": platform.place.subnet.to_string(),
        "at_us": Timestamp::now().0,
    })
}
