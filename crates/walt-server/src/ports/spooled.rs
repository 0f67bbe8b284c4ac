//! Request 100 of TCP 12347: log lines that their node keeps until they are safe here.
//!
//! Bounds: the header time for the whole handshake, [`WINDOW`] batches not yet committed (then the peer is no longer
//! read), [`ACK_TIMEOUT`] for a peer that does not read what it is told.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;
use walt_proto::spooled::{Date, NodeEvent, ServerMessage, SpoolReader, VERSION_LINE};

use super::hub::{Caller, Safe, SpooledLine};
use super::streams::{HEADER_TIMEOUT, Streams};

/// Batches of lines given to the store and not yet safe, per connection.
const WINDOW: usize = 16;

/// Size of one read, which makes one batch.
const READ_SIZE: usize = 32 * 1024;

/// How long a peer may leave an acknowledgement unread.
const ACK_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection after its request line.
struct Connection {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    reader: SpoolReader,
}

impl Streams {
    /// Serves such a connection to its end.
    pub(super) async fn spooled(&self, mut stream: TcpStream, ip: Ipv4Addr, rest: Vec<u8>) {
        let Some(caller) = self.hub.caller(ip) else {
            // The version line all the same: this is not an original server, and the node keeps its lines.
            let _ = stream.write_all(format!("{VERSION_LINE}\n").as_bytes()).await;
            return self.drops.note(ip.into(), "spooled log lines of an unknown device");
        };
        let (read, write) = stream.into_split();
        let mut reader = SpoolReader::new();
        reader.feed(&rest);
        let mut connection = Connection { read, write, reader };
        let opened = timeout(HEADER_TIMEOUT, self.handshake(&mut connection, &caller)).await;
        let ended = match opened {
            Ok(Ok(Some((session, offset)))) => {
                self.spooled_lines(connection, &caller, session, offset).await
            }
            Ok(Ok(None)) => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other("spooled logs: too slow to say what it has")),
        };
        // A connection that is cut is the node's affair; what it says wrong is told.
        if let Err(error) = ended
            && error.kind() == io::ErrorKind::Other
        {
            self.drops.note(ip.into(), error);
        }
    }

    /// Version, clocks, session. `None` when the peer leaves.
    async fn handshake(
        &self,
        connection: &mut Connection,
        caller: &Caller,
    ) -> io::Result<Option<(Arc<str>, i64)>> {
        connection.say(&format!("{VERSION_LINE}\n")).await?;
        let mut offset = 0;
        let mut buffer = [0; 1024];
        let mut received = SystemTime::now();
        loop {
            while let Some(event) = connection.reader.next_event().map_err(io::Error::other)? {
                match event {
                    NodeEvent::Clock(t0) => {
                        let (t1, t2) = (micros(received), micros(SystemTime::now()));
                        connection.say(&ServerMessage::Clock { t0, t1, t2 }.to_wire()).await?;
                    }
                    NodeEvent::Offset(measured) => {
                        offset = measured.offset;
                        self.hub.clock_measured(caller, measured);
                    }
                    NodeEvent::Session { id, .. } => {
                        let session: Arc<str> = id.into();
                        let last = self.hub.spooled(caller, Arc::clone(&session)).await;
                        let last = last.map_err(io::Error::other)?;
                        connection.say(&ServerMessage::Resume(last).to_wire()).await?;
                        return Ok(Some((session, offset)));
                    }
                    NodeEvent::Line { .. } | NodeEvent::Close => return Ok(None),
                }
            }
            let n = connection.read.read(&mut buffer).await?;
            if n == 0 {
                return Ok(None);
            }
            received = SystemTime::now();
            connection.reader.feed(&buffer[..n]);
        }
    }

    async fn spooled_lines(
        &self,
        connection: Connection,
        caller: &Caller,
        session: Arc<str>,
        offset: i64,
    ) -> io::Result<()> {
        let Connection { mut read, write, mut reader } = connection;
        let (safe, to_acknowledge) = mpsc::channel(WINDOW);
        let lines = async move {
            let mut buffer = vec![0; READ_SIZE];
            loop {
                let mut lines = Vec::new();
                let mut closed = false;
                let received = SystemTime::now();
                while let Some(event) = reader.next_event().map_err(io::Error::other)? {
                    match event {
                        NodeEvent::Line { seq, stream, date, text } => {
                            let timestamp = dated(date, offset, received);
                            lines.push(SpooledLine { seq, stream, timestamp, text });
                        }
                        NodeEvent::Close => closed = true,
                        NodeEvent::Clock(_) | NodeEvent::Offset(_) | NodeEvent::Session { .. } => {}
                    }
                }
                if let Some(last) = lines.last().map(|line| line.seq) {
                    let pushed = self.hub.log_spooled(caller, Arc::clone(&session), lines).await;
                    let Some(pushed) = pushed else { return Ok(()) };
                    if safe.send((last, pushed)).await.is_err() {
                        return Ok(());
                    }
                }
                if closed {
                    return Ok(());
                }
                let n = read.read(&mut buffer).await?;
                if n == 0 {
                    return Ok(());
                }
                reader.feed(&buffer[..n]);
            }
        };
        // When the peer is gone or talks nonsense, what it sent before is stored all the same.
        let (told, read) = tokio::join!(acknowledge(write, to_acknowledge), lines);
        read.and(told)
    }
}

impl Connection {
    async fn say(&mut self, text: &str) -> io::Result<()> {
        self.write.write_all(text.as_bytes()).await
    }
}

/// Tells what is safe, in order. A failure of the store ends the connection: the node sends again.
async fn acknowledge(
    mut write: OwnedWriteHalf,
    mut batches: mpsc::Receiver<(u64, Safe)>,
) -> io::Result<()> {
    while let Some((last, safe)) = batches.recv().await {
        if !safe.await {
            return Ok(());
        }
        let told = ServerMessage::Ack(last).to_wire();
        timeout(ACK_TIMEOUT, write.write_all(told.as_bytes())).await??;
    }
    write.shutdown().await
}

/// The date a line gets: reception for a date that cannot be true, as for all log lines.
fn dated(date: Date, offset: i64, received: SystemTime) -> SystemTime {
    let micros = match date {
        Date::Given(micros) => micros,
        Date::Arrival(micros) => micros.saturating_add(offset).min(self::micros(received)),
    };
    walt_proto::log_stream::believable(micros, received)
}

fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_put_on_the_servers_clock() {
        let received = SystemTime::UNIX_EPOCH + Duration::from_secs(1_751_286_001);
        let now = micros(received);
        let told = |date, offset| micros(dated(date, offset, received));
        assert_eq!(told(Date::Given(now - 7), 1000), now - 7);
        assert_eq!(told(Date::Arrival(now - 5_000_000), 2_000_000), now - 3_000_000);
        assert_eq!(told(Date::Arrival(1000), now - 2000), now - 1000);
        assert_eq!(told(Date::Arrival(now), 10), now);
        assert_eq!(told(Date::Given(0), 0), now);
        assert_eq!(told(Date::Arrival(i64::MAX), i64::MAX), now);
        assert_eq!(told(Date::Arrival(i64::MIN), -1), now);
    }
}
