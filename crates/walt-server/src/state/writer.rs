//! The one thread that changes the file: many changes, one commit, one disk flush.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::error::StateError;

/// Most changes in one commit.
const GROUP: usize = 512;

/// Runs one change and returns what answers its caller once the commit is done (or has failed).
type Job = Box<dyn FnOnce(&Connection) -> Reply + Send>;
type Reply = Box<dyn FnOnce(Result<(), &str>) + Send>;

/// A change on its way to the disk. Awaiting it (or [`blocking`](Self::blocking)) gives its result once it is
/// durable; dropping it does not cancel the change.
#[must_use = "the change is made anyway; await it to know that it is durable, or drop it with `.detach()`"]
pub struct Pending<T>(oneshot::Receiver<Result<T, StateError>>);

impl<T> Pending<T> {
    /// Do not wait. A failure is logged by the writer.
    pub fn detach(self) {}

    /// Wait on a thread that is not a reactor's.
    pub fn blocking(self) -> Result<T, StateError> {
        self.0.blocking_recv().unwrap_or(Err(StateError::Stopped))
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, StateError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|received| received.unwrap_or(Err(StateError::Stopped)))
    }
}

/// The queue of the writer thread; the thread ends, having written everything, when this is dropped.
pub(super) struct WriterHandle {
    jobs: Option<Sender<Job>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl WriterHandle {
    pub fn start(conn: Connection) -> Result<Self, StateError> {
        let (jobs, queue) = channel();
        let thread = std::thread::Builder::new()
            .name("state-writer".into())
            .spawn(move || run(conn, &queue))
            .map_err(|error| StateError::NotWritten(error.to_string()))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Queue a change. `what` names it in the journal.
    pub fn change<T: Send + 'static>(
        &self,
        what: &'static str,
        change: impl FnOnce(&Connection) -> Result<T, StateError> + Send + 'static,
    ) -> Pending<T> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |conn| {
            let result = isolated(conn, what, change);
            Box::new(move |committed| {
                let result = match committed {
                    Ok(()) => result,
                    Err(reason) => Err(StateError::NotWritten(reason.into())),
                };
                if let Err(Err(error)) = sender.send(result) {
                    tracing::error!("state: {what} failed: {error}");
                }
            })
        });
        if let Some(jobs) = &self.jobs {
            // The thread only ends after this sender is gone; otherwise the caller gets `Stopped`.
            let _ = jobs.send(job);
        }
        Pending(receiver)
    }
}

impl Drop for WriterHandle {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Run a change inside its own savepoint: one that fails, or panics, leaves no trace on the others of its group.
fn isolated<T>(
    conn: &Connection,
    what: &'static str,
    change: impl FnOnce(&Connection) -> Result<T, StateError>,
) -> Result<T, StateError> {
    conn.execute_batch("SAVEPOINT change")?;
    let result = catch_unwind(AssertUnwindSafe(|| change(conn))).unwrap_or_else(|_| {
        tracing::error!("state: {what} panicked");
        Err(StateError::NotWritten(format!("{what} panicked")))
    });
    if result.is_err() {
        conn.execute_batch("ROLLBACK TO change")?;
    }
    conn.execute_batch("RELEASE change")?;
    result
}

fn run(conn: Connection, queue: &Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        // Without a transaction around the group, the savepoint of a single change is one by itself.
        let grouped = match conn.execute_batch("BEGIN IMMEDIATE") {
            Ok(()) => true,
            Err(error) => {
                tracing::error!("state: cannot start a transaction: {error}");
                false
            }
        };
        let mut replies = vec![first(&conn)];
        while grouped
            && replies.len() < GROUP
            && let Ok(job) = queue.try_recv()
        {
            replies.push(job(&conn));
        }
        let committed = if grouped { conn.execute_batch("COMMIT") } else { Ok(()) }
            .map_err(|error| error.to_string());
        if let Err(reason) = &committed {
            tracing::error!("state: {} changes not written: {reason}", replies.len());
        }
        if !conn.is_autocommit() {
            let _ = conn.execute_batch("ROLLBACK");
        }
        for reply in replies {
            reply(committed.as_ref().copied().map_err(String::as_str));
        }
    }
}
