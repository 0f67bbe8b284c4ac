//! Bringing the write-ahead log of SQLite into the main file, on a thread beside the writer: what is copied and
//! synchronised there does not delay the lines that come meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::error::LogError;
use crate::schema;

/// How often the thread looks.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes of new lines worth a copy at once.
const MUCH: u64 = 8 << 20;
/// A few lines are copied after that time.
const LATE: Duration = Duration::from_secs(60);
/// Pages in the write-ahead log above which the writer is asked to help: only while it does not write can the log
/// begin anew.
const LONG_PAGES: i64 = 8_192;

/// What the writer and the thread tell each other.
#[derive(Default)]
pub(crate) struct Progress {
    unsaved: AtomicU64,
    long: AtomicBool,
}

/// The writer's end; the thread stops when it is dropped.
pub(crate) struct Saver {
    progress: Arc<Progress>,
    _alive: Sender<()>,
}

impl Saver {
    /// Start the thread.
    pub fn start(path: &Path) -> Result<Self, LogError> {
        let conn = schema::open_reader(path)?;
        conn.pragma_update(None, "query_only", false)?;
        let progress = Arc::<Progress>::default();
        let (alive, stop) = channel();
        let seen = progress.clone();
        std::thread::Builder::new()
            .name("log-saver".into())
            .spawn(move || run(&conn, &seen, &stop))
            .map_err(|error| LogError::NotWritten(format!("no thread: {error}")))?;
        Ok(Self { progress, _alive: alive })
    }

    /// Lines of that many bytes were committed.
    pub fn note(&self, bytes: u64) {
        self.progress.unsaved.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Called by the writer between two groups: finishes the copy when the log became long.
    pub fn help(&self, conn: &Connection) {
        if self.progress.long.swap(false, Ordering::Relaxed) {
            self.hurry(conn);
        }
    }

    /// Called by the writer when a group is refused: room in a log that is copied is used again.
    pub fn hurry(&self, conn: &Connection) {
        if let Err(error) = copy(conn) {
            tracing::debug!("the write-ahead log of the log database stays long: {error}");
        }
    }
}

fn run(conn: &Connection, progress: &Progress, stop: &Receiver<()>) {
    let mut last = Instant::now();
    let mut failed = false;
    while matches!(stop.recv_timeout(LOOK), Err(RecvTimeoutError::Timeout)) {
        let unsaved = progress.unsaved.load(Ordering::Relaxed);
        if unsaved < MUCH && (unsaved == 0 || last.elapsed() < LATE) {
            continue;
        }
        last = Instant::now();
        match copy(conn) {
            Ok(pages) => {
                progress.unsaved.fetch_sub(unsaved, Ordering::Relaxed);
                progress.long.store(pages > LONG_PAGES, Ordering::Relaxed);
                failed = false;
            }
            Err(error) => {
                if !failed {
                    tracing::warn!("the write-ahead log of the log database grows: {error}");
                }
                failed = true;
            }
        }
    }
}

/// Copies what can be copied; the number of pages in the log.
fn copy(conn: &Connection) -> Result<i64, rusqlite::Error> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1))
}
