//! The task that owns a node's QEMU.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde_json::json;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::accel::Accel;
use crate::console::{Console, bound_log};
use crate::node::{Event, NodeError, Status};
use crate::process::Process;
use crate::qemu;
use crate::qmp::{Qmp, QmpEvent};
use crate::running::{self, Running};
use crate::spec::NodeSpec;
use crate::tap;
use walt_model::settings::BootDelay;

/// How long QEMU may take to end by itself before it is killed.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// Delay before a guest that switched itself off is started again.
const POWER_OFF_DELAY: Duration = Duration::from_secs(1);
/// First and longest delay before a QEMU that died is started again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A QEMU that ran this long did not die of its start.
const STABLE: Duration = Duration::from_secs(60);
/// How long a panicked guest may take to restart by itself.
const PANIC_PATIENCE: Duration = Duration::from_secs(15);
/// Period of upkeep: lost connections, size of the log.
const UPKEEP: Duration = Duration::from_secs(1);

/// What a supervisor is told.
pub(crate) enum Order {
    Status(oneshot::Sender<Status>),
    Reset(oneshot::Sender<Result<(), NodeError>>),
    PowerCycle(oneshot::Sender<Result<(), NodeError>>),
    Stop(oneshot::Sender<Result<(), NodeError>>),
    Start(oneshot::Sender<Result<(), NodeError>>),
    Remove(oneshot::Sender<Result<(), NodeError>>),
}

pub(crate) struct Supervisor {
    spec: Arc<RwLock<NodeSpec>>,
    console: Arc<Console>,
    events: broadcast::Sender<Event>,
    running: Option<Running>,
    /// When QEMU is to be started again.
    start_at: Option<Instant>,
    backoff: Duration,
    respawns: u32,
    last_accel: Option<Accel>,
}

enum Happening {
    Cancelled,
    Order(Option<Order>),
    Qmp(Option<QmpEvent>),
    Ended,
    TimeToStart,
    Upkeep,
}

impl Supervisor {
    pub(crate) fn new(
        spec: Arc<RwLock<NodeSpec>>,
        console: Arc<Console>,
        events: broadcast::Sender<Event>,
    ) -> Self {
        Self {
            spec,
            console,
            events,
            running: None,
            start_at: None,
            backoff: BACKOFF.0,
            respawns: 0,
            last_accel: None,
        }
    }

    pub(crate) async fn run(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        cancel: CancellationToken,
    ) {
        let mut upkeep = tokio::time::interval(UPKEEP);
        upkeep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let start_at = self.start_at;
            let happening = {
                let (process, events) = match &mut self.running {
                    Some(running) => {
                        (Some(&running.process), running.qmp.as_mut().map(|(_, events)| events))
                    }
                    None => (None, None),
                };
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => Happening::Cancelled,
                    event = next(events) => Happening::Qmp(event),
                    () = ended(process) => Happening::Ended,
                    order = orders.recv() => Happening::Order(order),
                    () = until(start_at) => Happening::TimeToStart,
                    _ = upkeep.tick() => Happening::Upkeep,
                }
            };
            match happening {
                // QEMU goes on; the next supervisor finds it.
                Happening::Cancelled | Happening::Order(None) => return,
                Happening::Order(Some(Order::Remove(reply))) => {
                    let _ = reply.send(self.remove().await);
                    return;
                }
                Happening::Order(Some(order)) => self.obey(order).await,
                Happening::Qmp(Some(event)) => {
                    self.heard(&event);
                    if event.name == "RESET" {
                        self.renew().await;
                    }
                }
                Happening::Qmp(None) => {
                    // QEMU ends, or the connection is broken: upkeep makes it again.
                    if let Some(running) = &mut self.running {
                        running.qmp = None;
                    }
                }
                Happening::Ended => self.lost().await,
                Happening::TimeToStart => {
                    if let Err(error) = self.start().await {
                        self.start_failed(&error);
                    }
                }
                Happening::Upkeep => self.upkeep().await,
            }
        }
    }

    /// Finds the QEMU that runs for this node, or starts one.
    pub(crate) async fn adopt_or_start(&mut self) -> Result<(), NodeError> {
        let spec = self.spec();
        let Some((running, accel)) = running::find(&spec.dir) else {
            return self.start_after_pause().await;
        };
        if let Err(error) = tap::plug(&spec.tap_name(), &spec.bridge) {
            // EBUSY: QEMU holds the tap. It is there, which is all we want.
            if !tap::exists(&spec.tap_name()) {
                tracing::warn!(node = spec.name, %error, "the network plug of a running virtual node is gone");
            }
        }
        let pid = running.process.identity().pid;
        self.last_accel = Some(accel);
        self.running = Some(running);
        self.upkeep().await;
        tracing::info!(node = spec.name, pid, "virtual node found running");
        let _ = self.events.send(Event::Adopted(pid));
        Ok(())
    }

    /// Takes the tap away, after a start that failed and will not be tried again.
    pub(crate) fn unplug(&self) {
        let spec = self.spec();
        if let Err(error) = tap::unplug(&spec.tap_name()) {
            tracing::warn!(node = spec.name, %error, "a network plug stays");
        }
    }

    fn spec(&self) -> NodeSpec {
        self.spec.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn start(&mut self) -> Result<(), NodeError> {
        self.start_at = None;
        let spec = self.spec();
        let (running, accel) = running::launch(&spec, &self.console).await?;
        let pid = running.process.identity().pid;
        self.last_accel = Some(accel);
        self.running = Some(running);
        tracing::info!(node = spec.name, pid, ?accel, "virtual node started");
        let _ = self.events.send(Event::Started(pid));
        Ok(())
    }

    /// The pause before a start of the guest.
    fn pause(&self) -> Duration {
        let seconds = match self.spec().boot_delay {
            BootDelay::Seconds(seconds) => seconds,
            BootDelay::Random => rand::random_range(1..=10),
        };
        Duration::from_secs(seconds.into())
    }

    /// Starts QEMU, at once or after the pause.
    async fn start_after_pause(&mut self) -> Result<(), NodeError> {
        let pause = self.pause();
        if pause.is_zero() {
            return self.start().await;
        }
        self.start_at = Some(Instant::now() + pause);
        Ok(())
    }

    /// The guest boots again: a QEMU that is not as wanted any more, or must wait, is replaced.
    async fn renew(&mut self) {
        let (Some(running), Some(accel)) = (&self.running, self.last_accel) else { return };
        let (spec, pause) = (self.spec(), self.pause());
        if running.is_as_wanted(&spec, accel) && pause.is_zero() {
            return;
        }
        match self.stop(Duration::ZERO).await {
            Ok(()) => self.start_at = Some(Instant::now() + pause),
            Err(error) => {
                tracing::warn!(node = spec.name, %error, "it goes on with its old settings");
            }
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Status(reply) => {
                let _ = reply.send(self.status().await);
            }
            Order::Reset(reply) => {
                let _ = reply.send(self.reset().await);
            }
            Order::Stop(reply) => {
                let stopped = self.stop(END_PATIENCE).await;
                // Plugged again by the next start; until then nothing of a stopped node is in the network.
                if stopped.is_ok()
                    && let Err(error) = self.unplugged().await
                {
                    tracing::warn!(node = self.spec().name, %error, "a network plug stays");
                }
                let _ = reply.send(stopped);
            }
            Order::Start(reply) => {
                let started =
                    if self.running.is_some() { Ok(()) } else { self.start_after_pause().await };
                let _ = reply.send(self.reported(started));
            }
            Order::PowerCycle(reply) => {
                let stopped = self.stop(Duration::ZERO).await;
                let outcome = match stopped {
                    Ok(()) => self.start_after_pause().await,
                    Err(error) => Err(error),
                };
                let _ = reply.send(self.reported(outcome));
            }
            // Handled where the task can end.
            Order::Remove(_) => {}
        }
    }

    /// A failed start is told to who asked, and tried again.
    fn reported(&mut self, outcome: Result<(), NodeError>) -> Result<(), NodeError> {
        if let Err(error) = &outcome {
            self.start_failed(error);
        }
        outcome
    }

    fn start_failed(&mut self, error: &NodeError) {
        let retry_in = self.next_backoff();
        tracing::warn!(%error, ?retry_in, "a virtual node did not start");
        self.start_at = Some(Instant::now() + retry_in);
        let _ = self.events.send(Event::StartFailed { reason: error.to_string(), retry_in });
    }

    fn next_backoff(&mut self) -> Duration {
        let delay = self.backoff;
        self.backoff = (delay * 2).min(BACKOFF.1);
        delay
    }

    async fn status(&self) -> Status {
        let mut guest = None;
        if let Some((qmp, _)) = self.running.as_ref().and_then(|running| running.qmp.as_ref())
            && let Ok(answer) = qmp.execute("query-status", json!({})).await
        {
            guest = answer["status"].as_str().map(str::to_owned);
        }
        let uptime = self.running.as_ref().map(|running| running.uptime());
        Status {
            pid: self.running.as_ref().map(|running| running.process.identity().pid),
            guest,
            accel: self.last_accel,
            respawns: self.respawns,
            uptime,
        }
    }

    async fn reset(&mut self) -> Result<(), NodeError> {
        let running = self.running.as_ref().ok_or_else(|| NodeError::Off(self.spec().name))?;
        match &running.qmp {
            Some((qmp, _)) => qmp.execute("system_reset", json!({})).await.map(drop)?,
            None => return Err(crate::qmp::QmpError::NoAnswer("system_reset".into()).into()),
        }
        Ok(())
    }

    async fn stop(&mut self, patience: Duration) -> Result<(), NodeError> {
        self.start_at = None;
        let Some(mut running) = self.running.take() else { return Ok(()) };
        let pid = running.process.identity().pid;
        if !running.process.end(patience).await {
            self.running = Some(running);
            return Err(NodeError::Stuck { name: self.spec().name, pid });
        }
        if let Some(child) = &mut running.child {
            let _ = child.wait().await;
        }
        running::forget(&self.spec().dir);
        self.backoff = BACKOFF.0;
        let _ = self.events.send(Event::Stopped);
        Ok(())
    }

    /// Deletes the tap of a QEMU that has ended.
    async fn unplugged(&self) -> io::Result<()> {
        let tap = self.spec().tap_name();
        // The kernel lets go of a killed QEMU's descriptors a little after its end.
        let mut unplugged = tap::unplug(&tap);
        for _ in 0..50 {
            if unplugged.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            unplugged = tap::unplug(&tap);
        }
        unplugged
    }

    async fn remove(&mut self) -> Result<(), NodeError> {
        self.stop(Duration::ZERO).await?;
        let spec = self.spec();
        let name = spec.name.clone();
        let io_error = |what: String| move |source| NodeError::Io { name, what, source };
        let tap = spec.tap_name();
        let unplugged = self.unplugged().await;
        let dir = spec.dir.clone();
        let deleted = match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        match (unplugged, deleted) {
            (Err(error), _) => Err(io_error(format!("delete its network plug {tap}"))(error)),
            (_, Err(error)) => Err(io_error(format!("delete {}", dir.display()))(error)),
            _ => Ok(()),
        }
    }

    fn heard(&mut self, event: &QmpEvent) {
        let Some(running) = &mut self.running else { return };
        match event.name.as_str() {
            "RESET" => {
                running.reset_at = None;
                let _ = self.events.send(Event::Reset);
            }
            "SHUTDOWN" => running.powered_off = event.data["guest"].as_bool().unwrap_or(false),
            "GUEST_PANICKED" => {
                running.reset_at = Some(Instant::now() + PANIC_PATIENCE);
                let _ = self.events.send(Event::Panicked);
            }
            _ => {}
        }
    }

    /// QEMU ended without our asking.
    async fn lost(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        // What QEMU said last may still be waiting.
        while let Some((_, events)) = &mut running.qmp
            && let Ok(event) = events.try_recv()
        {
            if event.name == "SHUTDOWN" {
                running.powered_off = event.data["guest"].as_bool().unwrap_or(false);
            }
        }
        let spec = self.spec();
        running::forget(&spec.dir);
        let mut reason = match &mut running.child {
            Some(child) => child
                .wait()
                .await
                .map_or_else(|error| error.to_string(), |status| status.to_string()),
            None => "ended".to_owned(),
        };
        if running.powered_off {
            self.start_at = Some(Instant::now() + POWER_OFF_DELAY + self.pause());
            let _ = self.events.send(Event::PoweredOff);
            return;
        }
        if running.uptime() > STABLE {
            self.backoff = BACKOFF.0;
        }
        let words = running::last_words(&spec.dir);
        if !words.is_empty() {
            reason = format!("{reason}: {words}");
        }
        let respawn_in = self.next_backoff();
        self.respawns += 1;
        self.start_at = Some(Instant::now() + respawn_in);
        tracing::warn!(
            node = spec.name,
            reason,
            ?respawn_in,
            "QEMU of a virtual node ended by itself"
        );
        let _ = self.events.send(Event::Died { reason, respawn_in });
    }

    async fn upkeep(&mut self) {
        let dir = self.spec().dir;
        if let Err(error) = bound_log(&dir) {
            tracing::warn!(%error, dir = %dir.display(), "a console log cannot be kept small");
        }
        let Some(running) = &mut self.running else { return };
        if running.qmp.is_none()
            && let Ok((qmp, events)) = Qmp::connect(&dir, qemu::QMP_SOCKET).await
        {
            running.qmp = Some((qmp, events));
        }
        if running.console.as_ref().is_none_or(JoinHandle::is_finished) {
            running.console = self.console.connect(&dir).await.ok();
        }
        let Some((qmp, _)) = &running.qmp else { return };
        if running.reset_at.is_some_and(|at| at <= Instant::now()) {
            running.reset_at = None;
            let _ = qmp.execute("system_reset", json!({})).await;
        }
        // A server was killed between the start of this QEMU and its `cont`.
        if running.child.is_none()
            && let Ok(answer) = qmp.execute("query-status", json!({})).await
            && answer["status"] == "prelaunch"
        {
            let _ = qmp.execute("cont", json!({})).await;
        }
    }
}

async fn next(events: Option<&mut mpsc::Receiver<QmpEvent>>) -> Option<QmpEvent> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

async fn ended(process: Option<&Process>) {
    match process {
        Some(process) => process.ended().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
