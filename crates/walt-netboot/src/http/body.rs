//! The body of a boot file: read by pieces on blocking threads, one piece ahead of the connection.

use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::files::Content;
use crate::policy::{BootEvent, BootObservation, BootPolicy, Via};

/// Bytes read at once.
const PIECE: u64 = 256 << 10;

/// Part of a file on its way; tells the policy when it ends, completely or not.
pub(crate) struct FileBody {
    content: Content,
    /// Next byte to read.
    next: u64,
    /// Byte after the last one.
    end: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    given: u64,
    length: u64,
    report: Report,
}

/// What is needed to tell the end of a transfer.
pub(crate) struct Report {
    pub policy: Arc<dyn BootPolicy>,
    pub client: Ipv4Addr,
    pub path: String,
    pub started: Instant,
}

impl FileBody {
    /// Bytes `start..end` of `content`.
    pub(crate) fn new(content: Content, start: u64, end: u64, report: Report) -> Self {
        let length = end - start;
        let mut body = Self { content, next: start, end, reading: None, given: 0, length, report };
        body.read_on();
        body
    }

    /// Starts to read the next piece, if there is one.
    fn read_on(&mut self) {
        let length = (self.end - self.next).min(PIECE);
        if length > 0 {
            let (content, offset) = (self.content.clone(), self.next);
            self.reading =
                Some(tokio::task::spawn_blocking(move || content.read(offset, length as usize)));
            self.next += length;
        }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(reading) = &mut self.reading else {
            return Poll::Ready(None);
        };
        let read = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        let bytes = match read.map_err(io::Error::other).and_then(|read| read) {
            Ok(bytes) => bytes,
            Err(error) => return Poll::Ready(Some(Err(error))),
        };
        self.given += bytes.len() as u64;
        self.read_on();
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.reading.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length - self.given)
    }
}

impl Drop for FileBody {
    fn drop(&mut self) {
        let Report { policy, client, path, started } = &self.report;
        let (via, path, bytes, duration) = (Via::Http, path.clone(), self.given, started.elapsed());
        let event = if self.given == self.length {
            BootEvent::FileEnd { via, path, bytes, duration }
        } else {
            let reason = "the connection was closed, or the file could not be read".to_owned();
            BootEvent::FileBroken { via, path, bytes, duration, reason }
        };
        tracing::debug!(%client, ?event, "HTTP");
        policy.observe(BootObservation::now(Some(*client), None, event));
    }
}
