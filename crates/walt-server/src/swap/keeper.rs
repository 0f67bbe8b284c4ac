//! The server's side: sees that the swap program runs, and answers its questions.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::BufStream;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use walt_model::Mac;

use super::{Owner, Owners, link};
use crate::platform::Platform;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// How long the program may take to start.
const START: Duration = Duration::from_secs(10);

/// How long an order may take.
const ORDER: Duration = Duration::from_secs(2);

struct Registered(Arc<Platform>);

impl Owners for Registered {
    fn owner(&self, ip: Ipv4Addr) -> BoxFuture<'_, Result<Option<Owner>, String>> {
        let device = self.0.registry.by_ip(ip).filter(|device| device.node.is_some());
        let owner = device.map(|device| Owner {
            mac: device.mac,
            boot_ms: self.0.boots.current(device.mac).map_or(0, |entry| entry.boot.start_ms),
        });
        Box::pin(async move { Ok(owner) })
    }

    fn exists(&self, mac: Mac) -> BoxFuture<'_, bool> {
        let exists = self.0.registry.by_mac(mac).is_some();
        Box::pin(async move { exists })
    }
}

/// Sees until cancelled that swap space is served. Then the program goes on for the nodes that need it: see [`retire`].
pub async fn run(platform: Arc<Platform>, cancel: CancellationToken) {
    let place = &platform.place;
    let arguments = [
        ("--address", place.subnet.server().to_string().into()),
        ("--dir", place.state_dir.join("swap")),
        ("--run-dir", place.run_dir.clone()),
    ];
    let owners = Registered(Arc::clone(&platform));
    loop {
        let served = serve(&owners, &place.run_dir, &arguments);
        tokio::select! {
            () = cancel.cancelled() => return,
            ended = served => match ended {
                Ok(()) => {}
                Err(error) => {
                    tracing::error!("no swap space for nodes: {error}");
                    sleep(START).await;
                }
            },
        }
        sleep(PAUSE).await;
    }
}

/// Finds the program or starts it, and answers until it ends.
async fn serve(
    owners: &dyn Owners,
    run_dir: &Path,
    arguments: &[(&str, PathBuf)],
) -> io::Result<()> {
    let socket = link::socket(run_dir);
    let mut stream = match UnixStream::connect(&socket).await {
        Ok(stream) => BufStream::new(stream),
        Err(_) => start(&socket, arguments).await?,
    };
    link::write_line(&mut stream, "answer").await?;
    if link::read_line(&mut stream).await? != link::build() {
        tracing::info!(
            "the swap program is of another build: it is replaced once no node needs it"
        );
        order(run_dir, "retire").await;
    }
    while let Ok(question) = link::read_line(&mut stream).await {
        let answer = link::answer(owners, &question).await;
        link::write_line(&mut stream, &answer).await?;
    }
    Ok(())
}

/// Starts the program: a process of its own, that goes on when we end.
async fn start(socket: &Path, arguments: &[(&str, PathBuf)]) -> io::Result<BufStream<UnixStream>> {
    let mut command = tokio::process::Command::new("/proc/self/exe");
    command.arg("swap").stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    for (name, value) in arguments {
        command.arg(name).arg(value);
    }
    let mut child = command.spawn()?;
    let connected = async {
        loop {
            sleep(PAUSE).await;
            if let Ok(stream) = UnixStream::connect(socket).await {
                return stream;
            }
        }
    };
    let stream = tokio::select! {
        stream = timeout(START, connected) => stream?,
        ended = child.wait() => {
            return Err(io::Error::other(format!("the program ended: {}", ended?)));
        }
    };
    tokio::spawn(async move { child.wait().await });
    Ok(BufStream::new(stream))
}

/// Tells the program that the server stops: it ends when no node has swap space, or at once if no node is left.
pub async fn retire(run_dir: &Path, now: bool) {
    order(run_dir, if now { "end" } else { "retire" }).await;
}

async fn order(run_dir: &Path, order: &str) {
    let exchange = async {
        let mut stream = BufStream::new(UnixStream::connect(link::socket(run_dir)).await?);
        link::write_line(&mut stream, order).await?;
        link::read_line(&mut stream).await
    };
    // Not there: nothing to order.
    let _ = timeout(ORDER, exchange).await;
}
