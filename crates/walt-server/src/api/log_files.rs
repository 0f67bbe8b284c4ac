//! Logs as files: exports, bundles, and bundles that come back.

use std::io::{Error, ErrorKind, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body as HttpBody;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt, stream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::timeout;
use walt_logs::{ExportFormat, Exporter, LogError};
use walt_proto::api::log::{self, BundleLogs, ExportLogs, LogImport};
use walt_proto::api::{self, ApiError, Empty, route};

use super::Shared;
use super::caller::Caller;
use super::extract::{Body, Name};
use super::failure::Failure;
use super::log::{issuers, lacking, resolve, understand};
use crate::workflow::{bundle, imports};

/// Pieces of a file that wait for a slow client.
const QUEUE: usize = 4;
/// Bytes of a piece, about.
const PIECE: usize = 256 * 1024;
/// Issuers of a bundle when none are given.
const EVERYBODY: &str = "server,all-nodes";

/// A client that takes or gives nothing for that long is given up: a thread waits for it.
const STALLED: Duration = Duration::from_secs(60);

/// Files made or read at the same time, each by a thread of its own.
static ROOM: Semaphore = Semaphore::const_new(8);

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route(route::LOGS_EXPORT, post(export))
        .route(route::LOGS_BUNDLE, post(bundle_of))
        .route(route::LOGS_IMPORTS, get(list))
        .route(route::LOGS_IMPORT, put(import).delete(remove).layer(DefaultBodyLimit::disable()))
}

async fn export(
    State(platform): State<Shared>,
    caller: Caller,
    Body(request): Body<ExportLogs>,
) -> Result<Response, Failure> {
    if request.query.realtime || request.query.limit.is_some() {
        return Err(Failure::invalid("An export is of the past, and of all lines of a range."));
    }
    let format = match request.format {
        log::ExportFormat::Jsonl => ExportFormat::Jsonl,
        log::ExportFormat::Csv => ExportFormat::Csv,
        log::ExportFormat::Parquet => ExportFormat::Parquet,
    };
    let plan = understand(&platform, &caller.user, request.query).await?;
    let Some(range) = plan.range else {
        return Err(Failure::invalid("A history range is needed: 'full' exports everything."));
    };
    let room = room()?;
    let mut reader = plan.logs.history(plan.filter, range).await?;
    whole(reader.not_written())?;
    Ok(file(room, format.media_type(), move |mut out| {
        let mut exporter = Exporter::new(format)?;
        while let Some(page) = Handle::current().block_on(reader.next_page())? {
            exporter.add(&page)?;
            let ready = exporter.take();
            out.write_all(&ready).map_err(gone)?;
        }
        out.write_all(&exporter.finish()?).map_err(gone)?;
        out.flush().map_err(gone)
    }))
}

async fn bundle_of(
    State(platform): State<Shared>,
    caller: Caller,
    Body(request): Body<BundleLogs>,
) -> Result<Response, Failure> {
    let set = request.issuers.as_deref().unwrap_or(EVERYBODY);
    // A platform may have no node: the set of all of them is then empty, not wrong.
    let issuers = match request.issuers {
        None => issuers(&platform, &caller.user, set).ok(),
        Some(_) => Some(issuers(&platform, &caller.user, set)?),
    };
    let Some(range) = resolve(&platform.logs, &caller.user, &request.history).await? else {
        return Err(Failure::invalid("A bundle needs a history range, such as start:end."));
    };
    let room = room()?;
    let plan = bundle::plan(&platform, &caller.user, &request.history, range, issuers).await?;
    whole(plan.not_written())?;
    Ok(file(room, "application/zstd", move |out| bundle::write(plan, out)))
}

async fn list(State(platform): State<Shared>) -> Result<Json<Vec<LogImport>>, Failure> {
    Ok(Json(imports::list(&platform).await?))
}

async fn import(
    State(platform): State<Shared>,
    caller: Caller,
    Name(label): Name,
    body: HttpBody,
) -> Result<Json<LogImport>, Failure> {
    let _room = room()?;
    let source = Received {
        stream: Box::pin(body.into_data_stream().map(|piece| piece.map_err(Error::other))),
        piece: Bytes::new(),
        runtime: Handle::current(),
        patience: STALLED,
    };
    Ok(Json(imports::add(&platform, &caller.user, &label, source).await?))
}

async fn remove(
    State(platform): State<Shared>,
    caller: Caller,
    Name(label): Name,
) -> Result<Json<Empty>, Failure> {
    imports::remove(&platform, &caller.user, &label).await?;
    Ok(Json(Empty {}))
}

/// Room for one more file.
fn room() -> Result<SemaphorePermit<'static>, Failure> {
    ROOM.try_acquire().map_err(|_| {
        let message = "Other files of logs are being made or read.";
        let error = ApiError::new(api::ErrorKind::Unavailable, message);
        error.with_tip("try again in a moment").into()
    })
}

/// A file is of all lines, or is not made.
fn whole(not_written: Option<&str>) -> Result<(), Failure> {
    let Some(reason) = not_written else { return Ok(()) };
    let error = ApiError::new(api::ErrorKind::Unavailable, format!("Not now: {}", lacking(reason)));
    Err(error.with_tip("walt log show shows what is there").into())
}

fn gone(_: Error) -> LogError {
    LogError::Export("the client went away".to_owned())
}

/// Answers with a file that `work` writes on a thread of its own, as fast as it is taken. When it fails the answer is
/// cut before its last chunk.
fn file(
    room: SemaphorePermit<'static>,
    media_type: &'static str,
    work: impl FnOnce(Sent) -> Result<(), LogError> + Send + 'static,
) -> Response {
    let (pieces, receiver) = mpsc::channel(QUEUE);
    let whole = Arc::<AtomicBool>::default();
    let out = Sent {
        pieces,
        piece: Vec::with_capacity(PIECE),
        runtime: Handle::current(),
        patience: STALLED,
    };
    // The last sender goes away after the end was told.
    let (done, last) = (whole.clone(), out.pieces.clone());
    tokio::task::spawn_blocking(move || {
        let (_room, last) = (room, last);
        match work(out) {
            Ok(()) => done.store(true, Ordering::Release),
            Err(_) if last.is_closed() => {}
            Err(error) => tracing::warn!("a file of logs was not completed: {error}"),
        }
    });
    let body = stream::unfold(Some(receiver), move |receiver| {
        let whole = whole.clone();
        async move {
            let mut receiver = receiver?;
            match receiver.recv().await {
                Some(piece) => Some((Ok(piece), Some(receiver))),
                None if whole.load(Ordering::Acquire) => None,
                None => Some((Err(Error::other("the file is not whole")), None)),
            }
        }
    });
    ([(CONTENT_TYPE, media_type)], HttpBody::from_stream(body)).into_response()
}

/// What is written goes to the client.
pub(super) struct Sent {
    pieces: mpsc::Sender<Bytes>,
    piece: Vec<u8>,
    runtime: Handle,
    patience: Duration,
}

impl Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        let sent = self.pieces.send_timeout(piece.into(), self.patience);
        self.runtime.block_on(sent).map_err(|_| Error::from(ErrorKind::BrokenPipe))
    }
}

/// The body of a request, read from a thread that may wait.
struct Received {
    stream: Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>,
    piece: Bytes,
    runtime: Handle,
    patience: Duration,
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.piece.is_empty() {
            let next = async { timeout(self.patience, self.stream.next()).await };
            match self.runtime.block_on(next) {
                Ok(Some(piece)) => self.piece = piece?,
                Ok(None) => return Ok(0),
                Err(_) => {
                    let seconds = self.patience.as_secs();
                    let why = format!("nothing came for {seconds} s");
                    return Err(Error::new(ErrorKind::TimedOut, why));
                }
            }
        }
        let count = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (pieces, receiver) = mpsc::channel(QUEUE);
        let (runtime, patience) = (Handle::current(), Duration::from_millis(50));
        let mut out = Sent { pieces, piece: Vec::new(), runtime, patience };
        let written = tokio::task::spawn_blocking(move || {
            (0..100).find_map(|_| out.write_all(&[0; PIECE]).err()).map(|error| error.kind())
        });
        let written = timeout(Duration::from_secs(30), written).await.expect("it waits for ever");
        assert_eq!(written.unwrap(), Some(ErrorKind::BrokenPipe));
        drop(receiver);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_client_that_gives_nothing_is_given_up() {
        let mut source = Received {
            stream: Box::pin(stream::iter([Ok(Bytes::from("abc"))]).chain(stream::pending())),
            piece: Bytes::new(),
            runtime: Handle::current(),
            patience: Duration::from_millis(50),
        };
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            (source.read_to_end(&mut bytes).unwrap_err().kind(), bytes)
        });
        let read = timeout(Duration::from_secs(30), read).await.expect("it waits for ever");
        assert_eq!(read.unwrap(), (ErrorKind::TimedOut, b"abc".to_vec()));
    }

    #[tokio::test]
    async fn a_file_that_is_not_whole_is_cut() {
        for whole in [true, false] {
            let response = file(room().unwrap(), "text/plain", move |mut out| {
                out.write_all(b"abc").map_err(gone)?;
                out.flush().map_err(gone)?;
                if whole { Ok(()) } else { Err(LogError::Stopped) }
            });
            let body = axum::body::to_bytes(response.into_body(), 100).await;
            assert_eq!(body.is_ok(), whole, "{body:?}");
        }
    }

    #[tokio::test]
    async fn files_are_bounded_in_number() {
        let open: Vec<Response> = (0..8)
            .map(|_| {
                file(room().unwrap(), "text/plain", |mut out| {
                    loop {
                        out.write_all(&[0; PIECE]).map_err(gone)?;
                    }
                })
            })
            .collect();
        assert_eq!(room().unwrap_err().0.kind, api::ErrorKind::Unavailable);
        drop(open);
        let free = async {
            while room().is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(30), free).await.expect("no room after the clients left");
    }
}
