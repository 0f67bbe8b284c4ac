//! One TCP connection: records in, replies out, many calls under way.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clients::ToldSteps;
use crate::nfs::TRANSFER_MAX;
use crate::rpc::LAST_FRAGMENT;
use crate::service::{Outcome, Service, Transport};

/// Longest record: a WRITE of the most bytes with its header and credentials.
const RECORD_MAX: usize = TRANSFER_MAX as usize + 64 * 1024;
/// Fragments of one record. Clients send one.
const FRAGMENTS_MAX: usize = 64;
/// Calls under way elsewhere (reads from disk, persistent directories).
const IN_FLIGHT_MAX: usize = 32;
/// Bytes of replies waiting to be sent, above which no more calls are taken.
const REPLIES_MAX: usize = 4 * 1024 * 1024;
/// Small replies are put together up to this size.
const BATCH: usize = 64 * 1024;
/// Room for what is received at once.
const RECEIVE: usize = 64 * 1024;
/// How long the rest of a record may take.
const RECORD_TIMEOUT: Duration = Duration::from_secs(120);
/// How long calls under way may take when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers the calls of a connection until it ends or the server stops.
pub(super) async fn serve(
    service: Arc<Service>,
    stream: TcpStream,
    client: IpAddr,
    stop: CancellationToken,
) {
    let (done, finished) = mpsc::unbounded_channel();
    let (reader, writer) = stream.into_split();
    let mut connection = Connection {
        service,
        reader,
        writer,
        client,
        told: ToldSteps::default(),
        input: Records::default(),
        output: Replies::default(),
        in_flight: 0,
        done,
        finished,
    };
    let ended = tokio::select! {
        ended = connection.run() => ended,
        () = stop.cancelled() => connection.finish().await,
    };
    match ended {
        Ok(()) => tracing::debug!("{client}: NFS connection closed"),
        Err(error) => tracing::debug!("{client}: NFS connection closed: {error}"),
    }
}

struct Connection {
    service: Arc<Service>,
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    client: IpAddr,
    told: ToldSteps,
    input: Records,
    output: Replies,
    in_flight: usize,
    done: mpsc::UnboundedSender<Option<Vec<u8>>>,
    finished: mpsc::UnboundedReceiver<Option<Vec<u8>>>,
}

impl Connection {
    /// Every `.await` in here may be dropped without losing a byte.
    async fn run(&mut self) -> io::Result<()> {
        loop {
            let more = self.take_calls()?;
            self.send()?;
            if more && may_take(self.in_flight, &self.output) {
                // What was sent has made room for calls that are here already: nothing else would wake us for them.
                continue;
            }
            // One of the three is always awaited: when no calls are taken, some are under way or
            // some replies are to be sent.
            tokio::select! {
                Some(reply) = self.finished.recv(), if self.in_flight > 0 => {
                    self.finish_call(reply);
                    while let Ok(reply) = self.finished.try_recv() {
                        self.finish_call(reply);
                    }
                }
                received = receive(&mut self.reader, &mut self.input), if may_take(self.in_flight, &self.output) => {
                    if received? == 0 {
                        return Ok(());
                    }
                }
                writable = self.writer.writable(), if !self.output.is_empty() => writable?,
            }
        }
    }

    /// Carries out the calls that are there; `true` if some may be left, for want of room.
    fn take_calls(&mut self) -> io::Result<bool> {
        while may_take(self.in_flight, &self.output) {
            let Some(record) = self.input.next()? else {
                return Ok(false);
            };
            let outcome = self.service.call(
                self.client,
                Transport::Tcp,
                &mut self.told,
                &record,
                self.output.batch(),
            );
            match outcome {
                Outcome::Answered => {}
                Outcome::Garbage => return Err(invalid("a record is no RPC call")),
                Outcome::Later(job) => {
                    self.in_flight += 1;
                    let done = self.done.clone();
                    tokio::task::spawn_blocking(move || {
                        // The receiver is gone when the connection is: then nobody waits.
                        let _ = done.send(job());
                    });
                }
            }
        }
        Ok(true)
    }

    fn finish_call(&mut self, reply: Option<Vec<u8>>) {
        self.in_flight -= 1;
        if let Some(reply) = reply {
            self.output.push(reply);
        }
    }

    /// Sends what the socket takes now.
    fn send(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            let sent = {
                let mut slices = [IoSlice::new(&[]); 16];
                match self.output.slices(&mut slices) {
                    1 => self.writer.try_write(&slices[0]),
                    count => self.writer.try_write_vectored(&slices[..count]),
                }
            };
            match sent {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => self.output.sent(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Answers the calls under way, takes no more.
    async fn finish(&mut self) -> io::Result<()> {
        let answers = async {
            loop {
                self.send()?;
                if self.in_flight > 0 {
                    if let Some(reply) = self.finished.recv().await {
                        self.finish_call(reply);
                    }
                } else if self.output.is_empty() {
                    return Ok(());
                } else {
                    self.writer.writable().await?;
                }
            }
        };
        tokio::time::timeout(STOP_TIMEOUT, answers)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Whether another call may be carried out now, or must wait in the socket.
fn may_take(in_flight: usize, output: &Replies) -> bool {
    in_flight < IN_FLIGHT_MAX && output.len() < REPLIES_MAX
}

/// Waits for more bytes; 0 at the end of the stream.
async fn receive(reader: &mut OwnedReadHalf, input: &mut Records) -> io::Result<usize> {
    input.make_room();
    if !input.is_partial() {
        return reader.read_buf(&mut input.buffer).await;
    }
    // The client, or somebody who plays one, stopped in the middle of a record.
    tokio::time::timeout(RECORD_TIMEOUT, reader.read_buf(&mut input.buffer))
        .await
        .unwrap_or_else(|_| Err(invalid("the rest of a record does not come")))
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The records in what was received (RFC 5531 section 11).
#[derive(Default)]
struct Records {
    buffer: BytesMut,
    /// Fragments of a record whose last one has not come.
    fragments: BytesMut,
    fragment_count: usize,
}

impl Records {
    /// The next whole record.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let Some(mark) = self.buffer.first_chunk::<4>() else {
                return Ok(None);
            };
            let mark = u32::from_be_bytes(*mark);
            let len = (mark & !LAST_FRAGMENT) as usize;
            let last = mark & LAST_FRAGMENT != 0;
            if self.fragments.len() + len > RECORD_MAX || self.fragment_count >= FRAGMENTS_MAX {
                return Err(invalid("a record is too long"));
            }
            if self.buffer.len() - 4 < len {
                return Ok(None);
            }
            self.buffer.advance(4);
            let fragment = self.buffer.split_to(len);
            if last && self.fragment_count == 0 {
                return Ok(Some(fragment.freeze()));
            }
            self.fragments.extend_from_slice(&fragment);
            self.fragment_count += 1;
            if last {
                self.fragment_count = 0;
                return Ok(Some(std::mem::take(&mut self.fragments).freeze()));
            }
        }
    }

    fn is_partial(&self) -> bool {
        !self.buffer.is_empty() || self.fragment_count > 0
    }

    /// Room for the rest of the fragment being received, and for some calls after it.
    fn make_room(&mut self) {
        let missing = self.buffer.first_chunk::<4>().map_or(0, |mark| {
            let len = (u32::from_be_bytes(*mark) & !LAST_FRAGMENT) as usize;
            (4 + len.min(RECORD_MAX)).saturating_sub(self.buffer.len())
        });
        self.buffer.reserve(missing.max(RECEIVE));
    }
}

/// Replies to send, small ones together.
#[derive(Default)]
struct Replies {
    queue: VecDeque<Vec<u8>>,
    /// Bytes of the first one that were sent.
    sent: usize,
    len: usize,
    /// Where small replies are added.
    batch: Vec<u8>,
}

impl Replies {
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.len + self.batch.len()
    }

    /// Where to write a reply made at once.
    fn batch(&mut self) -> &mut Vec<u8> {
        if self.batch.len() >= BATCH {
            self.close_batch();
        }
        &mut self.batch
    }

    fn push(&mut self, reply: Vec<u8>) {
        if reply.len() < 4096 {
            self.batch().extend_from_slice(&reply);
        } else {
            self.close_batch();
            self.len += reply.len();
            self.queue.push_back(reply);
        }
    }

    fn close_batch(&mut self) {
        if !self.batch.is_empty() {
            self.len += self.batch.len();
            self.queue.push_back(std::mem::take(&mut self.batch));
        }
    }

    fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        let queued = self.queue.iter().map(Vec::as_slice);
        for (slice, bytes) in slices.iter_mut().zip(queued.chain([&self.batch[..]])) {
            let skipped = if count == 0 { self.sent } else { 0 };
            *slice = IoSlice::new(&bytes[skipped..]);
            count += 1;
        }
        count
    }

    fn sent(&mut self, mut sent: usize) {
        while let Some(first) = self.queue.front() {
            let left = first.len() - self.sent;
            if sent < left {
                self.sent += sent;
                self.len -= sent;
                return;
            }
            sent -= left;
            self.len -= left;
            self.sent = 0;
            self.queue.pop_front();
        }
        if sent == self.batch.len() && self.sent == 0 {
            // The usual case: all is sent and the memory is kept for the next replies.
            self.batch.clear();
        } else if sent > 0 || self.sent > 0 {
            self.close_batch();
            self.sent += sent;
            self.len -= sent;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn records(bytes: &[u8]) -> (Vec<Bytes>, bool) {
        let mut records = Records::default();
        records.buffer.extend_from_slice(bytes);
        let mut all = Vec::new();
        loop {
            match records.next() {
                Ok(Some(record)) => all.push(record),
                Ok(None) => return (all, true),
                Err(_) => return (all, false),
            }
        }
    }

    #[test]
    fn records_of_one_and_several_fragments() {
        let mut bytes = Vec::new();
        for (mark, data) in [
            (0x8000_0002_u32, &b"ab"[..]),
            (0x0000_0001, b"c"),
            (0x0000_0000, b""),
            (0x8000_0002, b"de"),
            (0x8000_0005, b"fg"),
        ] {
            bytes.extend(mark.to_be_bytes());
            bytes.extend(data);
        }
        let (all, sound) = records(&bytes);
        assert!(sound);
        assert_eq!(all, [&b"ab"[..], b"cde"]);
    }

    #[test]
    fn long_records_are_refused_before_they_come() {
        assert!(!records(&0xffff_ffff_u32.to_be_bytes()).1);
        assert!(!records(&(RECORD_MAX as u32 + 1).to_be_bytes()).1);
        assert!(!records(&[0; 4 * (FRAGMENTS_MAX + 1)]).1);
    }

    #[test]
    fn replies_are_sent_in_order_whatever_the_socket_takes() {
        for step in [1, 3, 7, 5000, 100_000] {
            let mut replies = Replies::default();
            replies.batch().extend_from_slice(b"first");
            replies.push(vec![1; 5000]);
            replies.push(b"small".to_vec());
            replies.batch().extend_from_slice(b"last");
            let mut seen = Vec::new();
            while !replies.is_empty() {
                let mut slices = [IoSlice::new(&[]); 2];
                let count = replies.slices(&mut slices);
                let bytes: Vec<u8> =
                    slices[..count].iter().flat_map(|slice| slice.to_vec()).take(step).collect();
                replies.sent(bytes.len());
                seen.extend(bytes);
            }
            let mut expected = b"first".to_vec();
            expected.extend([1; 5000]);
            expected.extend(b"smalllast");
            assert_eq!(seen, expected, "{step} bytes at a time");
            assert_eq!(replies.len, 0);
        }
    }
}
