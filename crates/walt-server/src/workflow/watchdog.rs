//! Nodes that do not boot in time are hard-rebooted, a few times.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use walt_model::{DownCause, Mac, platform_lines};

use super::reboot::reboot;
use crate::boot::{Boot, Stage, StageKind};
use crate::platform::{Platform, now_ms};
use crate::registry::Device;

/// How often nodes are looked at.
const PERIOD: Duration = Duration::from_secs(5);

/// Start of the lines of the injected init about a local disk.
const HYBRID_LINE: &str = "Hybrid-mode:";

/// How often a node was rebooted for not booting, since it was booted or a user took care of it.
#[derive(Debug, Default)]
struct Tries {
    /// Start of the boot the last try began.
    own_boot_ms: u64,
    used: u64,
}

/// Looks at nodes until cancelled. Only virtual nodes can be helped for now.
pub async fn run(platform: Arc<Platform>, cancel: CancellationToken) {
    let started_ms = now_ms();
    let mut tries: HashMap<Mac, Tries> = HashMap::new();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        let nodes = platform.registry.devices();
        tries.retain(|mac, _| nodes.iter().any(|device| device.mac == *mac));
        let mut late = Vec::new();
        for device in nodes.into_iter().filter(|device| device.is_virtual) {
            let state = tries.entry(device.mac).or_default();
            if platform.presence.is_booted(device.mac) {
                *state = Tries::default();
            } else if let Some(left) = decide(&platform, &device, state, started_ms) {
                let line = platform_lines::boot_timeout(&device.name, left);
                platform.say(platform_lines::NODES_STREAM, &line);
                late.push(device);
            }
        }
        if late.is_empty() {
            continue;
        }
        for outcome in reboot(&platform, late, true, DownCause::BootupTimeout).await {
            if let Some(current) = platform.boots.current(outcome.device.mac)
                && let Some(state) = tries.get_mut(&outcome.device.mac)
            {
                state.own_boot_ms = current.boot.start_ms;
            }
            for failure in outcome.failures {
                let line = walt_model::sentence::sentence(
                    &format!("{{}}: failed {} ({})", failure.method, failure.cause),
                    "node",
                    &[outcome.device.name.as_str()],
                );
                platform.say(platform_lines::NODES_STREAM, &line);
            }
        }
    }
}

/// When a node last told that it copies its image on its disk (0: it does not).
fn copy_told_ms(boot: &Boot) -> u64 {
    let told =
        |stage: &&Stage| stage.kind == StageKind::Init && stage.detail.starts_with(HYBRID_LINE);
    boot.stages.iter().rev().find(told).map_or(0, |stage| stage.start_ms)
}

/// Whether a node that is not booted is to be rebooted now, and how many tries are left after that.
fn decide(platform: &Platform, device: &Device, state: &mut Tries, started_ms: u64) -> Option<u32> {
    let timeout_ms = device.boot_timeout()?.saturating_mul(1000);
    let current = platform.boots.current(device.mac);
    let began_ms = current.map_or(started_ms, |entry| entry.boot.start_ms);
    if began_ms > state.own_boot_ms && state.used > 0 {
        let asked = platform.boots.current(device.mac).is_some_and(|entry| {
            entry.boot.cause != DownCause::BootupTimeout.to_string()
                && entry.boot.cause != DownCause::Unknown.to_string()
        });
        if asked {
            state.used = 0;
        }
    }
    // After a restart of the server every node has its whole time again; a node that copies its image on its disk
    // tells so from time to time.
    let current = platform.boots.current(device.mac);
    let told_ms = current.map_or(0, |entry| copy_told_ms(&entry.boot));
    let since_ms = began_ms.max(started_ms).max(told_ms);
    if now_ms().saturating_sub(since_ms) < timeout_ms || state.used >= device.boot_retries() {
        return None;
    }
    state.used += 1;
    u32::try_from(device.boot_retries() - state.used).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_copies_its_image_is_not_lost() {
        let mut boot = Boot::begin("created", "me/img:latest", 0);
        assert_eq!(copy_told_ms(&boot), 0);
        for (line, at_ms) in [("Hybrid-mode: copying", 10), ("Hybrid-mode: still", 20), ("x", 30)] {
            boot.note(Stage::instant(StageKind::Init, line, at_ms));
        }
        assert_eq!(copy_told_ms(&boot), 20);
    }
}
