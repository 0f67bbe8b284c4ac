//! The virtual machines of virtual nodes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use walt_model::Mac;
use walt_model::settings::Disk;
use walt_proto::api::node::Firmware;
use walt_virtual::disk::NoRoom;
use walt_virtual::{NodeError, NodeSpec, VirtualNode};

use crate::registry::Device;

/// All virtual machines of this server.
pub struct Machines {
    dir: PathBuf,
    bridge: String,
    running: Mutex<HashMap<Mac, Arc<VirtualNode>>>,
    problems: Mutex<HashMap<Mac, String>>,
    lives: Mutex<HashMap<Mac, Arc<tokio::sync::Mutex<Life>>>>,
}

/// Held while the machine of a node starts or goes, so that a node removed while its machine starts
/// leaves no machine behind.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Life {
    /// It may be started.
    #[default]
    Wanted,
    /// Its node was removed.
    Removed,
}

impl Machines {
    /// Machines with their files below `dir`, plugged into `bridge`.
    pub fn new(dir: PathBuf, bridge: String) -> Self {
        Self {
            dir,
            bridge,
            running: Mutex::default(),
            problems: Mutex::default(),
            lives: Mutex::default(),
        }
    }

    /// The machine of a node, if it was started.
    pub fn of(&self, mac: Mac) -> Option<Arc<VirtualNode>> {
        self.running.lock().get(&mac).cloned()
    }

    /// Why the machine of a node does not run, if that was tried and failed.
    pub fn problem(&self, mac: Mac) -> Option<String> {
        self.problems.lock().get(&mac).cloned()
    }

    /// Notes why a machine does not run, or that it does.
    pub fn set_problem(&self, mac: Mac, problem: Option<String>) {
        let mut problems = self.problems.lock();
        match problem {
            Some(problem) => problems.insert(mac, problem),
            None => problems.remove(&mac),
        };
    }

    /// Starts the machine of a device, or adopts the one that runs since before this server.
    pub async fn open(&self, device: &Device) -> Result<Arc<VirtualNode>, NodeError> {
        let life = self.life(device.mac);
        let life = life.lock().await;
        if *life == Life::Removed {
            return Err(NodeError::Off(device.name.to_string()));
        }
        let opened = match self.spec(device) {
            Some(spec) => VirtualNode::open(spec).await,
            None => return Err(walt_virtual::SpecError::Name(device.name.to_string()).into()),
        };
        match opened {
            Ok(machine) => {
                let machine = Arc::new(machine);
                self.running.lock().insert(device.mac, machine.clone());
                self.set_problem(device.mac, None);
                Ok(machine)
            }
            Err(error) => {
                self.set_problem(device.mac, Some(error.to_string()));
                Err(error)
            }
        }
    }

    /// Whether disks of nodes may all be filled, those these nodes have already being theirs.
    pub fn room_for(&self, wanted: &[(Option<Mac>, &[Disk])]) -> Result<(), NoRoom> {
        let dir = |mac: &Mac| self.dir.join(mac.dashed());
        let disks = wanted.iter().map(|(mac, disks)| (mac.as_ref().map(dir), *disks));
        walt_virtual::disk::room_for(&self.dir, disks)
    }

    /// The new name or settings of a device, for the next start of its machine.
    pub fn reconfigure(&self, device: &Device) {
        if let (Some(machine), Some(spec)) = (self.of(device.mac), self.spec(device))
            && let Err(error) = machine.reconfigure(spec)
        {
            tracing::warn!(node = %device.name, "its virtual machine keeps its old settings: {error}");
        }
    }

    /// Removes a machine and its files.
    pub async fn remove(&self, mac: Mac) -> Result<(), NodeError> {
        let life = self.life(mac);
        let mut life = life.lock().await;
        *life = Life::Removed;
        let machine = self.running.lock().remove(&mac);
        self.set_problem(mac, None);
        let Some(mut machine) = machine else { return Ok(()) };
        // Requests that look at it just now hold it for an instant.
        for _ in 0..100 {
            match Arc::try_unwrap(machine) {
                Ok(machine) => return machine.remove().await,
                Err(shared) => machine = shared,
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Somebody still holds it: it is ended all the same, and a next removal finds it here.
        self.running.lock().insert(mac, machine.clone());
        machine.stop().await
    }

    /// Stops all machines, keeping their files; gives those that did not stop.
    pub async fn stop_all(&self) -> Vec<NodeError> {
        let machines: Vec<_> = self.running.lock().drain().map(|(_, machine)| machine).collect();
        let stops = machines.iter().map(|machine| machine.stop());
        let results = futures_util::future::join_all(stops).await;
        results.into_iter().filter_map(Result::err).collect()
    }

    fn life(&self, mac: Mac) -> Arc<tokio::sync::Mutex<Life>> {
        self.lives.lock().entry(mac).or_default().clone()
    }

    fn spec(&self, device: &Device) -> Option<NodeSpec> {
        let machine = device.machine()?;
        Some(NodeSpec {
            // Names of devices may hold capital letters, those of machines may not.
            name: device.name.as_str().to_ascii_lowercase(),
            mac: device.mac.0,
            firmware: match machine.firmware {
                Firmware::Bios => walt_virtual::Firmware::Bios,
                Firmware::Uefi => walt_virtual::Firmware::Uefi,
            },
            ram_mb: machine.ram_mib,
            cpu_cores: machine.cpu_cores,
            disks: machine.disks,
            boot_delay: machine.boot_delay,
            bridge: self.bridge.clone(),
            dir: self.dir.join(device.mac.dashed()),
        })
    }
}
