//! One client of the port, from its first byte to its last.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};
use walt_model::Mac;
use walt_proto::nbd::{
    self, NbdCommand, NbdReplyError, NbdRequest, Negotiation, NegotiationEvent, REQUEST_LEN, Wanted,
};

use super::space::{Backing, Space};
use super::{LIMIT_GIB, Owner, Owners};
use crate::ports::listener::Drops;

/// How long the negotiation may take, and the server to be back if it is away.
const NEGOTIATION_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the data of one request, or one answer, may take on the wire. A node without its swap space fails: only
/// one that is gone may lose it.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(900);

/// How long the connection that has the file of a node may take to end when its client is gone.
const TAKE_OVER: Duration = Duration::from_secs(6);

/// Most options in one negotiation.
const OPTIONS_MAX: usize = 32;

/// Bytes of a request held in memory at a time.
const CHUNK: usize = 256 << 10;

/// Serves the connections of the port.
pub(super) struct Swap {
    pub(super) space: Arc<Space>,
    pub(super) owners: Arc<dyn Owners>,
    pub(super) drops: Arc<Drops>,
}

/// A client that may have swap space: whose, how much, and what it sent after its last option.
struct Started {
    mac: Mac,
    backing: Backing,
    size: u64,
    rest: Vec<u8>,
}

impl Swap {
    /// Serves one connection to its end.
    pub(super) async fn connection(self: Arc<Self>, mut stream: TcpStream, ip: Ipv4Addr) {
        let control = match socket2::SockRef::from(&stream).try_clone() {
            Ok(control) => control,
            Err(error) => return warn!(%error, "no swap space"),
        };
        keep_alive(&control, &PATIENT);
        let started = match timeout(NEGOTIATION_TIMEOUT, self.negotiate(&mut stream, ip)).await {
            Ok(Ok(Some(started))) => started,
            Ok(Ok(None)) => return,
            Ok(Err(error)) => return self.drops.note(ip.into(), error),
            Err(_) => return self.drops.note(ip.into(), "NBD negotiation is too slow"),
        };
        let Started { mac, backing, size, rest } = started;
        info!(%ip, %mac, gib = size >> 30, "swap space is in use");
        let (end, probe) = (backing.end.clone(), Arc::clone(&backing.probe));
        // The client sees the end when the writing half is dropped: its file has to be given back before.
        let (reader, mut writer) = stream.into_split();
        let reader = BufReader::with_capacity(64 << 10, io::Cursor::new(rest).chain(reader));
        let ended = {
            let mut serving =
                std::pin::pin!(requests(reader, &mut writer, Arc::new(backing), size));
            loop {
                tokio::select! {
                    ended = &mut serving => break ended,
                    () = end.cancelled() => break Err(io::Error::other("its node has booted again")),
                    () = probe.notified() => keep_alive(&control, &PROBING),
                }
                // A client that is there may be slow again.
                tokio::select! {
                    ended = &mut serving => break ended,
                    () = end.cancelled() => break Err(io::Error::other("its node has booted again")),
                    () = sleep(TAKE_OVER) => keep_alive(&control, &PATIENT),
                }
            }
        };
        match ended {
            Ok(()) => {
                info!(%ip, %mac, "swap space is given back");
                self.space.drop_file(mac);
            }
            Err(error) => {
                info!(%ip, %mac, "swap space has lost its connection: {error}");
            }
        }
        drop(writer);
    }

    /// `None` if the client leaves.
    async fn negotiate(&self, stream: &mut TcpStream, ip: Ipv4Addr) -> io::Result<Option<Started>> {
        stream.write_all(&nbd::GREETING).await?;
        let mut negotiation = Negotiation::new(LIMIT_GIB);
        let mut buffer = [0; 4096];
        let mut options = 0;
        loop {
            let event = negotiation.next_event().map_err(io::Error::other)?;
            options += usize::from(event.is_some());
            if options > OPTIONS_MAX {
                return Err(io::Error::other("too many NBD options"));
            }
            match event {
                Some(NegotiationEvent::Reply(reply)) => stream.write_all(&reply).await?,
                Some(NegotiationEvent::Abort(reply)) => {
                    stream.write_all(&reply).await?;
                    return Ok(None);
                }
                Some(NegotiationEvent::Wanted(wanted)) => match self.grant(ip, &wanted).await {
                    Ok(granted) => {
                        stream.write_all(&wanted.granted()).await?;
                        if let Some((mac, backing)) = granted {
                            let (size, rest) = (wanted.export.size, negotiation.into_rest());
                            return Ok(Some(Started { mac, backing, size, rest }));
                        }
                    }
                    Err(why) => {
                        self.drops.note(ip.into(), format_args!("no swap space: {why}"));
                        match wanted.refused(&why) {
                            Some(reply) => stream.write_all(&reply).await?,
                            None => return Ok(None),
                        }
                    }
                },
                None => match stream.read(&mut buffer).await? {
                    0 => return Ok(None),
                    n => negotiation.feed(&buffer[..n]),
                },
            }
        }
    }

    /// May this client have it? The file, if the transmission starts; else why not.
    async fn grant(&self, ip: Ipv4Addr, wanted: &Wanted) -> Result<Option<(Mac, Backing)>, String> {
        let owner = self.owners.owner(ip).await?;
        let owner = owner.ok_or("swap space is for nodes of this platform")?;
        self.space.has_room()?;
        if !wanted.starts() {
            return Ok(None);
        }
        self.claim(&owner).await?;
        let backing = self.space.attach(&owner, &wanted.export).map_err(|error| {
            warn!(%ip, %error, "cannot open a swap file: the node goes without swap space");
            "the server cannot open a swap file".to_owned()
        })?;
        Ok(Some((owner.mac, backing)))
    }

    /// Waits for the end of the connection that has the file of this node, if its client is gone. One that is still
    /// there keeps it: the memory of the node is in it.
    async fn claim(&self, owner: &Owner) -> Result<(), String> {
        if !self.space.is_used(owner) {
            return Ok(());
        }
        self.space.claim(owner);
        let ended = async {
            while self.space.is_used(owner) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(TAKE_OVER, ended)
            .await
            .map_err(|_| "the node has its swap space already".to_owned())
    }
}

/// When a silent client is taken for dead: idle time, time between probes, number of probes.
type KeepAlive = (Duration, Duration, u32);

/// A node that is cut off comes back to its memory: a quarter of an hour.
const PATIENT: KeepAlive = (Duration::from_secs(60), Duration::from_secs(30), 28);

/// Another connection of the node is there: the system of the client that is gone answers at once.
const PROBING: KeepAlive = (Duration::from_secs(1), Duration::from_secs(1), 4);

fn keep_alive(socket: &socket2::Socket, (idle, interval, probes): &KeepAlive) {
    let profile = socket2::TcpKeepalive::new()
        .with_time(*idle)
        .with_interval(*interval)
        .with_retries(*probes);
    if let Err(error) = socket.set_tcp_keepalive(&profile) {
        warn!(%error, "cannot set keep-alive on a swap connection");
    }
}

/// Serves requests until the client says that it has ended; an error when it does not say so.
async fn requests(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    backing: Arc<Backing>,
    size: u64,
) -> io::Result<()> {
    loop {
        let mut header = [0; REQUEST_LEN];
        reader.read_exact(&mut header).await?;
        let request = NbdRequest::parse(&header).map_err(io::Error::other)?;
        let outcome = match request.command {
            NbdCommand::Disconnect => return Ok(()),
            NbdCommand::Read if request.fits(size) => {
                read(&mut writer, &backing, &request).await?;
                continue;
            }
            NbdCommand::Write => write(&mut reader, &backing, &request, size).await?,
            NbdCommand::Flush => on_disk(&backing, |backing| backing.flush()).await?,
            NbdCommand::Trim | NbdCommand::WriteZeroes if request.fits(size) => {
                let NbdRequest { offset, length, .. } = request;
                on_disk(&backing, move |backing| backing.trim(offset, length.into())).await?
            }
            _ => NbdReplyError::Invalid,
        };
        send(&mut writer, &nbd::simple_reply(request.cookie, outcome)).await?;
    }
}

/// Answers a read, piece by piece: what fails after the first one can only be told by the end of the connection.
async fn read(
    writer: &mut (impl AsyncWrite + Unpin),
    backing: &Arc<Backing>,
    request: &NbdRequest,
) -> io::Result<()> {
    let (mut at, end) = (request.offset, request.offset + u64::from(request.length));
    let mut answer = nbd::simple_reply(request.cookie, NbdReplyError::None).to_vec();
    loop {
        let length = (end - at).min(CHUNK as u64) as usize;
        let file = Arc::clone(backing);
        let piece = blocking(move || {
            let mut data = vec![0; length];
            file.read(&mut data, at).map(|()| data)
        });
        match piece.await {
            Ok(data) => answer.extend(data),
            Err(error) if at == request.offset => {
                warn!(%error, "a swap file fails");
                answer = nbd::simple_reply(request.cookie, NbdReplyError::Io).to_vec();
                return send(writer, &answer).await;
            }
            Err(error) => return Err(error),
        }
        send(writer, &answer).await?;
        answer.clear();
        at += length as u64;
        if at >= end {
            return Ok(());
        }
    }
}

/// Takes the data of a write, all of it whatever happens, and writes it.
async fn write(
    reader: &mut (impl AsyncRead + Unpin),
    backing: &Arc<Backing>,
    request: &NbdRequest,
    size: u64,
) -> io::Result<NbdReplyError> {
    let mut outcome = if request.fits(size) { NbdReplyError::None } else { NbdReplyError::NoSpace };
    let mut left = request.length as usize;
    let mut at = request.offset;
    while left > 0 {
        let mut data = vec![0; left.min(CHUNK)];
        timeout(TRANSFER_TIMEOUT, reader.read_exact(&mut data)).await??;
        left -= data.len();
        let length = data.len() as u64;
        if outcome == NbdReplyError::None {
            outcome = on_disk(backing, move |backing| backing.write(&data, at)).await?;
            at += length;
        }
    }
    Ok(outcome)
}

async fn on_disk(
    backing: &Arc<Backing>,
    act: impl FnOnce(&Backing) -> io::Result<()> + Send + 'static,
) -> io::Result<NbdReplyError> {
    let backing = Arc::clone(backing);
    Ok(match blocking(move || act(&backing)).await {
        Ok(()) => NbdReplyError::None,
        Err(error) if error.kind() == io::ErrorKind::StorageFull => NbdReplyError::NoSpace,
        Err(error) => {
            warn!(%error, "a swap file fails");
            NbdReplyError::Io
        }
    })
}

async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(act).await.map_err(io::Error::other)?
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    timeout(TRANSFER_TIMEOUT, writer.write_all(bytes)).await?
}
