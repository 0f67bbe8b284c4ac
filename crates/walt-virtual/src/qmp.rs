//! QEMU's machine protocol (docs/interop/qmp-spec of QEMU): JSON lines on a Unix socket.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{mpsc, oneshot};

/// How long QEMU may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// Longest line accepted, in bytes.
const LINE_LIMIT: u64 = 1 << 20;

/// Something QEMU tells by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct QmpEvent {
    /// e.g. `RESET`, `SHUTDOWN`, `GUEST_PANICKED`.
    pub name: String,
    /// Its data.
    pub data: Value,
}

/// Why QEMU gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The socket failed.
    #[error("cannot talk to QEMU: {0}")]
    Io(#[from] io::Error),
    /// QEMU refused.
    #[error("QEMU refused '{command}': {message}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's words.
        message: String,
    },
    /// No answer in time, or the connection went away.
    #[error("QEMU does not answer '{0}'")]
    NoAnswer(String),
}

type Pending = Arc<Mutex<HashMap<u64, oneshot::Sender<Result<Value, String>>>>>;

/// A connection. There can be one at a time: QEMU serves the next client when this one goes.
#[derive(Debug)]
pub struct Qmp {
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    pending: Pending,
    next: AtomicU64,
    reader: tokio::task::JoinHandle<()>,
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

#[derive(Deserialize)]
struct Line {
    id: Option<u64>,
    #[serde(rename = "return")]
    answer: Option<Value>,
    error: Option<Refusal>,
    event: Option<String>,
    #[serde(default)]
    data: Value,
}

#[derive(Deserialize)]
struct Refusal {
    desc: String,
}

impl Qmp {
    /// Connects and negotiates. Events come by the channel, which closes with the connection.
    ///
    /// # Errors
    /// Nobody listens; QEMU does not answer.
    pub async fn connect(
        dir: &Path,
        socket: &str,
    ) -> Result<(Self, mpsc::Receiver<QmpEvent>), QmpError> {
        let stream = connect_in(dir, socket).await?;
        let (reader, writer) = stream.into_split();
        let pending = Pending::default();
        let (events, receiver) = mpsc::channel(64);
        let reader = tokio::spawn(read(BufReader::new(reader), pending.clone(), events));
        let qmp = Self {
            writer: tokio::sync::Mutex::new(writer),
            pending,
            next: AtomicU64::new(1),
            reader,
        };
        qmp.execute("qmp_capabilities", json!({})).await?;
        Ok((qmp, receiver))
    }

    /// Runs a command and gives its answer.
    ///
    /// # Errors
    /// QEMU refused, or did not answer in 5 s.
    pub async fn execute(&self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        let line = format!("{}\n", json!({ "execute": command, "arguments": arguments, "id": id }));
        let exchange = async {
            self.writer.lock().await.write_all(line.as_bytes()).await?;
            receiver.await.map_err(|_| QmpError::NoAnswer(command.to_owned()))
        };
        let answer = tokio::time::timeout(DEADLINE, exchange).await;
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        match answer {
            Ok(answer) => answer?
                .map_err(|message| QmpError::Refused { command: command.to_owned(), message }),
            Err(_) => Err(QmpError::NoAnswer(command.to_owned())),
        }
    }
}

async fn read(
    mut lines: impl AsyncBufRead + Unpin,
    pending: Pending,
    events: mpsc::Sender<QmpEvent>,
) {
    loop {
        let mut line = Vec::new();
        match (&mut lines).take(LINE_LIMIT).read_until(b'\n', &mut line).await {
            Ok(count) if count > 0 => {}
            _ => break,
        }
        let Ok(line) = serde_json::from_slice::<Line>(&line) else { continue };
        if let Some(name) = line.event {
            // A supervisor that does not read loses events, not the connection.
            let _ = events.try_send(QmpEvent { name, data: line.data });
        } else if let Some(id) = line.id {
            let waiting = pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            if let Some(waiting) = waiting {
                let _ = waiting.send(match line.error {
                    Some(refusal) => Err(refusal.desc),
                    None => Ok(line.answer.unwrap_or_default()),
                });
            }
        }
    }
    pending.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// Connects to a socket in a directory, however long the directory's path is (unix(7) limits the
/// path of a socket to 108 bytes).
pub(crate) async fn connect_in(dir: &Path, socket: &str) -> io::Result<UnixStream> {
    use std::os::fd::AsRawFd;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(dir, flags, Mode::empty())?;
    UnixStream::connect(format!("/proc/self/fd/{}/{socket}", fd.as_raw_fd())).await
}
