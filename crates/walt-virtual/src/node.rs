//! One supervised QEMU.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use crate::accel::Accel;
use crate::console::Console;
use crate::spec::{NodeSpec, SpecError};

/// Why an operation on a virtual node failed.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The spec is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

/// What happens to a virtual node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A QEMU was started (pid).
    Started(u32),
    /// A running QEMU of a previous server was found and is supervised again (pid).
    Adopted(u32),
    /// The guest was reset, by us or by itself; it boots again.
    Reset,
    /// The guest switched itself off; it is started again.
    PoweredOff,
    /// The guest's kernel panicked (seen when the guest has a pvpanic device).
    Panicked,
    /// QEMU ended without being asked; it is started again after this delay.
    Died {
        /// What is known: exit status or signal, last words.
        reason: String,
        /// When it is started again.
        respawn_in: Duration,
    },
    /// QEMU was stopped on request.
    Stopped,
    /// A start failed; it is tried again after this delay.
    StartFailed {
        /// Why.
        reason: String,
        /// When it is tried again.
        retry_in: Duration,
    },
}

/// What a virtual node is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whether a QEMU runs, and its process id.
    pub pid: Option<u32>,
    /// State of the guest as QEMU words it (`running`, `shutdown`, `paused`, ...).
    pub guest: Option<String>,
    /// KVM or emulation.
    pub accel: Accel,
    /// How many times QEMU was started again because it had died.
    pub respawns: u32,
    /// How long QEMU has been running.
    pub uptime: Option<Duration>,
}

/// A virtual node and its supervisor task. Dropping it leaves QEMU running: `open` finds it again.
#[derive(Debug)]
pub struct VirtualNode {}

impl VirtualNode {
    /// Adopts the QEMU of this node if one runs (started by this server or an earlier one), else
    /// starts one. Supervises it until `stop`, `remove` or drop.
    ///
    /// # Errors
    /// The spec is wrong; the directory or the tap cannot be made; QEMU does not start.
    pub async fn open(spec: NodeSpec) -> Result<Self, NodeError> {
        unimplemented!("{spec:?}")
    }

    /// Its spec.
    pub fn spec(&self) -> NodeSpec {
        unimplemented!()
    }

    /// Replaces the spec; used from the next QEMU start on (`power_cycle` to apply now).
    ///
    /// # Errors
    /// The spec is wrong.
    pub fn reconfigure(&self, spec: NodeSpec) -> Result<(), NodeError> {
        unimplemented!("{spec:?}")
    }

    /// The serial console.
    pub fn console(&self) -> Arc<Console> {
        unimplemented!()
    }

    /// Events from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        unimplemented!()
    }

    /// What it is doing.
    pub async fn status(&self) -> Status {
        unimplemented!()
    }

    /// Presses the reset button: the guest netboots again, QEMU stays.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub async fn reset(&self) -> Result<(), NodeError> {
        unimplemented!()
    }

    /// Pulls the plug and puts it back: QEMU is killed and started with the current spec.
    ///
    /// # Errors
    /// QEMU does not start.
    pub async fn power_cycle(&self) -> Result<(), NodeError> {
        unimplemented!()
    }

    /// Stops QEMU and keeps the node's directory.
    ///
    /// # Errors
    /// QEMU survives SIGKILL.
    pub async fn stop(&self) -> Result<(), NodeError> {
        unimplemented!()
    }

    /// Starts QEMU after a `stop`.
    ///
    /// # Errors
    /// QEMU does not start.
    pub async fn start(&self) -> Result<(), NodeError> {
        unimplemented!()
    }

    /// Stops QEMU, deletes its tap and its directory: nothing is left.
    ///
    /// # Errors
    /// Something could not be removed.
    pub async fn remove(self) -> Result<(), NodeError> {
        unimplemented!()
    }
}
