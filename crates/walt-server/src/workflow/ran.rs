//! What ran in a range of time: the boots of nodes, and what the names of their images meant.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use walt_logs::{LogError, TimeRange};

use super::upkeep;
use crate::platform::Platform;
use crate::registry::Device;
use crate::state::{Boot, StateError, Version};

/// Bytes of stages that are told; those of older boots are left out.
const STAGES_BYTES: usize = 2 << 20;

/// The boots of these devices, and the versions of their images, in a range; those in force at its start included.
///
/// # Errors
/// The state cannot be read.
pub(super) async fn documents(
    platform: &Platform,
    devices: &[Device],
    range: TimeRange,
) -> Result<(Value, Value), LogError> {
    let failed = |error: StateError| LogError::Export(error.to_string());
    let versions = platform.state.all_image_versions().await.map_err(failed)?;
    let mut boots = Vec::new();
    let mut images = BTreeSet::new();
    for device in devices {
        let Some(node) = &device.node else { continue };
        images.insert(node.image.to_string());
        let known = upkeep::boots_of(platform, device.mac).await.map_err(failed)?;
        for boot in in_force(known, |boot| boot.started, range) {
            let boot = described(device.name.as_str(), &boot, &versions);
            images.extend(boot["image"].as_str().map(str::to_owned));
            boots.push(boot);
        }
    }
    bound_stages(&mut boots, STAGES_BYTES);
    let mut told = Vec::new();
    for image in images {
        let mut of_image: Vec<Named> = Vec::new();
        for version in versions.iter().filter(|version| version.image.to_string() == image) {
            let from_us = version.content.since_ms.saturating_mul(1000);
            if let Some(before) = of_image.last_mut() {
                before.until_us = Some(from_us);
            }
            of_image.push(Named { version, from_us, until_us: None });
        }
        told.extend(in_force(of_image, |named| named.from_us, range).iter().map(Named::told));
    }
    Ok((boots.into(), told.into()))
}

/// What an image name meant for some time.
struct Named<'a> {
    version: &'a Version,
    from_us: i64,
    until_us: Option<i64>,
}

impl Named<'_> {
    fn told(&self) -> Value {
        let content = &self.version.content;
        json!({
            "image": self.version.image.to_string(),
            "number": self.version.number,
            "id": content.id.as_str(),
            "from_us": self.from_us,
            "until_us": self.until_us,
            "task": content.task,
            "by": content.by,
            "detail": content.detail,
            "created_us": content.created_ms.saturating_mul(1000),
            "size": content.size,
        })
    }
}

/// A boot, with the content that its image name stood for when it began.
fn described(node: &str, boot: &Boot, versions: &[Version]) -> Value {
    let line = &boot.stages;
    let image = line["image"].as_str().unwrap_or_default();
    let meant = versions
        .iter()
        .filter(|version| version.image.to_string() == image)
        .rfind(|version| version.content.since_ms.saturating_mul(1000) <= boot.started);
    json!({
        "node": node,
        "mac": boot.mac.to_string(),
        "started_us": boot.started,
        "cause": line["cause"],
        "image": line["image"],
        "image_id": meant.map(|version| version.content.id.as_str()),
        "outcome": boot.outcome,
        "stages": line["stages"],
    })
}

/// Leaves the stages of the oldest boots out once those of the newest ones take so many bytes.
fn bound_stages(boots: &mut [Value], most: usize) {
    let mut newest_first: Vec<&mut Value> = boots.iter_mut().collect();
    newest_first.sort_by_key(|boot| std::cmp::Reverse(boot["started_us"].as_i64()));
    let mut bytes = 0;
    for boot in newest_first {
        bytes += boot["stages"].to_string().len();
        if bytes > most {
            boot["stages"] = Value::Null;
        }
    }
}

/// Of things that each hold until the next one begins, oldest first: those that held in a range.
fn in_force<T>(things: Vec<T>, began: impl Fn(&T) -> i64, range: TimeRange) -> Vec<T> {
    let before = |thing: &T| range.start.is_some_and(|start| began(thing) <= start.0);
    let first = things.partition_point(before).saturating_sub(1);
    let end = things.partition_point(|thing| range.end.is_none_or(|end| began(thing) < end.0));
    things.into_iter().take(end).skip(first).collect()
}

#[cfg(test)]
mod tests {
    use walt_logs::Timestamp;

    use super::*;

    #[test]
    fn what_held_in_a_range() {
        let at = |start: Option<i64>, end: Option<i64>| {
            let range = TimeRange { start: start.map(Timestamp), end: end.map(Timestamp) };
            in_force(vec![10, 20, 30], |began| *began, range)
        };
        assert_eq!(at(None, None), [10, 20, 30]);
        assert_eq!(at(Some(5), Some(25)), [10, 20]);
        assert_eq!(at(Some(15), Some(25)), [10, 20]);
        assert_eq!(at(Some(20), Some(25)), [20]);
        assert_eq!(at(Some(25), Some(30)), [20]);
        assert_eq!(at(Some(40), None), [30]);
        assert_eq!(at(None, Some(10)), [0; 0]);
    }

    #[test]
    fn stages_are_bounded_and_the_newest_stay() {
        let mut boots: Vec<Value> =
            [3, 1, 2].map(|at| json!({"started_us": at, "stages": "x".repeat(100)})).into();
        bound_stages(&mut boots, 250);
        let left: Vec<bool> = boots.iter().map(|boot| boot["stages"].is_null()).collect();
        assert_eq!(left, [false, true, false]);
    }
}
