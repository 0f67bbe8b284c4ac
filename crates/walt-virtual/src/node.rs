//! One virtual node, as the rest of the server sees it.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::accel::Accel;
use crate::console::Console;
use crate::qmp::QmpError;
use crate::spec::{NodeSpec, SpecError};
use crate::supervisor::{Order, Supervisor};

/// Why an operation on a virtual node failed.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The spec is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A virtual node keeps its address and its directory.
    #[error(
        "the address and the directory of the virtual node '{0}' cannot change; remove it and create another"
    )]
    Identity(String),
    /// A file or the network plug could not be made or removed.
    #[error("virtual node '{name}': cannot {what}: {source}")]
    Io {
        /// Node name.
        name: String,
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A disk could not be made.
    #[error("virtual node '{name}': {source}")]
    Disk {
        /// Node name.
        name: String,
        /// Why.
        source: crate::disk::DiskError,
    },
    /// No UEFI firmware on this machine.
    #[error(
        "no UEFI firmware (OVMF) found: install the package ovmf, or set WALT_OVMF_CODE and WALT_OVMF_VARS"
    )]
    NoUefi,
    /// QEMU ended at once.
    #[error("QEMU of the virtual node '{name}' did not start: {reason}")]
    Start {
        /// Node name.
        name: String,
        /// QEMU's words.
        reason: String,
    },
    /// QEMU did not do what it was told.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// QEMU is not running.
    #[error("the virtual node '{0}' is switched off")]
    Off(String),
    /// QEMU survives SIGKILL.
    #[error(
        "QEMU of the virtual node '{name}' (process {pid}) cannot be killed; is its disk or network stuck?"
    )]
    Stuck {
        /// Node name.
        name: String,
        /// Process id.
        pid: u32,
    },
    /// Its supervisor ended.
    #[error("the virtual node '{0}' was removed")]
    Removed(String),
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
    /// The guest switched itself off; it is started again in a second.
    PoweredOff,
    /// The guest's kernel panicked; it is reset unless it restarts by itself within 15 s.
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
    /// KVM or emulation; None before the first start.
    pub accel: Option<Accel>,
    /// How many times QEMU was started again because it had died.
    pub respawns: u32,
    /// How long QEMU has been running.
    pub uptime: Option<Duration>,
}

/// A virtual node and its supervisor task. Dropping it leaves QEMU running: `open` finds it again.
#[derive(Debug)]
pub struct VirtualNode {
    spec: Arc<RwLock<NodeSpec>>,
    console: Arc<Console>,
    events: broadcast::Sender<Event>,
    orders: mpsc::Sender<Order>,
    _supervising: DropGuard,
}

impl VirtualNode {
    /// Adopts the QEMU of this node if one runs (started by this server or an earlier one), else
    /// starts one. Supervises it until `remove` or drop.
    ///
    /// # Errors
    /// The spec is wrong; the directory or the tap cannot be made; QEMU does not start.
    pub async fn open(mut spec: NodeSpec) -> Result<Self, NodeError> {
        spec.validate()?;
        let io_error = |what: &str, source| NodeError::Io {
            name: spec.name.clone(),
            what: what.to_owned(),
            source,
        };
        std::fs::create_dir_all(&spec.dir)
            .map_err(|error| io_error(&format!("make {}", spec.dir.display()), error))?;
        // QEMU is known by the path of its pid file: always the same one.
        let dir: PathBuf =
            spec.dir.canonicalize().map_err(|error| io_error("resolve its directory", error))?;
        spec.dir = dir;
        let console = Console::open(&spec.dir);
        let spec = Arc::new(RwLock::new(spec));
        let events = broadcast::channel(256).0;
        let mut supervisor = Supervisor::new(spec.clone(), console.clone(), events.clone());
        if let Err(error) = supervisor.adopt_or_start().await {
            supervisor.unplug();
            return Err(error);
        }
        let (orders, receiver) = mpsc::channel(16);
        let cancel = CancellationToken::new();
        tokio::spawn(supervisor.run(receiver, cancel.clone()));
        Ok(Self { spec, console, events, orders, _supervising: cancel.drop_guard() })
    }

    /// Its spec.
    pub fn spec(&self) -> NodeSpec {
        self.spec.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the spec; used from the next boot of the guest on (`power_cycle` to apply now).
    ///
    /// # Errors
    /// The spec is wrong, or its address or directory changed.
    pub fn reconfigure(&self, mut spec: NodeSpec) -> Result<(), NodeError> {
        spec.validate()?;
        spec.dir = spec.dir.canonicalize().unwrap_or(spec.dir);
        let mut current = self.spec.write().unwrap_or_else(PoisonError::into_inner);
        if spec.mac != current.mac || spec.dir != current.dir {
            return Err(NodeError::Identity(spec.name));
        }
        *current = spec;
        Ok(())
    }

    /// The serial console.
    pub fn console(&self) -> Arc<Console> {
        self.console.clone()
    }

    /// Events from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// What it is doing.
    ///
    /// # Errors
    /// It was removed.
    pub async fn status(&self) -> Result<Status, NodeError> {
        self.order(Order::Status).await
    }

    /// Presses the reset button: the guest netboots again, QEMU stays.
    ///
    /// # Errors
    /// QEMU does not run or does not answer.
    pub async fn reset(&self) -> Result<(), NodeError> {
        self.order(Order::Reset).await?
    }

    /// Pulls the plug and puts it back: QEMU is killed and started with the current spec.
    ///
    /// # Errors
    /// QEMU does not start (it is tried again later).
    pub async fn power_cycle(&self) -> Result<(), NodeError> {
        self.order(Order::PowerCycle).await?
    }

    /// Stops QEMU and keeps the node's directory and plug.
    ///
    /// # Errors
    /// QEMU survives SIGKILL.
    pub async fn stop(&self) -> Result<(), NodeError> {
        self.order(Order::Stop).await?
    }

    /// Starts QEMU if it does not run.
    ///
    /// # Errors
    /// QEMU does not start (it is tried again later).
    pub async fn start(&self) -> Result<(), NodeError> {
        self.order(Order::Start).await?
    }

    /// Stops QEMU, deletes its tap and its directory: nothing is left.
    ///
    /// # Errors
    /// Something could not be removed.
    pub async fn remove(self) -> Result<(), NodeError> {
        self.order(Order::Remove).await?
    }

    async fn order<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<T>) -> Order,
    ) -> Result<T, NodeError> {
        let (reply, answer) = oneshot::channel();
        let removed = || NodeError::Removed(self.spec().name);
        self.orders.send(order(reply)).await.map_err(|_| removed())?;
        answer.await.map_err(|_| removed())
    }
}
