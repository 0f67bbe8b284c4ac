//! `GET /api/v1/images`

use std::collections::HashSet;

use hyper::Response;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use walt_images::ImageEntry;
use walt_netboot::http::HttpBody;

use super::query::{Filter, boolean, counted, parameters};
use super::{Refusal, json as json_answer};
use crate::platform::Platform;

const TEXTS: &[&str] = &["fullname", "user", "id"];
const BOOLEANS: &[&str] = &["in_use"];

pub(super) async fn answer(
    platform: &Platform,
    query: &str,
) -> Result<Response<HttpBody>, Refusal> {
    let (refresh, fields): (Vec<_>, Vec<_>) =
        parameters(query).into_iter().partition(|(name, _)| name == "refresh");
    let refresh = match refresh.first() {
        Some((_, value)) => boolean(value)?,
        None => false,
    };
    let filter = Filter::new(fields, TEXTS, BOOLEANS)?;
    let catalogue = platform.images.catalogue();
    let store = match refresh {
        true => catalogue.refresh().await,
        false => catalogue.current().await,
    }
    .map_err(|error| Refusal::failed(&error))?;
    let used: HashSet<String> =
        platform.registry.images_in_use().iter().map(ToString::to_string).collect();
    let zone = TimeZone::system();
    let images = store.values().filter_map(|entry| image(entry, &used, &zone));
    let images = images.filter(|image| filter.wants(image)).map(Value::Object).collect();
    Ok(json_answer(counted("images", images).to_string()))
}

fn image(
    entry: &ImageEntry,
    used: &HashSet<String>,
    zone: &TimeZone,
) -> Option<Map<String, Value>> {
    let created = jiff::Timestamp::from_second(entry.created).unwrap_or_default();
    let created = created.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string();
    let described = json!({
        "fullname": entry.fullname,
        "user": entry.owner,
        "id": entry.id.to_string(),
        "in_use": used.contains(&entry.fullname),
        "created": created,
        "compatibility": entry.models,
    });
    match described {
        Value::Object(image) => Some(image),
        _ => None,
    }
}
