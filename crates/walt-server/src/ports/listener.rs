//! Listening sockets of the node ports, and the loop that serves their connections within bounds.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// Backlog of the listening sockets.
const BACKLOG: i32 = 256;

/// At most one line about dropped input in this time, per port.
const DROP_REPORT_PERIOD: Duration = Duration::from_secs(10);

/// Pause after a failed accept (no file descriptor left...).
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A listening TCP socket: `SO_REUSEADDR`, backlog 256, non-blocking.
///
/// # Errors
/// The address is not ours, or the port is taken.
pub(crate) fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// A UDP socket with `SO_REUSEADDR` and a receive buffer that holds bursts of kernel messages.
///
/// # Errors
/// The address is not ours, or the port is taken.
pub(crate) fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    // Best effort: the kernel caps it.
    let _ = socket.set_recv_buffer_size(1 << 20);
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

/// Detects dead peers in about 25 s: idle 15 s, then 5 probes 2 s apart.
pub(crate) fn keepalive(stream: &TcpStream) {
    let profile = TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(2))
        .with_retries(5);
    let socket = SockRef::from(stream);
    if let Err(error) = socket.set_tcp_keepalive(&profile).and_then(|()| stream.set_nodelay(true)) {
        warn!(%error, "cannot set keep-alive on a node connection");
    }
}

/// Says in one line from time to time what a port drops.
pub(crate) struct Drops {
    port: &'static str,
    state: Mutex<(Option<Instant>, u64)>,
}

impl Drops {
    /// For the port of that name.
    pub(crate) fn new(port: &'static str) -> Self {
        Self { port, state: Mutex::new((None, 0)) }
    }

    /// Notes that something from `peer` was dropped.
    pub(crate) fn note(&self, peer: IpAddr, why: impl std::fmt::Display) {
        let mut state = self.state.lock();
        state.1 += 1;
        if state.0.is_none_or(|last| last.elapsed() >= DROP_REPORT_PERIOD) {
            let count = std::mem::take(&mut state.1);
            state.0 = Some(Instant::now());
            drop(state);
            warn!(port = self.port, %peer, count, "dropped input: {why}");
        }
    }
}

/// How many connections a port holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// In all.
    pub(crate) total: usize,
    /// From one address.
    pub(crate) per_ip: usize,
}

/// Serves connections until cancelled; then all of them are closed. A panic ends its own connection only.
pub(crate) async fn serve<F, Fut>(
    listener: TcpListener,
    bounds: Bounds,
    drops: Arc<Drops>,
    cancel: CancellationToken,
    handler: F,
) where
    F: Fn(TcpStream, Ipv4Addr) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut connections: JoinSet<()> = JoinSet::new();
    let mut owners: HashMap<tokio::task::Id, IpAddr> = HashMap::new();
    let mut per_ip: HashMap<IpAddr, usize> = HashMap::new();
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            Some(ended) = connections.join_next_with_id(), if !connections.is_empty() => {
                let id = match ended {
                    Ok((id, ())) => id,
                    Err(failure) => {
                        error!(port = drops.port, "a connection handler failed: {failure}");
                        failure.id()
                    }
                };
                if let Some(ip) = owners.remove(&id)
                    && let Some(count) = per_ip.get_mut(&ip)
                {
                    *count -= 1;
                    if *count == 0 {
                        per_ip.remove(&ip);
                    }
                }
            }
            accepted = listener.accept() => {
                let (stream, peer) = match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        warn!(port = drops.port, %error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_RETRY).await;
                        continue;
                    }
                };
                let ip = peer.ip().to_canonical();
                let IpAddr::V4(v4) = ip else {
                    drops.note(ip, "only IPv4 is served here");
                    continue;
                };
                let count = per_ip.entry(ip).or_default();
                if owners.len() >= bounds.total || *count >= bounds.per_ip {
                    if *count == 0 {
                        per_ip.remove(&ip);
                    }
                    drops.note(ip, "too many connections");
                    continue;
                }
                *count += 1;
                keepalive(&stream);
                let task = connections.spawn(handler(stream, v4));
                owners.insert(task.id(), ip);
            }
        }
    }
    connections.shutdown().await;
}
