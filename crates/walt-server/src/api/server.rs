//! The server itself.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use walt_proto::api::API_VERSION;
use walt_proto::api::server::{Health, ServerInfo, ServerState};

use super::Shared;
use super::caller::Caller;
use crate::platform::{Platform, now_ms};

pub(super) async fn version(State(platform): State<Shared>, caller: Caller) -> Json<ServerInfo> {
    let zone = jiff::tz::TimeZone::system();
    Json(ServerInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: API_VERSION,
        oldest_api: API_VERSION,
        user: caller.user.to_string(),
        now_ms: i64::try_from(now_ms()).unwrap_or(i64::MAX),
        timezone: zone.iana_name().unwrap_or("UTC").to_owned(),
        state: state(&platform),
    })
}

pub(super) async fn health(State(platform): State<Shared>) -> Response {
    let mut problems = platform.problems.lock().clone();
    let panics = platform.tasks.panics();
    if panics > 0 {
        problems.push(format!("tasks: {panics} panicked since the start (see the journal)"));
    }
    let state = state(&platform);
    let status = match state {
        ServerState::Ready => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(Health { state, problems })).into_response()
}

fn state(platform: &Platform) -> ServerState {
    if platform.tasks.token().is_cancelled() {
        ServerState::Stopping
    } else if platform.problems.lock().is_empty() && platform.tasks.panics() == 0 {
        ServerState::Ready
    } else {
        ServerState::Degraded
    }
}
