//! TCP 10809: swap space for nodes, over NBD. One sparse file without a name per connection.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::warn;
use walt_proto::nbd::{self, NbdCommand, NbdReplyError, NbdRequest, Negotiation, NegotiationEvent};

use super::listener::Drops;

/// How long the negotiation may take.
const NEGOTIATION_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the data of one request, or one answer, may take on the wire.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(60);

/// Most options in one negotiation.
const OPTIONS_MAX: usize = 32;

/// Serves the connections of the port.
pub(super) struct Swap {
    pub(super) dir: PathBuf,
    pub(super) limit_gib: u64,
    pub(super) drops: Arc<Drops>,
}

impl Swap {
    /// Serves one connection to its end.
    pub(super) async fn connection(self: Arc<Self>, mut stream: TcpStream, ip: Ipv4Addr) {
        let negotiation = timeout(NEGOTIATION_TIMEOUT, self.negotiate(&mut stream)).await;
        let (size, rest) = match negotiation {
            Ok(Ok(Some(started))) => started,
            Ok(Ok(None)) => return,
            Ok(Err(error)) => return self.drops.note(ip.into(), error),
            Err(_) => return self.drops.note(ip.into(), "NBD negotiation is too slow"),
        };
        let file = match unnamed_file(&self.dir, size) {
            Ok(file) => Arc::new(file),
            Err(error) => {
                let dir = self.dir.display();
                return warn!(%error, "cannot make a swap file in {dir}: a node goes without swap space");
            }
        };
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::with_capacity(64 * 1024, io::Cursor::new(rest).chain(reader));
        loop {
            match one_request(&mut reader, &mut writer, &file, size).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return self.drops.note(ip.into(), error);
                }
                Err(_) => return,
            }
        }
    }

    /// The size of the export and what was received after the negotiation; `None` if the client leaves.
    async fn negotiate(&self, stream: &mut TcpStream) -> io::Result<Option<(u64, Vec<u8>)>> {
        stream.write_all(&nbd::GREETING).await?;
        let mut negotiation = Negotiation::new(self.limit_gib);
        let mut buffer = [0; 4096];
        let mut options = 0;
        loop {
            match negotiation.next_event().map_err(io::Error::other)? {
                Some(NegotiationEvent::Wanted(wanted)) => {
                    stream.write_all(&wanted.granted()).await?;
                    if wanted.starts() {
                        return Ok(Some((wanted.export.size, negotiation.into_rest())));
                    }
                    continue;
                }
                Some(NegotiationEvent::Reply(reply)) => {
                    options += 1;
                    if options > OPTIONS_MAX {
                        return Err(io::Error::other("too many NBD options"));
                    }
                    stream.write_all(&reply).await?;
                    continue;
                }
                Some(NegotiationEvent::Abort(reply)) => {
                    stream.write_all(&reply).await?;
                    return Ok(None);
                }
                None => {}
            }
            match stream.read(&mut buffer).await? {
                0 => return Ok(None),
                n => negotiation.feed(&buffer[..n]),
            }
        }
    }
}

/// Serves one request; false at the end.
async fn one_request(
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWriteExt + Unpin),
    file: &Arc<File>,
    size: u64,
) -> io::Result<bool> {
    let mut header = [0; nbd::REQUEST_LEN];
    reader.read_exact(&mut header).await?;
    let request = NbdRequest::parse(&header)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let length = request.length as usize;
    let fits = request.fits(size);
    let file = Arc::clone(file);
    let (error, data) = match request.command {
        NbdCommand::Disconnect => return Ok(false),
        NbdCommand::Other(_) | NbdCommand::Flush | NbdCommand::Trim | NbdCommand::WriteZeroes => (NbdReplyError::Invalid, Vec::new()),
        NbdCommand::Read if !fits => (NbdReplyError::Invalid, Vec::new()),
        NbdCommand::Read => {
            let read = move || {
                let mut data = vec![0; length];
                file.read_exact_at(&mut data, request.offset).map(|()| data)
            };
            outcome(tokio::task::spawn_blocking(read).await?)
        }
        NbdCommand::Write => {
            let mut data = vec![0; length];
            timeout(TRANSFER_TIMEOUT, reader.read_exact(&mut data)).await??;
            if fits {
                let write = move || file.write_all_at(&data, request.offset).map(|()| Vec::new());
                outcome(tokio::task::spawn_blocking(write).await?)
            } else {
                (NbdReplyError::NoSpace, Vec::new())
            }
        }
    };
    let mut answer = nbd::simple_reply(request.cookie, error).to_vec();
    answer.extend(data);
    timeout(TRANSFER_TIMEOUT, writer.write_all(&answer)).await??;
    Ok(true)
}

fn outcome(result: io::Result<Vec<u8>>) -> (NbdReplyError, Vec<u8>) {
    match result {
        Ok(data) => (NbdReplyError::None, data),
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            (NbdReplyError::NoSpace, Vec::new())
        }
        Err(error) => {
            warn!(%error, "a swap file fails");
            (NbdReplyError::Io, Vec::new())
        }
    }
}

/// A sparse file of that size which no path names.
fn unnamed_file(dir: &Path, size: u64) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    let file = match options.clone().custom_flags(libc::O_TMPFILE).open(dir) {
        Ok(file) => file,
        // Not every file system can: make one and take its name away.
        Err(_) => {
            static NUMBER: AtomicU64 = AtomicU64::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = dir.join(format!(".swap-{}-{number}", std::process::id()));
            let file = options.create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            file
        }
    };
    file.set_len(size)?;
    Ok(file)
}
