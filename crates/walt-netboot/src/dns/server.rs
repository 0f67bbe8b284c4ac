//! The DNS service, over UDP and TCP.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::DnsConfig;
use super::forward::{Transport, forward, read_message, write_message};
use super::zone::{MAX_DATAGRAM, Reaction, failure, react};
use crate::NetbootError;
use crate::policy::BootPolicy;
use crate::quiet::Quiet;
use crate::socket::{self, Wanted};

/// Most queries waiting for another resolver at a time.
const MAX_FORWARDED: usize = 512;
/// Most TCP connections at a time.
const MAX_CONNECTIONS: usize = 256;
/// Idle time after which a TCP connection is closed.
const IDLE: Duration = Duration::from_secs(10);

/// A bound DNS service.
pub struct DnsServer {
    names: Names,
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
}

/// What answers queries, whatever they come by.
#[derive(Clone)]
struct Names {
    config: Arc<DnsConfig>,
    policy: Arc<dyn BootPolicy>,
    forwarded: Arc<Semaphore>,
}

impl DnsServer {
    /// Listens over UDP and TCP on one port of the server's address.
    pub fn bind(config: DnsConfig, policy: Arc<dyn BootPolicy>) -> Result<Self, NetbootError> {
        let wanted =
            Wanted { interface: config.interface.as_deref(), broadcast: false, storm: true };
        let mut address = SocketAddr::V4(SocketAddrV4::new(config.server, config.port));
        let udp = socket::udp("DNS", address, wanted)?;
        if let Ok(bound) = udp.local_addr() {
            address = bound;
        }
        let tcp = socket::tcp("DNS", address, Wanted { storm: false, ..wanted })?;
        let forwarded = Arc::new(Semaphore::new(MAX_FORWARDED));
        let names = Names { config: Arc::new(config), policy, forwarded };
        Ok(Self { names, udp: Arc::new(udp), tcp })
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// Serves until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.datagrams(&tasks, &stop) => {}
            () = self.connections(&tasks, &stop) => {}
        }
        tasks.close();
        tasks.wait().await;
    }

    async fn datagrams(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        let broken = Quiet::new();
        let mut buffer = vec![0; usize::from(MAX_DATAGRAM)];
        loop {
            let (length, peer) = match self.udp.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    broken.warn(
                        "DNS",
                        self.names.config.server,
                        format_args!("cannot receive: {error}"),
                    );
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            match self.names.react(&buffer[..length]) {
                Reaction::Ignore => {}
                Reaction::Answer(message) => send(&self.udp, &encoded(&message), peer).await,
                Reaction::Forward(query) => {
                    let (names, udp, stop) =
                        (self.names.clone(), Arc::clone(&self.udp), stop.clone());
                    let bytes = buffer[..length].to_vec();
                    tasks.spawn(async move {
                        tokio::select! {
                            () = stop.cancelled() => {}
                            answer = names.elsewhere(&query, &bytes, peer.ip(), Transport::Udp) => {
                                send(&udp, &answer, peer).await;
                            }
                        }
                    });
                }
            }
        }
    }

    async fn connections(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            let (stream, peer) = match self.tcp.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "DNS: cannot accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (names, stop) = (self.names.clone(), stop.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    ended = names.connection(stream, peer.ip()) => {
                        if let Err(error) = ended {
                            tracing::debug!(%peer, %error, "DNS connection ended");
                        }
                    }
                }
                drop(slot);
            });
        }
    }
}

impl Names {
    async fn connection(&self, mut stream: TcpStream, peer: IpAddr) -> io::Result<()> {
        loop {
            let query = timeout(IDLE, read_message(&mut stream)).await??;
            let answer = match self.react(&query) {
                Reaction::Ignore => return Ok(()),
                Reaction::Answer(message) => encoded(&message),
                Reaction::Forward(message) => {
                    self.elsewhere(&message, &query, peer, Transport::Tcp).await
                }
            };
            timeout(IDLE, write_message(&mut stream, &answer)).await??;
        }
    }

    /// A bug in a decision must cost one answer, not the service.
    fn react(&self, bytes: &[u8]) -> Reaction {
        catch_unwind(AssertUnwindSafe(|| react(bytes, &self.config, self.policy.as_ref())))
            .unwrap_or_else(|_| {
                tracing::error!("the decision about a DNS query panicked");
                Reaction::Ignore
            })
    }

    /// Asks the resolvers, for clients of the network only: this is no open resolver.
    async fn elsewhere(
        &self,
        query: &Message,
        bytes: &[u8],
        peer: IpAddr,
        transport: Transport,
    ) -> Vec<u8> {
        let inside = matches!(peer, IpAddr::V4(ip) if self.config.network.contains(&ip));
        if !inside || self.config.upstreams.is_empty() {
            return encoded(&failure(query, ResponseCode::Refused));
        }
        let answer = match self.forwarded.try_acquire() {
            Ok(_slot) => forward(bytes, &self.config.upstreams, transport).await,
            Err(_) => None,
        };
        answer.unwrap_or_else(|| encoded(&failure(query, ResponseCode::ServFail)))
    }
}

async fn send(udp: &UdpSocket, answer: &[u8], peer: SocketAddr) {
    if let Err(error) = udp.send_to(answer, peer).await {
        tracing::debug!(%peer, %error, "DNS answer not sent");
    }
}

fn encoded(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap_or_else(|error| {
        tracing::error!(%error, "DNS answer not encoded");
        let id = message.metadata.id;
        Message::error_msg(id, message.metadata.op_code, ResponseCode::ServFail)
            .to_vec()
            .unwrap_or_default()
    })
}
