//! The server: sockets, connections, datagrams.

mod connection;
mod datagrams;
mod quiet;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clients::FirstSteps;
use crate::persist::PersistTrees;
use crate::portmap::Ports;
use crate::replay::ReplayCache;
use crate::service::Service;
use crate::{Exports, HandleKey, nfs4};
use quiet::Quiet;

/// Connections of one client. Nodes use two or three.
const CONNECTIONS_PER_CLIENT: usize = 128;
/// Connections waiting to be accepted, per listener.
const BACKLOG: i32 = 1024;
/// Pause after an accept that failed for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where and how to serve.
#[derive(Clone)]
pub struct NfsConfig {
    /// TCP addresses to listen on, each answering every program. The port of the first one is the
    /// one told by portmap for NFS and mount: `[IP:2049, IP:111]`. Port 0 takes a free one.
    pub tcp: Vec<SocketAddr>,
    /// UDP addresses answering portmap and mount: `[IP:111]`. Portmap tells the first one for mount.
    pub udp: Vec<SocketAddr>,
    /// Signs file handles.
    pub handle_key: HandleKey,
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum NfsError {
    /// A socket cannot be bound.
    #[error(
        "cannot listen on {protocol} {address}: {source} (is another NFS server or rpcbind running?)"
    )]
    Bind {
        /// `tcp` or `udp`.
        protocol: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The configuration has no TCP address.
    #[error("no TCP address to serve NFS on")]
    NoAddress,
}

/// A bound server, not yet answering.
pub struct NfsServer {
    service: Arc<Service>,
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
    tcp_addresses: Vec<SocketAddr>,
    udp_addresses: Vec<SocketAddr>,
}

impl NfsServer {
    /// Binds all sockets (with `SO_REUSEADDR`, so that a restart succeeds at once). Must be called
    /// inside a tokio runtime.
    pub fn bind(config: NfsConfig, exports: Arc<dyn Exports>) -> Result<Self, NfsError> {
        let mut tcp = Vec::new();
        let mut tcp_addresses = Vec::new();
        for address in config.tcp {
            let failed = |source| NfsError::Bind { protocol: "tcp", address, source };
            let listener = listen(address).map_err(failed)?;
            tcp_addresses.push(listener.local_addr().map_err(failed)?);
            tcp.push(listener);
        }
        let mut udp = Vec::new();
        let mut udp_addresses = Vec::new();
        for address in config.udp {
            let failed = |source| NfsError::Bind { protocol: "udp", address, source };
            let socket = datagrams::bind(address).map_err(failed)?;
            udp_addresses.push(socket.local_addr().map_err(failed)?);
            udp.push(socket);
        }
        let ports = Ports {
            tcp: tcp_addresses.first().ok_or(NfsError::NoAddress)?.port(),
            udp: udp_addresses.first().map(SocketAddr::port),
        };
        let start = write_verifier();
        let service = Arc::new(Service {
            exports,
            key: config.handle_key,
            ports,
            persist: PersistTrees::default(),
            first_steps: FirstSteps::default(),
            replay: ReplayCache::default(),
            write_verifier: start,
            nfs4: nfs4::Clients::new(start),
        });
        Ok(Self { service, tcp, udp, tcp_addresses, udp_addresses })
    }

    /// The bound TCP addresses, in the order of the configuration.
    pub fn tcp_addresses(&self) -> &[SocketAddr] {
        &self.tcp_addresses
    }

    /// The bound UDP addresses, in the order of the configuration.
    pub fn udp_addresses(&self) -> &[SocketAddr] {
        &self.udp_addresses
    }

    /// Answers until `stop` is cancelled, then closes every connection and returns. Calls being
    /// carried out are finished; clients see a pause, not an error.
    pub async fn run(self, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        let clients = Arc::new(Clients::default());
        for listener in self.tcp {
            let (service, clients, stop) = (self.service.clone(), clients.clone(), stop.clone());
            tasks.spawn(accept(listener, service, clients, stop));
        }
        for socket in self.udp {
            tasks.spawn(datagrams::serve(socket, self.service.clone(), stop.clone()));
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!("a task of the NFS server failed: {error}");
            }
        }
    }
}

/// Changes at each start.
fn write_verifier() -> [u8; 8] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.as_nanos() as u64 ^ u64::from(std::process::id())).to_be_bytes()
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn accept(
    listener: TcpListener,
    service: Arc<Service>,
    clients: Arc<Clients>,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    let quiet = Quiet::default();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!("a connection failed: {error}");
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let client = peer.ip().to_canonical();
                let Some(place) = clients.enter(client) else {
                    quiet.warn(|| format!("{client} has too many connections: one more refused"));
                    continue;
                };
                if let Err(error) = prepare(&stream) {
                    quiet.warn(|| format!("cannot set up a connection of {client}: {error}"));
                    continue;
                }
                let (service, stop) = (service.clone(), stop.clone());
                connections.spawn(async move {
                    connection::serve(service, stream, client, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                quiet.warn(|| format!("cannot accept a connection: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // A node that lost its power never closes: the kernel finds out.
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Counts connections by client.
#[derive(Default)]
struct Clients {
    connections: Mutex<HashMap<IpAddr, usize>>,
}

/// One counted connection.
struct Place {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Clients {
    fn enter(self: &Arc<Self>, client: IpAddr) -> Option<Place> {
        let mut connections = self.connections.lock();
        let count = connections.entry(client).or_default();
        if *count >= CONNECTIONS_PER_CLIENT {
            return None;
        }
        *count += 1;
        Some(Place { clients: self.clone(), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connections = self.clients.connections.lock();
        if let Some(count) = connections.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&self.client);
            }
        }
    }
}
