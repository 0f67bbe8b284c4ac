//! A QEMU that runs: how it is started, noted in the node's directory, and found again by another server.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::accel::{self, Accel};
use crate::console::{Console, tail};
use crate::disk;
use crate::node::NodeError;
use crate::process::{Identity, Process, by_pid_file};
use crate::qemu::{self, Uefi};
use crate::qmp::{Qmp, QmpEvent};
use crate::spec::{Firmware, NodeSpec};
use crate::tap;

/// What is known of the QEMU that runs, in the node's directory.
const RECORD: &str = "qemu.json";
/// How long QEMU may take to open its sockets.
const START_DEADLINE: Duration = Duration::from_secs(15);

#[derive(Serialize, Deserialize)]
struct Record {
    identity: Identity,
    accel: Accel,
    /// Seconds since 1970.
    started: u64,
    /// The command line, for a person who looks.
    args: Vec<String>,
}

/// A QEMU that runs.
pub(crate) struct Running {
    pub(crate) process: Process,
    /// Ours to wait for, when this server started it.
    pub(crate) child: Option<Child>,
    pub(crate) qmp: Option<(Qmp, mpsc::Receiver<QmpEvent>)>,
    pub(crate) console: Option<JoinHandle<()>>,
    started: u64,
    /// Its command line.
    args: Vec<String>,
    /// The guest asked for its power to be cut.
    pub(crate) powered_off: bool,
    /// When a panicked guest is reset.
    pub(crate) reset_at: Option<Instant>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(console) = &self.console {
            console.abort();
        }
    }
}

impl Running {
    fn new(process: Process, child: Option<Child>, started: u64, args: Vec<String>) -> Self {
        let (qmp, console, powered_off, reset_at) = (None, None, false, None);
        Self { process, child, qmp, console, started, args, powered_off, reset_at }
    }

    pub(crate) fn uptime(&self) -> Duration {
        Duration::from_secs(now().saturating_sub(self.started))
    }

    /// Is it the QEMU this node would be given now?
    pub(crate) fn is_as_wanted(&self, spec: &NodeSpec, accel: Accel) -> bool {
        let uefi = match spec.firmware {
            Firmware::Bios => None,
            Firmware::Uefi => Uefi::find(),
        };
        self.args == qemu::arguments(spec, accel, uefi.as_ref())
            && disk::are_made(&spec.dir, &spec.disks)
    }
}

/// The QEMU that runs for this node, started by an earlier server.
pub(crate) fn find(dir: &Path) -> Option<(Running, Accel)> {
    let record = std::fs::read(dir.join(RECORD)).ok();
    let record = record.and_then(|text| serde_json::from_slice::<Record>(&text).ok());
    if let Some(Record { identity, accel, started, args }) = record
        && let Ok(process) = Process::hold(&identity)
    {
        return Some((Running::new(process, None, started, args), accel));
    }
    let process = Process::hold(&by_pid_file(&dir.join(qemu::PID_FILE))?).ok()?;
    Some((Running::new(process, None, now(), Vec::new()), Accel::Tcg))
}

/// No QEMU runs for this node any more.
pub(crate) fn forget(dir: &Path) {
    let _ = std::fs::remove_file(dir.join(RECORD));
}

/// Starts QEMU and its guest.
///
/// # Errors
/// Something it needs is missing; it ended, or did not answer in [`START_DEADLINE`]. Nothing runs then.
pub(crate) async fn launch(
    spec: &NodeSpec,
    console: &Arc<Console>,
) -> Result<(Running, Accel), NodeError> {
    let io_error = |what: &str| {
        let (name, what) = (spec.name.clone(), what.to_owned());
        move |source: io::Error| NodeError::Io { name, what, source }
    };
    std::fs::create_dir_all(&spec.dir).map_err(io_error("make its directory"))?;
    let uefi = match spec.firmware {
        Firmware::Bios => None,
        Firmware::Uefi => Some(Uefi::find().ok_or(NodeError::NoUefi)?),
    };
    if let Some(uefi) = &uefi {
        copy_once(&uefi.vars, &spec.dir.join(qemu::UEFI_VARS))
            .map_err(io_error("copy the UEFI variables"))?;
    }
    tap::plug(&spec.tap_name(), &spec.bridge).map_err(io_error("plug it into its network"))?;
    disk::make(&spec.dir, &spec.disks)
        .await
        .map_err(|source| NodeError::Disk { name: spec.name.clone(), source })?;
    let accel = accel::probe().await.accel;
    let args = qemu::arguments(spec, accel, uefi.as_ref());
    let child =
        spawn(&spec.dir, &args).map_err(io_error("run qemu-system-x86_64 (is QEMU installed?)"))?;
    let failed = |reason: String| NodeError::Start { name: spec.name.clone(), reason };
    let identity = child
        .id()
        .and_then(|pid| Identity::of(pid).ok())
        .ok_or_else(|| failed(last_words(&spec.dir)))?;
    let process = Process::hold(&identity).map_err(|_| failed(last_words(&spec.dir)))?;
    let record = Record { identity, accel, started: now(), args: args.clone() };
    if let Err(error) = write_record(&spec.dir, &record) {
        // A full disk: a QEMU nobody knows of would hold the tap for ever.
        process.end(Duration::ZERO).await;
        return Err(io_error("note its process")(error));
    }
    let mut running = Running::new(process, Some(child), record.started, args);
    if let Err(error) = wake(&mut running, spec, console).await {
        running.process.end(Duration::ZERO).await;
        forget(&spec.dir);
        return Err(error);
    }
    Ok((running, accel))
}

/// Connects to a QEMU that just started, then lets its guest begin.
async fn wake(
    running: &mut Running,
    spec: &NodeSpec,
    console: &Arc<Console>,
) -> Result<(), NodeError> {
    let failed = |reason: String| NodeError::Start { name: spec.name.clone(), reason };
    let connected = tokio::time::timeout(START_DEADLINE, connect(&spec.dir, console));
    let (qmp, console) = tokio::select! {
        () = running.process.ended() => return Err(failed(last_words(&spec.dir))),
        connected = connected => connected.map_err(|_| failed(format!(
            "its sockets did not open in {} s: {}", START_DEADLINE.as_secs(), last_words(&spec.dir)
        )))?,
    };
    running.console = Some(console);
    // The console is connected: the guest may speak.
    let speaks = qmp.0.execute("cont", json!({})).await;
    running.qmp = Some(qmp);
    Ok(speaks.map(drop)?)
}

/// Both sockets of a QEMU that just started.
async fn connect(
    dir: &Path,
    console: &Arc<Console>,
) -> ((Qmp, mpsc::Receiver<QmpEvent>), JoinHandle<()>) {
    loop {
        if let Ok(qmp) = Qmp::connect(dir, qemu::QMP_SOCKET).await
            && let Ok(console) = console.connect(dir).await
        {
            return (qmp, console);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// Runs QEMU in a session of its own: signals meant for the server do not reach it.
fn spawn(dir: &Path, args: &[String]) -> io::Result<Child> {
    let messages = std::fs::File::create(dir.join(qemu::MESSAGES))?;
    let mut command = tokio::process::Command::new(qemu::PROGRAM);
    command
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(messages.try_clone()?)
        .stderr(messages);
    // SAFETY: setsid(2) is async-signal-safe and touches nothing of ours.
    unsafe {
        command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?));
    }
    command.spawn()
}

/// The end of QEMU's messages.
pub(crate) fn last_words(dir: &Path) -> String {
    let words = tail(&dir.join(qemu::MESSAGES), 600).unwrap_or_default();
    String::from_utf8_lossy(&words).trim().to_owned()
}

fn write_record(dir: &Path, record: &Record) -> io::Result<()> {
    let temporary = dir.join("qemu.json.new");
    std::fs::write(&temporary, serde_json::to_vec_pretty(record)?)?;
    std::fs::rename(temporary, dir.join(RECORD))
}

fn copy_once(from: &Path, to: &Path) -> io::Result<()> {
    if to.exists() {
        return Ok(());
    }
    let temporary = to.with_extension("new");
    std::fs::copy(from, &temporary)?;
    std::fs::rename(temporary, to)
}
