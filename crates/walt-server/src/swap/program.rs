//! `walt-server swap`: the program that has the port, the connections and the files.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use tokio::io::BufStream;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::connection::Swap;
use super::link::{self, Link};
use super::space::Space;
use super::{CONNECTIONS, Owners};
use crate::ports::listener::{self, Bounds, Drops};

/// How often files are looked at.
const SWEEP: Duration = Duration::from_secs(60);

/// Where swap space is served.
#[derive(Clone, Debug, Args)]
pub struct SwapOptions {
    /// Address to listen on
    #[arg(long, value_name = "IP")]
    pub address: Ipv4Addr,
    /// TCP port to listen on
    #[arg(long, value_name = "PORT", default_value_t = super::PORT)]
    pub port: u16,
    /// Directory of the swap files
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Directory of the socket by which the server is told who calls
    #[arg(long, value_name = "DIR")]
    pub run_dir: PathBuf,
}

/// Runs until told to end.
///
/// # Errors
/// Another one runs, or the port is taken.
pub fn run(options: &SwapOptions) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(live(options));
    runtime.shutdown_timeout(Duration::from_secs(2));
    result
}

async fn live(options: &SwapOptions) -> anyhow::Result<()> {
    let _lock = lock(&options.run_dir.join("swap.lock"))?;
    let address = SocketAddr::from((options.address, options.port));
    let port = listener::tcp(address).with_context(|| format!("cannot listen on TCP {address}"))?;
    let space = Space::open(&options.dir)
        .with_context(|| format!("cannot use {}", options.dir.display()))?;
    let path = link::socket(&options.run_dir);
    let control = listen(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let link = Arc::new(Link::default());
    let cancel = CancellationToken::new();
    tracing::info!(%address, "swap space is served");
    let served = serve(port, Arc::clone(&space), Arc::clone(&link) as _, cancel.clone());
    tokio::join!(
        served,
        talk(control, Arc::clone(&link), Arc::clone(&space), cancel.clone()),
        sweep(&space, link.as_ref(), &cancel),
    );
    let _ = std::fs::remove_file(&path);
    tracing::info!("swap space is no longer served");
    Ok(())
}

/// Serves the port until cancelled.
pub async fn serve(
    port: TcpListener,
    space: Arc<Space>,
    owners: Arc<dyn Owners>,
    cancel: CancellationToken,
) {
    let swap = Arc::new(Swap { space, owners, drops: Arc::new(Drops::new("swap")) });
    let drops = Arc::clone(&swap.drops);
    let bounds = Bounds { total: CONNECTIONS, per_ip: 4 };
    let handler = |stream, ip| Arc::clone(&swap).connection(stream, ip);
    listener::serve(port, bounds, drops, cancel, handler).await;
}

fn lock(path: &Path) -> anyhow::Result<nix::fcntl::Flock<File>> {
    let file = File::create(path).with_context(|| format!("cannot open {}", path.display()))?;
    match nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err(_) => bail!("swap space is served already ({} is held)", path.display()),
    }
}

/// The socket of the server. A file of an earlier program is replaced: the lock is ours.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let control = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(control)
}

/// Listens to the server; cancels when it says so.
async fn talk(
    control: UnixListener,
    link: Arc<Link>,
    space: Arc<Space>,
    cancel: CancellationToken,
) {
    let retiring = Arc::new(AtomicBool::new(false));
    let mut look = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = look.tick() => {
                if retiring.load(Ordering::Relaxed) && space.in_use() == 0 {
                    cancel.cancel();
                }
            }
            accepted = control.accept() => {
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let (link, retiring, cancel) = (link.clone(), retiring.clone(), cancel.clone());
                tokio::spawn(async move {
                    let heard = hear(BufStream::new(stream), &link, &retiring, &cancel);
                    let _ = tokio::time::timeout(Duration::from_secs(10), heard).await;
                });
            }
        }
    }
}

async fn hear(
    mut stream: BufStream<UnixStream>,
    link: &Link,
    retiring: &AtomicBool,
    cancel: &CancellationToken,
) -> io::Result<()> {
    match link::read_line(&mut stream).await?.as_str() {
        "answer" => {
            retiring.store(false, Ordering::Relaxed);
            link::write_line(&mut stream, &link::build()).await?;
            link.set(stream).await;
            Ok(())
        }
        "retire" => {
            retiring.store(true, Ordering::Relaxed);
            link::write_line(&mut stream, "ok").await
        }
        "end" => {
            cancel.cancel();
            link::write_line(&mut stream, "ok").await
        }
        _ => Ok(()),
    }
}

/// Removes the files of nodes that are gone.
async fn sweep(space: &Space, owners: &dyn Owners, cancel: &CancellationToken) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
        for mac in space.sweep(Instant::now()) {
            if !owners.exists(mac).await {
                space.drop_file(mac);
            }
        }
    }
}
