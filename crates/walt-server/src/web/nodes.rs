//! `GET /api/v1/nodes`

use hyper::Response;
use serde_json::{Map, Value, json};
use walt_model::settings::settings_of;
use walt_netboot::http::HttpBody;

use super::query::{Filter, counted, parameters};
use super::{Refusal, json as json_answer};
use crate::platform::Platform;
use crate::registry::Device;
use crate::workflow::settings::value_of;

const TEXTS: &[&str] = &["name", "model", "image", "ip", "mac"];
const BOOLEANS: &[&str] = &["virtual", "booted"];

pub(super) fn answer(platform: &Platform, query: &str) -> Result<Response<HttpBody>, Refusal> {
    let filter = Filter::new(parameters(query), TEXTS, BOOLEANS)?;
    let mut devices = platform.registry.devices();
    devices.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
    let nodes = devices.iter().filter_map(|device| node(platform, device));
    let nodes = nodes.filter(|node| filter.wants(node)).map(Value::Object).collect();
    Ok(json_answer(counted("nodes", nodes).to_string()))
}

fn node(platform: &Platform, device: &Device) -> Option<Map<String, Value>> {
    let node = device.node.as_ref()?;
    let described = json!({
        "name": device.name.as_str(),
        "model": node.model.as_str(),
        "virtual": device.is_virtual,
        "image": node.image.to_string(),
        "booted": platform.presence.is_booted(device.mac),
        "ip": device.ip.map(|ip| ip.to_string()),
        "mac": device.mac.to_string(),
        "config": config(platform, device),
    });
    match described {
        Value::Object(node) => Some(node),
        _ => None,
    }
}

/// All its settings: those that were set, and the defaults of the others. `netsetup` is a word.
fn config(platform: &Platform, device: &Device) -> Value {
    let subject = device.subject(platform.registry.subnet());
    let values = settings_of(&subject).map(|setting| {
        let stored = device.settings.get(setting.name).cloned();
        let value = match (setting.name, stored) {
            ("netsetup", _) => Value::String(device.netsetup().to_string()),
            (_, Some(value)) => value,
            (_, None) => value_of(device, setting)
                .and_then(|text| setting.parse(&text).ok())
                .unwrap_or(Value::Null),
        };
        (setting.name.to_owned(), value)
    });
    Value::Object(values.collect())
}
