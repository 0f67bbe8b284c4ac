//! One transfer: its own socket, its file, and the [`Flow`] that says what to send.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tftpd::{ErrorCode, Packet};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::TftpConfig;
use super::flow::{Flow, Step};
use super::path::map_path;
use super::request::{Agreed, MAX_REQUEST, ReadRequest, agree, error, packet};
use crate::files::{self, Content};
use crate::policy::{BootEvent, BootObservation, BootPolicy, FileDecision, FileRequest, Via};
use crate::socket::{self, Wanted};

/// What is read from a file at once: few trips to a blocking thread, little memory per transfer.
const READ_AHEAD: usize = 64 << 10;

/// Blocks a firmware can count that does not go on at 0.
const MAX_BLOCKS: u64 = 65_535;
/// What is said when such a firmware stops in a file of more.
const TOO_LONG: &str = "this firmware takes files of 65535 blocks at most, and this one has more";

/// When the client was last heard, shared with the dispatcher that sees repeated requests.
#[derive(Debug, Default)]
pub(crate) struct Heard(Mutex<Option<Instant>>);

impl Heard {
    fn now(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// A new request from the same port is a late copy of the one being served: the client has not
    /// got our first packet yet, or is talking to us right now.
    pub(crate) fn is_fresh(&self) -> bool {
        const RECENT: Duration = Duration::from_millis(250);
        self.0.lock().is_none_or(|at| at.elapsed() < RECENT)
    }
}

/// Everything a transfer needs.
pub(crate) struct Transfer {
    pub config: Arc<TftpConfig>,
    pub policy: Arc<dyn BootPolicy>,
    pub client: SocketAddrV4,
    pub request: ReadRequest,
    pub heard: Arc<Heard>,
    /// The server stops, or the client started again.
    pub stop: CancellationToken,
}

/// How a transfer ended.
enum End {
    Done,
    /// After the answer to its options the client had what it wanted: the size.
    SizeOnly,
    Broken(String),
}

impl Transfer {
    /// Serves the request to its end.
    pub(crate) async fn run(self) {
        let started = Instant::now();
        if let Err(problem) = self.serve(started).await {
            tracing::warn!(client = %self.client, name = self.request.name, "TFTP: {problem}");
        }
    }

    async fn serve(&self, started: Instant) -> io::Result<()> {
        let socket = self.socket().await?;
        let ip = *self.client.ip();
        let place = match map_path(&self.request.name) {
            Ok(place) => place,
            Err(bad) => {
                let event = BootEvent::FileDenied {
                    via: Via::Tftp,
                    path: self.request.name.clone(),
                    reason: bad.to_string(),
                };
                self.observe(ip, event);
                return refuse(&socket, ErrorCode::AccessViolation, &bad.to_string()).await;
            }
        };
        let path = place.to_string();
        let request = FileRequest {
            place,
            asked: self.request.name.clone(),
            via: Via::Tftp,
            peer: ip.into(),
        };
        let content = match files::open(&self.policy, ip, &request).await {
            FileDecision::Missing => {
                return refuse(&socket, ErrorCode::FileNotFound, "file not found").await;
            }
            FileDecision::Denied(reason) => {
                return refuse(&socket, ErrorCode::AccessViolation, &reason).await;
            }
            given => match Content::of(given) {
                Some(content) => content,
                None => return Ok(()),
            },
        };

        let size = content.size();
        let firmware = self.policy.firmware(ip);
        let bounds = TftpConfig {
            max_block_size: self.config.max_block_size.min(firmware.max_block),
            max_window_size: self.config.max_window_size.min(firmware.max_window),
            ..(*self.config).clone()
        };
        let agreed = agree(&self.request.options, size, &bounds);
        self.observe(ip, BootEvent::FileStart { via: Via::Tftp, path: path.clone(), size });
        // A last block that is not full ends the transfer: one is sent empty when the size is a multiple.
        let last = size / u64::from(agreed.block) + 1;
        let (mut flow, step) =
            Flow::start(last, agreed.window, agreed.oack.is_some(), agreed.timeout, Instant::now());
        let mut blocks = Blocks::new(content, &agreed);
        let end = self
            .exchange(&socket, &mut flow, step, &mut blocks, &agreed)
            .await
            .unwrap_or_else(|error| End::Broken(error.to_string()));

        let duration = started.elapsed();
        let bytes = size.min(flow.acknowledged() * u64::from(agreed.block));
        self.observe(
            ip,
            match end {
                End::Done => BootEvent::FileEnd { via: Via::Tftp, path, bytes: size, duration },
                End::SizeOnly => BootEvent::FileSized { via: Via::Tftp, path, size },
                End::Broken(reason) => {
                    let too_long = !firmware.block_numbers_wrap && last > MAX_BLOCKS;
                    let reason = if too_long { format!("{reason}; {TOO_LONG}") } else { reason };
                    BootEvent::FileBroken { via: Via::Tftp, path, bytes, duration, reason }
                }
            },
        );
        Ok(())
    }

    /// A socket of its own on the server's address, which hears this client only.
    async fn socket(&self) -> io::Result<UdpSocket> {
        let address = SocketAddr::V4(SocketAddrV4::new(self.config.server, 0));
        let wanted = Wanted { interface: self.config.interface.as_deref(), ..Wanted::default() };
        let socket = socket::udp("TFTP", address, wanted).map_err(io::Error::other)?;
        socket.connect(SocketAddr::V4(self.client)).await?;
        Ok(socket)
    }

    async fn exchange(
        &self,
        socket: &UdpSocket,
        flow: &mut Flow,
        mut step: Step,
        blocks: &mut Blocks,
        agreed: &Agreed,
    ) -> io::Result<End> {
        let mut buffer = [0; MAX_REQUEST];
        loop {
            match step {
                Step::Wait => {}
                Step::Done => return Ok(End::Done),
                Step::GiveUp => {
                    return Ok(End::Broken("the client does not answer any more".to_owned()));
                }
                Step::Send(range) => {
                    for block in range {
                        let sent = match (block, &agreed.oack) {
                            (0, Some(oack)) => socket.send(oack).await,
                            _ => socket.send(blocks.packet(block).await?).await,
                        };
                        if let Some(end) = gone(sent, flow) {
                            return Ok(end);
                        }
                    }
                }
            }
            let received = tokio::select! {
                () = self.stop.cancelled() => return Ok(End::Broken("replaced by a new request, or the server stops".to_owned())),
                received = tokio::time::timeout_at(flow.deadline().into(), socket.recv(&mut buffer)) => received,
            };
            step = match received {
                Err(_elapsed) => flow.on_timeout(Instant::now()),
                Ok(Err(error)) => match gone(Err(error), flow) {
                    Some(end) => return Ok(end),
                    None => Step::Wait,
                },
                Ok(Ok(length)) => match packet(&buffer[..length]) {
                    Some(Packet::Ack(number)) => {
                        self.heard.now();
                        flow.on_ack(number, Instant::now())
                    }
                    Some(Packet::Error { code, msg }) => {
                        self.heard.now();
                        return Ok(if flow.is_negotiating() {
                            End::SizeOnly
                        } else {
                            End::Broken(format!(
                                "the client stopped: {code} ({})",
                                msg.escape_debug()
                            ))
                        });
                    }
                    _ => Step::Wait,
                },
            };
        }
    }

    fn observe(&self, client: Ipv4Addr, event: BootEvent) {
        tracing::debug!(%client, ?event, "TFTP");
        self.policy.observe(BootObservation::now(Some(client), None, event));
    }
}

async fn refuse(socket: &UdpSocket, code: ErrorCode, message: &str) -> io::Result<()> {
    socket.send(&error(code, message)).await.map(drop)
}

/// The end of a transfer whose client's port is closed; other problems of the network are losses.
fn gone(sent: io::Result<usize>, flow: &Flow) -> Option<End> {
    match sent {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Some(if flow.is_at_end() {
                // It closed after the last block: only its acknowledgement was lost.
                End::Done
            } else {
                End::Broken("the client closed its port".to_owned())
            })
        }
        _ => None,
    }
}

/// The blocks of a file, read ahead by pieces.
struct Blocks {
    content: Content,
    block: usize,
    window: usize,
    /// What was read, and where it starts in the file.
    piece: Bytes,
    start: u64,
    packet: Vec<u8>,
}

impl Blocks {
    fn new(content: Content, agreed: &Agreed) -> Self {
        let block = usize::from(agreed.block);
        Self {
            content,
            block,
            window: usize::from(agreed.window),
            piece: Bytes::new(),
            start: 0,
            packet: Vec::with_capacity(4 + block),
        }
    }

    /// The DATA packet of block `number` (from 1); its number is sent modulo 65536.
    async fn packet(&mut self, number: u64) -> io::Result<&[u8]> {
        let offset = (number - 1) * self.block as u64;
        let length = self.content.size().saturating_sub(offset).min(self.block as u64) as usize;
        let within = |start: u64, piece: &Bytes| {
            offset >= start && offset + length as u64 <= start + piece.len() as u64
        };
        if !within(self.start, &self.piece) {
            self.read(offset).await?;
        }
        let at = (offset - self.start.min(offset)) as usize;
        self.packet.clear();
        self.packet.extend_from_slice(&[0, 3]);
        self.packet.extend_from_slice(&(number as u16).to_be_bytes());
        if length > 0 {
            let data = self.piece.get(at..at + length).ok_or(io::ErrorKind::UnexpectedEof)?;
            self.packet.extend_from_slice(data);
        }
        Ok(&self.packet)
    }

    /// Reads from a window before `offset`, which may have to be sent again, to well after it.
    async fn read(&mut self, offset: u64) -> io::Result<()> {
        let window = self.window * self.block;
        let start = offset.saturating_sub(window as u64);
        let wanted = (READ_AHEAD + 2 * window) as u64;
        let length = (self.content.size() - start).min(wanted) as usize;
        self.piece = match &self.content {
            Content::Bytes(_) => self.content.read(start, length)?,
            Content::File(..) => {
                let content = self.content.clone();
                tokio::task::spawn_blocking(move || content.read(start, length))
                    .await
                    .map_err(io::Error::other)??
            }
        };
        self.start = start;
        Ok(())
    }
}
