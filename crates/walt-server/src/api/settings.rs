//! Settings of devices: looking at them and changing them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde_json::Value;
use walt_model::settings::{self, AppliesTo};
use walt_model::{DeviceType, UserName};
use walt_proto::api::error::GateMode;
use walt_proto::api::settings::{
    ChangeSettings, DeviceSettings, SettingChange, SettingsChanged, SettingsQuery,
};

use super::Shared;
use super::caller::Caller;
use super::extract::{Body, Query};
use super::failure::Failure;
use super::gate;
use super::node::detached;
use crate::platform::Platform;
use crate::registry::Device;
use crate::workflow::settings::{self as workflow, value_of};

pub(super) async fn list(
    State(platform): State<Shared>,
    caller: Caller,
    Query(query): Query<SettingsQuery>,
) -> Result<Json<Vec<DeviceSettings>>, Failure> {
    let devices =
        select(&platform, &caller.user, &query.set, query.nodes_only, GateMode::Any, false)?;
    Ok(Json(devices.iter().map(|device| view(&platform, device)).collect()))
}

pub(super) async fn change(
    State(platform): State<Shared>,
    caller: Caller,
    Body(request): Body<ChangeSettings>,
) -> Result<Json<SettingsChanged>, Failure> {
    let wanted: BTreeMap<String, String> = request
        .settings
        .into_iter()
        .map(|(name, value)| Ok((name, typed(value)?)))
        .collect::<Result<_, Failure>>()?;
    if wanted.is_empty() {
        return Err(Failure::invalid("There is no setting to change."));
    }
    let mode = GateMode::OwnedOrFree;
    let (set, nodes_only) = (&request.set, request.nodes_only);
    let devices = select(&platform, &caller.user, set, nodes_only, mode, request.confirmed)?;
    let all_nodes = devices.iter().all(|device| device.kind == DeviceType::Node);
    let mut names: Vec<String> = devices.iter().map(|device| device.name.to_string()).collect();
    names.sort();
    let needs_reboot = wanted
        .keys()
        .any(|name| settings::setting(name).is_some_and(|setting| setting.needs_reboot));
    let plan = workflow::check(&platform, devices, &wanted)?;
    let shared = platform.clone();
    let changes = detached(&platform, async move { workflow::change(&shared, plan).await }).await?;
    let changes = changes.into_iter().map(|change| SettingChange {
        device: change.device.name.to_string(),
        setting: change.setting.name.to_owned(),
        old: change.old,
        new: change.new,
    });
    Ok(Json(SettingsChanged {
        devices: names,
        all_nodes,
        needs_reboot,
        changes: changes.collect(),
    }))
}

fn select(
    platform: &Platform,
    user: &UserName,
    set: &str,
    nodes_only: bool,
    mode: GateMode,
    confirmed: bool,
) -> Result<Vec<Device>, Failure> {
    if nodes_only {
        gate::select(platform, user, set, mode, confirmed)
    } else {
        gate::select_devices(platform, user, set, mode, confirmed)
    }
}

/// A JSON value as it would be typed.
fn typed(value: Value) -> Result<String, Failure> {
    match value {
        Value::Null => Ok("none".into()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Number(value) => Ok(value.to_string()),
        Value::String(text) => Ok(text),
        Value::Array(_) | Value::Object(_) => Err(Failure::invalid(
            "The value of a setting is a text, a number, true, false or null.",
        )),
    }
}

fn view(platform: &Platform, device: &Device) -> DeviceSettings {
    let subject = device.subject(platform.registry.subnet());
    let category = match device.kind {
        DeviceType::Server => "server",
        DeviceType::Switch => AppliesTo::Switches.noun(),
        DeviceType::Node if device.is_virtual => AppliesTo::VirtualNodes.noun(),
        DeviceType::Node => AppliesTo::Nodes.noun(),
        DeviceType::Unknown => "unknown device",
    };
    let shown = |setting: &'static settings::Setting| {
        let value = value_of(device, setting).unwrap_or_else(|| "<unspecified>".into());
        (setting.name.to_owned(), value)
    };
    DeviceSettings {
        device: device.name.to_string(),
        category: category.to_owned(),
        settings: settings::settings_of(&subject).map(shown).collect(),
        set: device.settings.clone(),
    }
}
