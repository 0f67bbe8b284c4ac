//! Putting the parts together: open, start, wait, stop.

mod start;
mod stop;

use std::fs::{DirBuilder, File, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use walt_model::ServerConf;

use crate::capture::Capture;
use crate::options::RunOptions;
use crate::platform::Platform;

/// Messages of the server on its error output; the environment variable `WALT_LOG` chooses them
/// (`info` by default, `debug`, `walt_nfs=trace`...).
pub fn start_tracing() {
    let filter = EnvFilter::try_from_env("WALT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let journal = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let to = tracing_subscriber::registry().with(filter).with(journal).with(Capture);
    // Refused only when it was done before.
    let _ = to.try_init();
}

/// Each node holds several connections: as many files as the system lets us have.
pub fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit on open files stays low");
    }
}

/// Runs the platform until SIGTERM or SIGINT.
///
/// # Errors
/// What prevents it from starting; nothing is left then.
pub fn run(conf: ServerConf, options: RunOptions) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(live(conf, options));
    // Blocking threads that hang (a dead disk) must not hold the end of the process.
    runtime.shutdown_timeout(Duration::from_secs(2));
    result
}

async fn live(conf: ServerConf, options: RunOptions) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let cancel = CancellationToken::new();
    let places = Places::prepare(&options)?;
    let _lock = places.lock().await?;

    // A start that is interrupted ends soon, one way or the other; then what it made is undone.
    let mut starting = std::pin::pin!(start::start(&conf, &places, cancel.clone()));
    let started = tokio::select! {
        started = &mut starting => started,
        () = signalled(&mut term, &mut interrupt) => {
            tracing::info!("stopping before the platform is up");
            cancel.cancel();
            match starting.await {
                Ok(platform) => Ok(platform),
                Err(error) => {
                    tracing::debug!("the start ended with: {error:#}");
                    return Ok(());
                }
            }
        }
    };
    let platform = started?;
    if !cancel.is_cancelled() {
        ready(&platform);
        signalled(&mut term, &mut interrupt).await;
        tracing::info!("stopping");
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    stop::stop(platform, &places, options.stop_nodes_on_exit).await
}

/// Waits for SIGTERM or SIGINT.
async fn signalled(term: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Tells systemd that the platform is up, and goes on telling it.
fn ready(platform: &Platform) {
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!(
        network = %platform.place.subnet,
        devices = platform.registry.devices().len(),
        images = platform.images.count(),
        "walt-server {} is ready", env!("CARGO_PKG_VERSION")
    );
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let cancel = platform.tasks.token();
    platform.tasks.spawn("systemd watchdog", async move {
        let mut beat = tokio::time::interval(limit / 3);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = beat.tick() => {
                    let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
                }
            }
        }
    });
}

/// How long a standby may take to make room for the server.
const HANDOVER: Duration = Duration::from_secs(3);

/// Directories of the state no user of this machine may enter: root of a node or an image decides what is in
/// them (a program with the setuid bit in `/persist` would be root here too), and images may hold secrets.
const PRIVATE: [&str; 6] = ["downloads", "nodes", "roots", "sessions", "virtual", "work"];

/// The directories of a platform.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub state: PathBuf,
    pub run: PathBuf,
    pub pxe: PathBuf,
}

impl Places {
    fn prepare(options: &RunOptions) -> anyhow::Result<Self> {
        let made = |dir: &Path| -> anyhow::Result<PathBuf> {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(dir)
                .with_context(|| format!("cannot make {}", dir.display()))?;
            dir.canonicalize().with_context(|| format!("cannot use {}", dir.display()))
        };
        let state = made(&options.state_dir)?;
        let run = made(&options.run_dir)?;
        crate::killpoint::enable(&run);
        for name in PRIVATE {
            let dir = made(&state.join(name))?;
            std::fs::set_permissions(&dir, Permissions::from_mode(0o700))
                .with_context(|| format!("cannot close {} to others", dir.display()))?;
        }
        let pxe = options.pxe_dir.clone().unwrap_or_else(|| state.join("pxe"));
        Ok(Self { pxe: made(&pxe)?, state, run })
    }

    /// One server per state directory. A standby holds the lock for moments only.
    async fn lock(&self) -> anyhow::Result<nix::fcntl::Flock<File>> {
        let path = self.state.join("lock");
        let mut file =
            File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let began = Instant::now();
        while began.elapsed() < HANDOVER {
            match nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((again, _)) => file = again,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("another walt-server uses {} (its lock is held)", self.state.display())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.run.join("api.sock")
    }
}
