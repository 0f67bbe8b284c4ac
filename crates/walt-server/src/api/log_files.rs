//! Logs as files: exports, bundles, and bundles that come back.

use std::io::{Error, Read, Write};
use std::pin::Pin;

use axum::body::Body as HttpBody;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt, stream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use walt_logs::{ExportFormat, Exporter, LogError};
use walt_proto::api::log::{self, BundleLogs, ExportLogs, LogImport};
use walt_proto::api::{Empty, route};

use super::Shared;
use super::caller::Caller;
use super::extract::{Body, Name};
use super::failure::Failure;
use super::log::{issuers, resolve, understand};
use crate::workflow::{bundle, imports};

/// Pieces of a file that wait for a slow client.
const QUEUE: usize = 4;
/// Bytes of a piece, about.
const PIECE: usize = 256 * 1024;
/// Issuers of a bundle when none are given.
const EVERYBODY: &str = "server,all-nodes";

type Pieces = mpsc::Sender<Result<Bytes, Error>>;

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
    let mut reader = plan.logs.history(plan.filter, range).await?;
    Ok(file(format.media_type(), move |mut out| {
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
    let plan = bundle::plan(&platform, &caller.user, &request.history, range, issuers).await?;
    Ok(file("application/zstd", move |out| bundle::write(plan, out)))
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
    let source = Received {
        stream: Box::pin(body.into_data_stream().map(|piece| piece.map_err(Error::other))),
        piece: Bytes::new(),
        runtime: Handle::current(),
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

fn gone(_: Error) -> LogError {
    LogError::Export("the client went away".to_owned())
}

/// Answers with a file that `work` writes on a thread of its own, as fast as it is taken. When it fails the answer is
/// cut before its last chunk.
fn file(
    media_type: &'static str,
    work: impl FnOnce(Sent) -> Result<(), LogError> + Send + 'static,
) -> Response {
    let (pieces, receiver) = mpsc::channel(QUEUE);
    let last: Pieces = pieces.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = work(Sent { pieces, piece: Vec::with_capacity(PIECE) }) {
            if !last.is_closed() {
                tracing::warn!("a file of logs was not completed: {error}");
            }
            let _ = last.blocking_send(Err(Error::other(error.to_string())));
        }
    });
    let body = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    ([(CONTENT_TYPE, media_type)], HttpBody::from_stream(body)).into_response()
}

/// What is written goes to the client.
pub(super) struct Sent {
    pieces: Pieces,
    piece: Vec<u8>,
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
        let sent = self.pieces.blocking_send(Ok(piece.into()));
        sent.map_err(|_| Error::from(std::io::ErrorKind::BrokenPipe))
    }
}

/// The body of a request, read from a thread that may wait.
struct Received {
    stream: Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>,
    piece: Bytes,
    runtime: Handle,
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.piece.is_empty() {
            match self.runtime.block_on(self.stream.next()) {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let count = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
