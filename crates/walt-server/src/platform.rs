//! The heart of the server: what every service, workflow and API call looks at and changes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use walt_images::turn::Turns;
use walt_logs::{LogRecord, LogStore, StreamName, Timestamp};
use walt_model::{DownCause, Mac, Subnet, platform_lines};
use walt_netboot::policy::Seen;

use crate::boot::{BootBook, Facts};
use crate::counters::{Counters, count};
use crate::machines::Machines;
use crate::node_access::Ssh;
use crate::otlp::Export;
use crate::persist::PersistDirs;
use crate::presence::{Connection, Presence};
use crate::registry::{Device, Registry};
use crate::remotes::Remotes;
use crate::served::ServedImages;
use crate::sessions::Sessions;
use crate::state::State;
use crate::tasks::Tasks;
use crate::workflow::image::recover::Recovery;

/// Where this platform lives.
#[derive(Clone, Debug)]
pub struct Place {
    /// The platform network and the server's address in it.
    pub subnet: Subnet,
    /// Interface of that network on the server (also the bridge of virtual nodes).
    pub interface: String,
    /// The server's MAC address there.
    pub server_mac: Mac,
    /// What must survive.
    pub state_dir: PathBuf,
    /// What need not.
    pub run_dir: PathBuf,
    /// Boot loaders given to everybody.
    pub pxe_dir: PathBuf,
}

/// The platform.
pub struct Platform {
    /// Where it lives.
    pub place: Place,
    /// Devices and nodes.
    pub registry: Registry,
    /// What firmware asked for each address.
    pub firmwares: Seen,
    /// Which nodes are booted.
    pub presence: Presence,
    /// How nodes booted.
    pub boots: BootBook,
    /// Images and their roots.
    pub images: ServedImages,
    /// Registries, and the docker daemon of this machine.
    pub remotes: Remotes,
    /// Who changes which image.
    pub turns: Turns,
    /// Changes of images that were cut, and are to be settled first.
    pub recovery: Recovery,
    /// Shells in images.
    pub sessions: Sessions,
    /// Held while the history of an image name and the tags that hold its content are changed together.
    pub holding: tokio::sync::Mutex<()>,
    /// Persistent directories of nodes.
    pub persist: PersistDirs,
    /// Virtual machines.
    pub machines: Machines,
    /// Logs.
    pub logs: LogStore,
    /// What survives a restart.
    pub state: State,
    /// Held by a change of a device that is made in the registry and in the state: two at a time could
    /// be made in one order here and in the other there.
    pub changing: tokio::sync::Mutex<()>,
    /// How to enter nodes.
    pub ssh: Ssh,
    /// All tasks of this process.
    pub tasks: Tasks,
    /// What is counted since the start.
    pub counters: Counters,
    /// Log lines sent on to a collector, when there is one.
    pub otlp: Option<Arc<Export>>,
    /// What was said lately of a device, and why: that it cannot become a node, or lacks its firmware.
    pub said: Mutex<HashMap<(Mac, &'static str), Instant>>,
    /// One line per part that is not as it should be.
    pub problems: Mutex<Vec<String>>,
}

impl Platform {
    /// A line of the platform itself, in the log of the server device and in the journal.
    pub fn say(&self, stream: &'static str, line: &str) {
        tracing::info!(stream, "{line}");
        if let Ok(stream) = stream.parse::<StreamName>() {
            let record = LogRecord::line(self.place.server_mac, stream, Timestamp::now(), line);
            // A full queue is told by the store itself.
            if self.logs.sink().push(record).is_err() {
                count(&self.counters.log_lines_dropped);
            }
        }
    }

    /// Writes a device to the state, without waiting.
    pub fn save(&self, device: &Device) -> crate::state::Pending<()> {
        let (row, node) = device.to_state(self.presence.is_booted(device.mac));
        match node {
            Some(node) => self.state.put_device_and_node(row, node),
            None => self.state.put_device(row),
        }
    }

    /// A node confirmed its bootup. Gives the number of its connection.
    pub fn node_up(self: &Arc<Self>, device: &Device) -> Connection {
        let (connection, changed) = self.presence.connected(device.mac);
        if changed {
            count(&self.counters.boots);
            self.say(platform_lines::NODES_STREAM, &platform_lines::node_booted(&device.name));
            self.state.set_booted(device.mac, true).detach();
            self.boots.observe(device.mac, |boot| boot.up(now_ms()));
            crate::workflow::wait::watch_ssh(self, device);
        }
        connection
    }

    /// A node's connection was lost while the server goes on.
    pub fn node_lost(&self, device: &Device, connection: Connection) {
        if self.presence.disconnected(device.mac, connection) {
            self.now_down(device, &platform_lines::node_lost(&device.name));
        }
    }

    /// A node goes down because we made it.
    pub fn node_down(&self, device: &Device, cause: DownCause, method: &str) {
        if self.presence.went_down(device.mac) {
            let line = platform_lines::node_down(&device.name, cause, Some(method));
            self.now_down(device, &line);
        }
    }

    /// A node that was booted before a restart did not come back.
    pub fn node_gone(&self, device: &Device) {
        self.now_down(device, &platform_lines::node_lost(&device.name));
    }

    fn now_down(&self, device: &Device, line: &str) {
        count(&self.counters.downs);
        self.say(platform_lines::NODES_STREAM, line);
        self.state.set_booted(device.mac, false).detach();
        self.boots.observe(device.mac, |boot| boot.down(now_ms()));
    }

    /// What is known beside the time line of a node's boot.
    pub fn facts(&self, device: &Device) -> Facts {
        Facts {
            image_problem: device.node.as_ref().and_then(|node| self.images.problem(&node.image)),
            machine_problem: self.machines.problem(device.mac),
        }
    }

    /// Notes that a part is not as it should be.
    pub fn complain(&self, problem: String) {
        tracing::error!("{problem}");
        self.problems.lock().push(problem);
    }
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    ms_of(SystemTime::now())
}

/// A time in milliseconds since the Unix epoch.
pub fn ms_of(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
