//! TCP 12347: log lines, bootup notification, boot files; one request per connection.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use walt_proto::bootup::{self, BootupConnection};
use walt_proto::fake_tftp::{self, FakeTftpError, FakeTftpNode, FakeTftpRequest};
use walt_proto::log_stream::{LogEvent, LogStream};
use walt_proto::pickle::PickleReader;
use walt_proto::request::{HeaderReader, StreamRequest};

use super::hub::{BootFileOf, Caller, NodeHub, NodeLine};
use super::listener::Drops;

/// How long a peer may take to say what it wants.
pub(super) const HEADER_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a peer may take no byte of a boot file.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Size of one read; all lines of a read get one date.
const READ_SIZE: usize = 8192;

/// Size of one read of a peer that has much to say.
const LARGE_READ: usize = 64 * 1024;

/// Serves the connections of the port.
pub(super) struct Streams {
    pub(super) hub: Arc<dyn NodeHub>,
    pub(super) drops: Arc<Drops>,
    pub(super) cancel: CancellationToken,
}

/// Reads header lines within [`HEADER_TIMEOUT`]. `None` when the peer leaves, is too slow or too long.
pub(super) async fn header_line(
    stream: &mut TcpStream,
    header: &mut HeaderReader,
) -> Option<Vec<u8>> {
    let read = async {
        let mut buffer = [0; 1024];
        loop {
            if let Some(line) = header.line().ok()? {
                return Some(line);
            }
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(n) => header.feed(&buffer[..n]),
            }
        }
    };
    timeout(HEADER_TIMEOUT, read).await.ok().flatten()
}

impl Streams {
    /// Serves one connection to its end.
    pub(super) async fn connection(self: Arc<Self>, mut stream: TcpStream, ip: Ipv4Addr) {
        let mut header = HeaderReader::new();
        let Some(line) = header_line(&mut stream, &mut header).await else { return };
        let rest = header.into_rest();
        match StreamRequest::parse(&line) {
            Some(StreamRequest::NewIncomingLogs) => self.logs(stream, ip, rest).await,
            Some(StreamRequest::NotifyBootupStatus) => self.bootup(stream, ip, rest).await,
            Some(StreamRequest::FakeTftpGet) => self.fake_tftp(stream, ip, rest).await,
            Some(StreamRequest::SpooledLogs) => self.spooled(stream, ip, rest).await,
            Some(other) => self
                .drops
                .note(ip.into(), format_args!("request {} is not served here", other.name())),
            None => self.drops.note(ip.into(), "unknown request"),
        }
    }

    async fn logs(&self, mut stream: TcpStream, ip: Ipv4Addr, rest: Vec<u8>) {
        let mut parser = LogStream::new();
        let mut destination: Option<(Caller, String)> = None;
        let mut chunk = rest;
        let mut size = READ_SIZE;
        loop {
            let events = match parser.feed(&chunk, SystemTime::now()) {
                Ok(events) => events,
                Err(error) => return self.drops.note(ip.into(), error),
            };
            let mut lines = Vec::new();
            let mut closed = false;
            for event in events {
                match event {
                    LogEvent::Opened { stream, .. } => match self.hub.caller(ip) {
                        Some(caller) => destination = Some((caller, stream)),
                        None => {
                            return self.drops.note(ip.into(), "log lines of an unknown device");
                        }
                    },
                    LogEvent::Line { timestamp, text } => lines.push(NodeLine { timestamp, text }),
                    LogEvent::Close => closed = true,
                }
            }
            if let (Some((caller, stream)), false) = (&destination, lines.is_empty()) {
                self.hub.log(caller, stream, lines).await;
            }
            if closed {
                return;
            }
            // Many connections say little: only one that fills its buffer gets a large one, while it does.
            size = if chunk.len() == size { LARGE_READ } else { READ_SIZE };
            chunk.resize(size, 0);
            chunk.shrink_to(size);
            let read = stream.read(&mut chunk);
            let read = match &destination {
                // A stream may be silent for long; keep-alive tells dead peers.
                Some(_) => read.await,
                None => match timeout(HEADER_TIMEOUT, read).await {
                    Ok(read) => read,
                    Err(_) => return,
                },
            };
            match read {
                Ok(n) if n > 0 => chunk.truncate(n),
                _ => break,
            }
        }
        if let (Some((caller, stream)), Some(LogEvent::Line { timestamp, text })) =
            (&destination, parser.disconnected(SystemTime::now()))
        {
            self.hub.log(caller, stream, vec![NodeLine { timestamp, text }]).await;
        }
    }

    async fn bootup(&self, mut stream: TcpStream, ip: Ipv4Addr, rest: Vec<u8>) {
        self.hub.boot_connected(ip);
        if stream.write_all(bootup::ANSWER).await.is_err() {
            return;
        }
        let mut connection = BootupConnection::new();
        let mut confirmed = None;
        let mut chunk = rest;
        loop {
            if connection.feed(&chunk) {
                confirmed = Some(self.hub.boot_confirmed(ip));
            }
            chunk.resize(64, 0);
            match stream.read(&mut chunk).await {
                Ok(n) if n > 0 => chunk.truncate(n),
                _ => break,
            }
        }
        // When the server stops, nodes are not down: they will connect again.
        if let (Some(number), false) = (confirmed, self.cancel.is_cancelled()) {
            self.hub.boot_lost(ip, number);
        }
    }

    async fn fake_tftp(&self, mut stream: TcpStream, ip: Ipv4Addr, rest: Vec<u8>) {
        let mut pickles = PickleReader::default();
        pickles.feed(&rest);
        let ask = async {
            stream.write_all(fake_tftp::READY).await.ok()?;
            let mut buffer = [0; 1024];
            loop {
                match pickles.next_value() {
                    Ok(Some(value)) => return Some(FakeTftpRequest::from_python(&value)),
                    Ok(None) => {}
                    Err(error) => {
                        self.drops.note(ip.into(), error);
                        return None;
                    }
                }
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => return None,
                    Ok(n) => pickles.feed(&buffer[..n]),
                }
            }
        };
        let Ok(Some(request)) = timeout(HEADER_TIMEOUT, ask).await else { return };
        let file = match request {
            Ok(FakeTftpRequest { node, path }) => {
                let of = match node {
                    FakeTftpNode::Mac(mac) => BootFileOf::Mac(mac),
                    FakeTftpNode::Ip(ip) => BootFileOf::Ip(ip),
                };
                self.hub.boot_file(of, &path).ok_or(fake_tftp::NO_SUCH_FILE)
            }
            Err(FakeTftpError::NoNode) => Err(fake_tftp::NO_NODE),
            Err(FakeTftpError::NoPath) => Err(fake_tftp::NO_SUCH_FILE),
        };
        // A failure to send means that the peer is gone, which is its right.
        let _ = match file {
            Ok((file, size)) => send_file(&mut stream, file, size).await,
            Err(answer) => stream.write_all(answer).await,
        };
        let _ = stream.shutdown().await;
    }
}

async fn send_file(stream: &mut TcpStream, file: std::fs::File, size: u64) -> io::Result<()> {
    stream.write_all(&fake_tftp::ok_header(size)).await?;
    let mut file = tokio::fs::File::from_std(file).take(size);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = file.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        timeout(SEND_TIMEOUT, stream.write_all(&buffer[..n])).await??;
    }
}
