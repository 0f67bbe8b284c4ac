//! Bytes between a task and a thread that blocks (one that reads or writes a tar stream).

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

/// Pieces waiting at most.
const QUEUE: usize = 16;
/// Largest piece written, in bytes.
const PIECE: usize = 64 << 10;

/// The end that a task uses: it gives what the thread reads, or gets what it writes.
pub type Given = mpsc::Sender<io::Result<Bytes>>;
/// See [`Given`].
pub type Got = mpsc::Receiver<io::Result<Bytes>>;

/// For a thread that reads: what the task gives, until its end is dropped.
pub fn reader() -> (Given, Reader) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (sender, Reader { from: receiver, piece: Bytes::new() })
}

/// For a thread that writes.
pub fn writer() -> (Writer, Got) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Writer { to: sender, piece: Vec::with_capacity(PIECE) }, receiver)
}

/// Reads what a task gives. An error it gives is an error of reading.
#[derive(Debug)]
pub struct Reader {
    from: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.from.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len());
        buffer[..count].copy_from_slice(&self.piece[..count]);
        self.piece.advance(count);
        Ok(count)
    }
}

/// Gives a task what is written.
#[derive(Debug)]
pub struct Writer {
    to: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Writer {
    /// A way to tell the same when the writer itself is given away.
    pub fn failures(&self) -> Given {
        self.to.clone()
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.to.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_ways() {
        let (given, mut reader) = reader();
        let reading = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            let end = reader.read_to_string(&mut text);
            (text, end.map_err(|error| error.kind()))
        });
        for piece in ["a", "", "bc"] {
            given.send(Ok(Bytes::from(piece))).await.unwrap();
        }
        given.send(Err(io::ErrorKind::ConnectionReset.into())).await.unwrap();
        assert_eq!(reading.await.unwrap(), ("abc".into(), Err(io::ErrorKind::ConnectionReset)));

        let (mut writer, mut got) = writer();
        tokio::task::spawn_blocking(move || {
            writer.write_all(&vec![7; PIECE + 1]).unwrap();
            writer.flush().unwrap();
        });
        let mut count = 0;
        while let Some(piece) = got.recv().await {
            count += piece.unwrap().len();
        }
        assert_eq!(count, PIECE + 1);
    }
}
