//! The DHCP service: receive, ask the policy, send.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::DhcpConfig;
use super::answer::{Outcome, Packet, Way, chosen_other_server, outcome};
use super::frame::{ALL, FrameSender};
use super::parse::parse;
use crate::NetbootError;
use crate::policy::quirks::firmware_of;
use crate::policy::{BootEvent, BootObservation, BootPolicy, DhcpKind, DhcpRequest};
use crate::quiet::Quiet;
use crate::socket::{self, Wanted};

/// Most answers that wait for their time: a flood must not fill the memory.
const MAX_LATER: usize = 256;

/// A bound DHCP service.
pub struct DhcpServer {
    policy: Arc<dyn BootPolicy>,
    way_out: Arc<WayOut>,
    later: Arc<Semaphore>,
    broken: Quiet,
}

/// What an answer is sent with.
struct WayOut {
    config: DhcpConfig,
    socket: UdpSocket,
    frames: Option<FrameSender>,
    unsent: Quiet,
}

impl DhcpServer {
    /// Listens on the wildcard address of the interface (clients without address send broadcasts).
    ///
    /// Fails when the port is taken, the interface does not exist or privileges are missing. Without a
    /// packet socket (`CAP_NET_RAW`) it works, broadcasting what it cannot send to a hardware address.
    pub fn bind(config: DhcpConfig, policy: Arc<dyn BootPolicy>) -> Result<Self, NetbootError> {
        let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, config.server_port);
        let wanted =
            Wanted { interface: config.interface.as_deref(), broadcast: true, storm: true };
        let socket = socket::udp("DHCP", SocketAddr::V4(address), wanted)?;
        let frames = config.interface.as_deref().and_then(|interface| {
            FrameSender::open(interface)
                .inspect_err(|error| {
                    tracing::warn!(%error, interface, "DHCP answers to new clients will be broadcast: no packet socket");
                })
                .ok()
        });
        let way_out = Arc::new(WayOut { config, socket, frames, unsent: Quiet::new() });
        let later = Arc::new(Semaphore::new(MAX_LATER));
        Ok(Self { policy, way_out, later, broken: Quiet::new() })
    }

    /// Serves until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let mut buffer = vec![0; 4096];
        loop {
            let received = tokio::select! {
                () = stop.cancelled() => return,
                received = self.way_out.socket.recv_from(&mut buffer) => received,
            };
            match received {
                Ok((length, peer)) => self.receive(&buffer[..length], peer, &stop).await,
                Err(error) => {
                    // For instance the interface went down: do not spin.
                    self.broken.warn(
                        "DHCP",
                        self.way_out.config.server,
                        format_args!("cannot receive: {error}"),
                    );
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn receive(&self, bytes: &[u8], peer: SocketAddr, stop: &CancellationToken) {
        let request = match parse(bytes) {
            Ok(request) => request,
            Err(error) => {
                return self.broken.warn("DHCP", peer, format_args!("message dropped: {error}"));
            }
        };
        // A bug in a decision must cost one answer, not the service.
        match catch_unwind(AssertUnwindSafe(|| self.decide(&request))) {
            Ok(Some(packet)) if request.kind == DhcpKind::Discover => {
                self.send_on_time(packet, firmware_of(&request).offers, stop).await;
            }
            Ok(Some(packet)) => self.way_out.send(&packet).await,
            Ok(None) => {}
            Err(_) => {
                tracing::error!(mac = %request.mac, "the decision about a DHCP message panicked")
            }
        }
    }

    /// Asks the policy, tells it what was decided, and gives what is to be sent.
    fn decide(&self, request: &DhcpRequest) -> Option<Packet> {
        if let Some(chosen) = chosen_other_server(request, self.way_out.config.server) {
            self.silent(request, format!("the client chose server {chosen}"));
            return None;
        }
        if matches!(request.kind, DhcpKind::Release | DhcpKind::Decline) {
            self.policy.dhcp_returned(request);
            return None;
        }
        let decision = self.policy.dhcp(request);
        let (ip, event, packet) = match outcome(request, decision, self.way_out.config.server) {
            Outcome::Offer(answer, packet) => {
                let event = BootEvent::Offer {
                    file: answer.boot.file,
                    vendor_class: request.vendor_class.clone(),
                    user_class: request.user_class.clone(),
                };
                (Some(answer.ip), event, packet)
            }
            Outcome::Ack(answer, packet) => {
                let ip = match request.kind {
                    DhcpKind::Inform => request.client_ip,
                    _ => {
                        self.policy.dhcp_bound(request, answer.ip);
                        Some(answer.ip)
                    }
                };
                let event = BootEvent::Ack {
                    file: answer.boot.file,
                    vendor_class: request.vendor_class.clone(),
                    user_class: request.user_class.clone(),
                };
                (ip, event, packet)
            }
            Outcome::Nak(reason, packet) => {
                (request.wanted_ip(), BootEvent::Nak { reason }, packet)
            }
            Outcome::Silent(reason) => {
                self.silent(request, reason);
                return None;
            }
        };
        tracing::debug!(mac = %request.mac, kind = ?request.kind, ?ip, ?event, "DHCP");
        self.policy.observe(BootObservation::now(ip, Some(request.mac), event));
        Some(packet)
    }

    fn silent(&self, request: &DhcpRequest, reason: String) {
        tracing::debug!(mac = %request.mac, kind = ?request.kind, reason, "DHCP message not answered");
        let event = BootEvent::Silent { kind: request.kind, reason };
        self.policy.observe(BootObservation::now(request.client_ip, Some(request.mac), event));
    }

    /// Sends an OFFER at each of these times after its DISCOVER.
    async fn send_on_time(&self, packet: Packet, times: &[Duration], stop: &CancellationToken) {
        for at in times.iter().copied() {
            if at.is_zero() {
                self.way_out.send(&packet).await;
                continue;
            }
            // Its client asks again, should this be one too many.
            let Ok(place) = Arc::clone(&self.later).try_acquire_owned() else { return };
            let (way_out, packet, stop) = (Arc::clone(&self.way_out), packet.clone(), stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(at) => way_out.send(&packet).await,
                }
                drop(place);
            });
        }
    }
}

impl WayOut {
    async fn send(&self, packet: &Packet) {
        let DhcpConfig { server, server_port, client_port, .. } = self.config;
        let framed = match (packet.way, &self.frames) {
            (Way::Hardware(mac, ip), Some(frames)) => Some((frames, mac, ip)),
            (Way::Broadcast, Some(frames)) => Some((frames, ALL, Ipv4Addr::BROADCAST)),
            _ => None,
        };
        if let Some((frames, mac, ip)) = framed {
            match frames.send(mac, (server, server_port), (ip, client_port), &packet.bytes) {
                Ok(()) => return,
                Err(error) => {
                    self.unsent.warn(
                        "DHCP",
                        mac,
                        format_args!("no frame sent ({error}), broadcasting"),
                    );
                }
            }
        }
        let target = match packet.way {
            Way::Relay(relay) => (relay, server_port),
            Way::Unicast(ip) => (ip, client_port),
            Way::Hardware(..) | Way::Broadcast => (Ipv4Addr::BROADCAST, client_port),
        };
        if let Err(error) = self.socket.send_to(&packet.bytes, target).await {
            self.unsent.warn("DHCP", target.0, format_args!("answer not sent: {error}"));
        }
    }
}
