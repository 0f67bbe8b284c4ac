//! The serial console of a virtual node.
//!
//! QEMU writes everything to a log file too: what is printed while no server runs is not lost.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use crate::qemu::{CONSOLE_LOG, CONSOLE_SOCKET};
use crate::qmp::connect_in;

/// Bytes of output kept in memory for readers that arrive.
const HISTORY: usize = 256 << 10;
/// The log file is cut when it is larger than this, in bytes.
const LOG_LIMIT: u64 = 4 << 20;
/// Part of the log file kept (as `console.log.1`) when it is cut, in bytes.
const LOG_KEPT: u64 = 1 << 20;
/// QEMU sends single characters: those of this long make one message.
const GATHER: Duration = Duration::from_millis(20);
/// How long a guest may take to read what is typed.
const WRITE_DEADLINE: Duration = Duration::from_secs(2);
/// Messages a slow reader may be behind before it misses some.
const BACKLOG: usize = 1024;

/// A console: the same bytes to every reader, keys from any writer. It outlives the guest's resets,
/// QEMU's respawns and (by its log file) this process.
#[derive(Debug)]
pub struct Console {
    history: Mutex<VecDeque<u8>>,
    readers: broadcast::Sender<Bytes>,
    writer: tokio::sync::Mutex<Option<OwnedWriteHalf>>,
}

impl Console {
    /// A console with the history its log file holds.
    pub(crate) fn open(dir: &Path) -> Arc<Self> {
        let log = tail(&dir.join(CONSOLE_LOG), HISTORY as u64).unwrap_or_default();
        Arc::new(Self {
            history: Mutex::new(log.into()),
            readers: broadcast::channel(BACKLOG).0,
            writer: tokio::sync::Mutex::default(),
        })
    }

    /// The latest output (at most `limit` bytes) and a receiver of all that follows: nothing is
    /// missing or twice between the two. A reader too slow gets `Lagged` and goes on.
    pub fn attach(&self, limit: usize) -> (Bytes, broadcast::Receiver<Bytes>) {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = history.len().saturating_sub(limit);
        (history.iter().skip(skip).copied().collect(), self.readers.subscribe())
    }

    /// What the guest prints from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Bytes> {
        self.readers.subscribe()
    }

    /// The latest output (at most `limit` bytes).
    pub fn history(&self, limit: usize) -> Bytes {
        self.attach(limit).0
    }

    /// Types bytes into the console.
    ///
    /// # Errors
    /// The guest is not running (`NotConnected`) or does not read (`TimedOut`).
    pub async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut writer = self.writer.lock().await;
        let Some(stream) = writer.as_mut() else {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "the virtual node is not running",
            ));
        };
        match tokio::time::timeout(WRITE_DEADLINE, stream.write_all(bytes)).await {
            Ok(written) => written,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the virtual node does not read its console",
            )),
        }
    }

    /// Connects to a QEMU; the task ends with it.
    pub(crate) async fn connect(self: &Arc<Self>, dir: &Path) -> io::Result<JoinHandle<()>> {
        let (reader, writer) = connect_in(dir, CONSOLE_SOCKET).await?.into_split();
        *self.writer.lock().await = Some(writer);
        let console = self.clone();
        Ok(tokio::spawn(async move {
            console.follow(reader).await;
            *console.writer.lock().await = None;
        }))
    }

    async fn follow(&self, mut reader: OwnedReadHalf) {
        let mut buffer = vec![0; 32 << 10];
        loop {
            let mut filled = match reader.read(&mut buffer).await {
                Ok(count) if count > 0 => count,
                _ => return,
            };
            tokio::time::sleep(GATHER).await;
            while filled < buffer.len() {
                match reader.try_read(&mut buffer[filled..]) {
                    Ok(count) if count > 0 => filled += count,
                    _ => break,
                }
            }
            self.print(Bytes::copy_from_slice(&buffer[..filled]));
        }
    }

    fn print(&self, bytes: Bytes) {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.extend(&bytes);
        let excess = history.len().saturating_sub(HISTORY);
        history.drain(..excess);
        // Under the lock, so that `attach` sees these bytes on exactly one side.
        let _ = self.readers.send(bytes);
    }
}

/// Last bytes of a file, at most `limit`.
pub(crate) fn tail(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(limit)))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Cuts the log file when it is too large; QEMU appends to it, so it can be cut under it.
pub(crate) fn bound_log(dir: &Path) -> io::Result<()> {
    bound(dir, LOG_LIMIT, LOG_KEPT)
}

fn bound(dir: &Path, limit: u64, kept: u64) -> io::Result<()> {
    let path = dir.join(CONSOLE_LOG);
    if std::fs::metadata(&path).map_or(0, |metadata| metadata.len()) <= limit {
        return Ok(());
    }
    let end = tail(&path, kept)?;
    let mut old = File::create(dir.join(format!("{CONSOLE_LOG}.1")))?;
    old.write_all(&end)?;
    File::options().write(true).open(&path)?.set_len(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn history_and_readers() {
        let dir = std::env::temp_dir().join(format!("walt-console-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(CONSOLE_LOG), "before ").unwrap();
        let console = Console::open(&dir);
        let (history, mut reader) = console.attach(100);
        assert_eq!(&history[..], b"before ");
        console.print(Bytes::from_static(b"after"));
        assert_eq!(&reader.recv().await.unwrap()[..], b"after");
        assert_eq!(&console.history(8)[..], b"re after");
        console.print(vec![b'x'; HISTORY + 5].into());
        assert_eq!(console.history(usize::MAX).len(), HISTORY);
        assert_eq!(console.write(b"x").await.unwrap_err().kind(), io::ErrorKind::NotConnected);

        bound(&dir, 100, 4).unwrap();
        assert_eq!(std::fs::read(dir.join(CONSOLE_LOG)).unwrap(), b"before ");
        bound(&dir, 5, 4).unwrap();
        assert_eq!(std::fs::read(dir.join(CONSOLE_LOG)).unwrap(), b"");
        assert_eq!(std::fs::read(dir.join("console.log.1")).unwrap(), b"ore ");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
