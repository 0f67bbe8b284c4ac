//! Files of a node, as tar streams carried by ssh.

use std::process::Stdio;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use std::net::Ipv4Addr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use walt_proto::api::error::GateMode;
use walt_proto::api::transfer::{PathInfo, PathKind, PathQuery};
use walt_proto::api::{ApiError, Empty, ErrorKind, TAR};

use super::Shared;
use super::caller::Caller;
use super::extract::{Name, Query};
use super::failure::Failure;
use super::gate;
use crate::node_access::{SshError, path};
use crate::platform::Platform;

/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;
/// Most bytes of error output kept.
const MAX_STDERR: u64 = 16 * 1024;

pub(super) async fn look(
    State(platform): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Query(query): Query<PathQuery>,
) -> Result<Json<PathInfo>, Failure> {
    let ip = address(&platform, &caller, &name, query.confirmed)?;
    Ok(Json(path::look(&platform.ssh, ip, &query.path).await?))
}

pub(super) async fn download(
    State(platform): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Query(query): Query<PathQuery>,
) -> Result<Response, Failure> {
    let ip = address(&platform, &caller, &name, query.confirmed)?;
    let found = path::look(&platform.ssh, ip, &query.path).await?;
    if found.kind == PathKind::Missing {
        let message = format!("No such file or directory: {}", found.path);
        return Err(ApiError::new(ErrorKind::NotFound, message).into());
    }
    let remote = path::send_command(&query.path, query.name.as_deref());
    let mut command = platform.ssh.command(ip, false, Some(&remote));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(SshError::Start)?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(Failure::internal(&"ssh has no output"));
    };
    let errors = tokio::spawn(kept(stderr));
    // The body fails, so that it is cut before its last chunk, unless ssh says that all went well.
    let state = Some((child, stdout, errors));
    let body = stream::unfold(state, |state| async move {
        let (mut child, mut stdout, errors) = state?;
        let mut chunk = vec![0; CHUNK];
        let error = match stdout.read(&mut chunk).await {
            Ok(0) => match child.wait().await {
                Ok(status) if status.success() => return None,
                Ok(status) => {
                    let said = errors.await.unwrap_or_default();
                    tracing::warn!(%status, "a download from a node failed: {said}");
                    std::io::Error::other(said)
                }
                Err(error) => error,
            },
            Ok(n) => {
                chunk.truncate(n);
                return Some((Ok(Bytes::from(chunk)), Some((child, stdout, errors))));
            }
            Err(error) => error,
        };
        Some((Err(error), None))
    });
    Ok(([(CONTENT_TYPE, TAR)], Body::from_stream(body)).into_response())
}

pub(super) async fn upload(
    State(platform): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Query(query): Query<PathQuery>,
    body: Body,
) -> Result<Json<Empty>, Failure> {
    let ip = address(&platform, &caller, &name, query.confirmed)?;
    let remote = path::receive_command(&query.path);
    let mut command = platform.ssh.command(ip, false, Some(&remote));
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(SshError::Start)?;
    let (Some(mut stdin), Some(stderr)) = (child.stdin.take(), child.stderr.take()) else {
        return Err(Failure::internal(&"ssh has no input"));
    };
    let errors = tokio::spawn(kept(stderr));
    let mut data = body.into_data_stream();
    while let Some(chunk) = data.next().await {
        let chunk = chunk.map_err(|error| {
            // Dropping the child kills ssh: the tar at the other end sees a cut archive and fails.
            Failure::invalid(format!("The transfer was cut: {error}."))
        })?;
        if stdin.write_all(&chunk).await.is_err() {
            // ssh ended early: its status and its words say why.
            break;
        }
    }
    let _ = stdin.shutdown().await;
    drop(stdin);
    let status = child.wait().await.map_err(|error| Failure::internal(&error))?;
    if status.success() {
        return Ok(Json(Empty {}));
    }
    let stderr = errors.await.unwrap_or_default();
    Err(match status.code() {
        Some(255) => SshError::Unreachable { ip, why: stderr },
        code => SshError::Failed { ip, status: code.unwrap_or(-1), stderr },
    }
    .into())
}

fn address(
    platform: &Platform,
    caller: &Caller,
    name: &str,
    confirmed: bool,
) -> Result<Ipv4Addr, Failure> {
    let mode = GateMode::OwnedOrFree;
    let device = gate::one(platform, &caller.user, name, mode, confirmed)?;
    device.ip.ok_or_else(|| {
        let message = format!("The address of {} is not known yet.", device.name);
        ApiError::new(ErrorKind::Unreachable, message).into()
    })
}

/// What a program says on its error output, within bounds; the rest is read and dropped.
pub(super) async fn kept(mut output: impl AsyncRead + Unpin) -> String {
    let mut text = Vec::new();
    let _ = (&mut output).take(MAX_STDERR).read_to_end(&mut text).await;
    let _ = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&text).trim().to_owned()
}
