//! Waiting for nodes to be booted, and seeing that ssh answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use walt_model::Mac;

use crate::boot::{Stage, StageKind};
use crate::platform::{Platform, now_ms};
use crate::registry::Device;

/// How long ssh is looked at after a bootup notification.
const SSH_LIMIT: Duration = Duration::from_secs(60);

/// Nodes being waited for.
pub struct Awaiting<'a> {
    platform: &'a Platform,
    nodes: Vec<Device>,
    changes: watch::Receiver<u64>,
    before: Option<BTreeSet<Mac>>,
}

/// What changed.
#[derive(Debug, Default)]
pub struct Arrival {
    /// Nodes that are booted, and were not said to be before.
    pub arrived: Vec<Device>,
    /// Nodes still awaited.
    pub awaited: Vec<Device>,
}

impl<'a> Awaiting<'a> {
    /// Waits for these nodes.
    pub fn new(platform: &'a Platform, nodes: Vec<Device>) -> Self {
        Self { platform, nodes, changes: platform.presence.changes(), before: None }
    }

    /// The state at first, then each change of the nodes awaited; nothing once there are none. A node
    /// that is removed is no longer awaited.
    pub async fn next(&mut self) -> Option<Arrival> {
        if self.before.as_ref().is_some_and(BTreeSet::is_empty) {
            return None;
        }
        loop {
            self.changes.borrow_and_update();
            let is_awaited = |device: &Device| {
                self.platform.registry.by_mac(device.mac).is_some()
                    && !self.platform.presence.is_booted(device.mac)
            };
            let (awaited, others): (Vec<Device>, Vec<Device>) =
                self.nodes.iter().cloned().partition(is_awaited);
            let now: BTreeSet<Mac> = awaited.iter().map(|device| device.mac).collect();
            if self.before.as_ref() != Some(&now) {
                let is_new = |device: &Device| {
                    self.platform.presence.is_booted(device.mac)
                        && self.before.as_ref().is_none_or(|before| before.contains(&device.mac))
                };
                let arrived = others.into_iter().filter(is_new).collect();
                self.before = Some(now);
                return Some(Arrival { arrived, awaited });
            }
            if self.changes.changed().await.is_err() {
                return None;
            }
        }
    }
}

/// Looks for the moment ssh answers, for the time line.
pub fn watch_ssh(platform: &Arc<Platform>, device: &Device) {
    let Some(ip) = device.ip else { return };
    let (platform, mac) = (platform.clone(), device.mac);
    let tasks = platform.tasks.clone();
    tasks.spawn("ssh of a node", async move {
        let look = async {
            loop {
                let connect = TcpStream::connect((ip, 22));
                if matches!(tokio::time::timeout(Duration::from_secs(5), connect).await, Ok(Ok(_)))
                {
                    let stage = Stage::instant(StageKind::Ssh, format!("{ip}:22"), now_ms());
                    platform.boots.observe(mac, |boot| boot.note(stage));
                    return;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        let stopped = platform.tasks.token();
        tokio::select! {
            () = stopped.cancelled() => {}
            _ = tokio::time::timeout(SSH_LIMIT, look) => {}
        }
    });
}
