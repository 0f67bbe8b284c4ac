//! Questions in SQL: a process answers each, and is killed when nobody listens any more or when it takes too long.

use std::process::Stdio;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use walt_proto::api::sql::SqlRequest;
use walt_proto::api::{ApiError, ErrorKind, Event};

use super::Shared;
use super::caller::Caller;
use super::extract::Body;
use super::failure::Failure;
use super::stream::{Reporter, events};
use crate::sql::worker::MAX_REQUEST;

/// Longest time for an answer, the time its reader takes included.
const LIMIT: Duration = Duration::from_secs(120);
/// Longest line of the process, in bytes.
const MAX_LINE: u64 = 1 << 20;

/// Answers made at the same time.
static ROOM: Semaphore = Semaphore::const_new(4);

pub(super) async fn ask(
    State(platform): State<Shared>,
    caller: Caller,
    Body(request): Body<SqlRequest>,
) -> Result<Response, Failure> {
    if request.query.len() >= MAX_REQUEST {
        let message = format!("The request is longer than {MAX_REQUEST} bytes.");
        return Err(Failure::invalid(message));
    }
    let Ok(room) = ROOM.try_acquire() else {
        let error = ApiError::new(ErrorKind::Unavailable, "Other questions are being answered.");
        return Err(error.with_tip("try again in a moment").into());
    };
    tracing::debug!(user = %caller.user, "SQL question");
    let state_dir = platform.place.state_dir.clone();
    let stopped = platform.tasks.token();
    Ok(events(&platform.tasks, "SQL question", |report| async move {
        let _room = room;
        let mut child = Command::new("/proc/self/exe")
            .args(["sql-worker".as_ref(), "--state-dir".as_ref(), state_dir.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failure::internal(&error))?;
        let end = tokio::select! {
            end = relay(&mut child, &request.query, &report) => end,
            () = report.gone() => Ok(()),
            () = tokio::time::sleep(LIMIT) => {
                let message = format!("This took more than {} seconds.", LIMIT.as_secs());
                let tip = "select a shorter span of time; logs have an index on timestamp";
                Err(ApiError::new(ErrorKind::Timeout, message).with_tip(tip).into())
            }
            () = stopped.cancelled() => {
                Err(ApiError::new(ErrorKind::Unavailable, "The server is stopping.").into())
            }
        };
        // Already ended, or not worth waiting for.
        let _ = child.kill().await;
        end.map(|()| None)
    }))
}

/// Gives the request to the process, and what it says to the client.
async fn relay(child: &mut Child, request: &str, report: &Reporter) -> Result<(), Failure> {
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Failure::internal(&"no pipe to the process"));
    };
    // It reads all of it before it says anything.
    let given = input.write_all(request.as_bytes()).await;
    drop(input);
    given.map_err(|error| Failure::internal(&error))?;
    let mut output = BufReader::new(output);
    let mut line = String::new();
    loop {
        line.clear();
        let read = (&mut output).take(MAX_LINE).read_line(&mut line).await;
        read.map_err(|error| Failure::internal(&error))?;
        match Event::from_line(&line) {
            Ok(Event::Done { .. }) => return Ok(()),
            Ok(Event::Error(error)) => return Err(error.into()),
            Ok(event) => {
                report.send(event).await;
            }
            // Its memory or its processor time was over.
            Err(_) => {
                let message = "The answer could not be made: it needs too much memory or time.";
                let error = ApiError::new(ErrorKind::Invalid, message);
                return Err(error.with_tip("select less, or sort less").into());
            }
        }
    }
}
