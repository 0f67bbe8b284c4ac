//! Rebooting nodes: ask them, else reset their virtual machine.

use std::sync::Arc;
use std::time::Duration;

use walt_model::DownCause;
use walt_proto::api::event::RebootAttempt;

use crate::platform::{Platform, now_ms};
use crate::ports::net_service;
use crate::registry::Device;

/// Limit on the reset of a virtual machine.
const RESET: Duration = Duration::from_secs(30);

/// How the reboot of one node went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The node.
    pub device: Device,
    /// What was tried and failed, in order.
    pub failures: Vec<RebootAttempt>,
    /// Whether it reboots.
    pub done: bool,
}

/// Reboots nodes, all at the same time.
pub async fn reboot(
    platform: &Arc<Platform>,
    nodes: Vec<Device>,
    hard: bool,
    cause: DownCause,
) -> Vec<Outcome> {
    let all = nodes.into_iter().map(|device| one(platform, device, hard, cause));
    futures_util::future::join_all(all).await
}

async fn one(platform: &Arc<Platform>, device: Device, hard: bool, cause: DownCause) -> Outcome {
    let mut failures = Vec::new();
    let image = device.node.as_ref().map(|node| node.image.to_string()).unwrap_or_default();
    // The service that answers is started at the end of the boot: a virtual node that is not booted
    // is reset at once rather than waited for.
    let soft = !hard && (!device.is_virtual || platform.presence.is_booted(device.mac));
    if soft {
        match soft_reboot(&device).await {
            Ok(()) => {
                platform.node_down(&device, cause, "soft-reboot");
                platform.boots.begin(device.mac, &cause.to_string(), &image, now_ms());
                return Outcome { device, failures, done: true };
            }
            Err(cause) => {
                failures.push(RebootAttempt { method: "soft-reboot".into(), cause });
            }
        }
    }
    let (method, result) = if device.is_virtual {
        // Said before: the machine tells its reset by itself, without a cause.
        if platform.machines.of(device.mac).is_some() {
            platform.node_down(&device, cause, "vnode hard-reboot");
        }
        ("vnode-reboot", reset(platform, &device).await)
    } else {
        ("poe-reboot", Err("unknown lldp network position".to_owned()))
    };
    let done = match result {
        Ok(()) => {
            platform.boots.begin(device.mac, &cause.to_string(), &image, now_ms());
            true
        }
        Err(cause) => {
            failures.push(RebootAttempt { method: method.into(), cause });
            false
        }
    };
    Outcome { device, failures, done }
}

async fn soft_reboot(device: &Device) -> Result<(), String> {
    let ip = device.ip.ok_or("it has no address")?;
    net_service::reboot(ip).await.map_err(|error| error.to_string().to_lowercase())
}

async fn reset(platform: &Platform, device: &Device) -> Result<(), String> {
    let machine = platform
        .machines
        .of(device.mac)
        .ok_or_else(|| platform.machines.problem(device.mac).unwrap_or("it does not run".into()))?;
    let reset = async {
        match machine.reset().await {
            Ok(()) => Ok(()),
            Err(_) => machine.power_cycle().await,
        }
    };
    match tokio::time::timeout(RESET, reset).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string().to_lowercase()),
        Err(_) => Err("timed out waiting for the virtual machine".into()),
    }
}
