//! Consoles of virtual nodes: into the logs, and what the machine itself does.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use walt_logs::{LogRecord, StreamName, Timestamp};
use walt_model::{DownCause, Mac, platform_lines};
use walt_virtual::{Event, VirtualNode};

use crate::platform::{Platform, now_ms};

/// How long output is gathered before it becomes a record.
const GATHER: Duration = Duration::from_millis(50);
/// Most bytes of one record.
const CHUNK: usize = 8 * 1024;

/// Records what a console prints in stream `virtualconsole` of the node, as chunks, for as long as the
/// machine exists.
pub fn record(platform: &Arc<Platform>, mac: Mac, machine: &Arc<VirtualNode>) {
    let Ok(stream) = platform_lines::VIRTUALCONSOLE_STREAM.parse::<StreamName>() else { return };
    let mut output = machine.console().subscribe();
    let sink = platform.logs.sink();
    let cancel = platform.tasks.token();
    platform.tasks.spawn("console log", async move {
        let mut pending: Vec<u8> = Vec::new();
        loop {
            let received = if pending.is_empty() {
                tokio::select! {
                    () = cancel.cancelled() => break,
                    received = output.recv() => Some(received),
                }
            } else {
                tokio::time::timeout(GATHER, output.recv()).await.ok()
            };
            let ended = match received {
                Some(Ok(bytes)) => {
                    pending.extend_from_slice(&bytes);
                    false
                }
                Some(Err(RecvError::Lagged(_))) => {
                    pending.extend_from_slice(b"\r\n[console output lost]\r\n");
                    false
                }
                Some(Err(RecvError::Closed)) => true,
                None => {
                    push(&sink, mac, &stream, &mut pending).await;
                    false
                }
            };
            while pending.len() >= CHUNK {
                let rest = pending.split_off(CHUNK);
                push(&sink, mac, &stream, &mut pending).await;
                pending = rest;
            }
            if ended {
                break;
            }
        }
        push(&sink, mac, &stream, &mut pending).await;
    });
}

async fn push(sink: &walt_logs::LogSink, mac: Mac, stream: &StreamName, pending: &mut Vec<u8>) {
    if pending.is_empty() {
        return;
    }
    let record = LogRecord::chunk(mac, stream.clone(), Timestamp::now(), pending);
    pending.clear();
    // Refused only when the store is stopped.
    let _ = sink.push_wait(record).await;
}

/// Follows a machine: its end is the end of the node's boot, its trouble is told by `node show --boot`.
pub fn follow_events(platform: &Arc<Platform>, mac: Mac, machine: &Arc<VirtualNode>) {
    let mut events = machine.events();
    let cancel = platform.tasks.token();
    let (platform, tasks) = (platform.clone(), platform.tasks.clone());
    tasks.spawn("machine events", async move {
        let mut died = false;
        loop {
            let event = tokio::select! {
                () = cancel.cancelled() => return,
                event = events.recv() => event,
            };
            let event = match event {
                Ok(event) => event,
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            };
            let Some(device) = platform.registry.by_mac(mac) else { return };
            tracing::debug!(node = %device.name, ?event, "virtual machine");
            match event {
                Event::Started(_) | Event::Adopted(_) => {
                    platform.machines.set_problem(mac, None);
                    if std::mem::take(&mut died) {
                        let image = device.node.as_ref().map(|node| node.image.to_string());
                        let image = image.unwrap_or_default();
                        platform.boots.begin(mac, "machine started again", &image, now_ms());
                    }
                }
                Event::Reset | Event::PoweredOff | Event::Stopped => {
                    platform.node_down(&device, DownCause::Unknown, "vnode reset");
                }
                Event::Panicked => {
                    platform.machines.set_problem(mac, Some("its kernel panicked".into()));
                }
                Event::Died { reason, .. } => {
                    died = true;
                    platform.machines.set_problem(mac, Some(reason));
                    platform.node_down(&device, DownCause::Unknown, "vnode died");
                }
                Event::StartFailed { reason, .. } => {
                    platform.machines.set_problem(mac, Some(reason));
                }
            }
        }
    });
}
