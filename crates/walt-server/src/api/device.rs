//! Devices.

use std::process::Stdio;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use walt_model::DeviceSetError;
use walt_proto::api::device::Device;
use walt_proto::api::{ApiError, ErrorKind, Event};

use super::caller::Caller;
use super::extract::Name;
use super::failure::Failure;
use super::stream::events;
use super::{Shared, view};

/// `ping` ends by itself after 11 s; this is for one that does not.
const PING: Duration = Duration::from_secs(20);

pub(super) async fn list(State(platform): State<Shared>, _: Caller) -> Json<Vec<Device>> {
    let devices = platform.registry.devices();
    Json(devices.iter().map(|device| view::device(&platform, device)).collect())
}

pub(super) async fn ping(
    State(platform): State<Shared>,
    _: Caller,
    Name(name): Name,
) -> Result<Response, Failure> {
    let device = platform
        .registry
        .by_name(&name)
        .ok_or_else(|| DeviceSetError::UnknownName(name.clone()))?;
    let Some(ip) = device.ip else {
        let message = format!("Sorry, IP address of {name} is unknown.");
        return Err(ApiError::new(ErrorKind::Conflict, message).into());
    };
    let mut command = Command::new("ping");
    command.args(["-n", "-c", "10", "-w", "11"]).arg(ip.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("LC_ALL", "C").kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| {
        let message = format!("ping cannot be started: {error}.");
        ApiError::new(ErrorKind::Unavailable, message).with_tip("install the package iputils-ping")
    })?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let tasks = platform.tasks.clone();
    let stopped = platform.tasks.token();
    Ok(events(&tasks, "ping", |report| async move {
        let run = async {
            let outs = async {
                let Some(stdout) = stdout else { return };
                let mut lines = BufReader::new(stdout).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    report.send(Event::Out { text: format!("{line}\n") }).await;
                }
            };
            let errs = async {
                let Some(stderr) = stderr else { return };
                let mut lines = BufReader::new(stderr).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    report.send(Event::Err { text: format!("{line}\n") }).await;
                }
            };
            tokio::join!(outs, errs);
            child.wait().await
        };
        tokio::select! {
            ended = tokio::time::timeout(PING, run) => match ended {
                Ok(Ok(status)) => Ok(Some(status.code().unwrap_or(1))),
                Ok(Err(error)) => Err(Failure::internal(&error)),
                Err(_) => Err(ApiError::new(ErrorKind::Timeout, "ping did not end.").into()),
            },
            () = report.gone() => Ok(None),
            () = stopped.cancelled() => Ok(Some(1)),
        }
    }))
}
