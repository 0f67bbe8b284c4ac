//! The store as a whole.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot, watch};
use walt_model::{CheckpointName, DeviceName, Mac, UserName};

use crate::catalogue::Catalogue;
use crate::checkpoint::{self, Checkpoint};
use crate::error::LogError;
use crate::query::{Filter, TimeRange};
use crate::reader::{self, LogReader};
use crate::record::Timestamp;
use crate::ring::Ring;
use crate::saver::Saver;
use crate::schema;
use crate::sink::LogSink;
use crate::spool::{self, Clock};
use crate::writer::{Answer, Job, Writer};

/// What a commit must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The death of the process (`synchronous=NORMAL`): the kernel has the data.
    #[default]
    ProcessKill,
    /// A power cut too (`synchronous=FULL`): the disk has the data. Slower.
    PowerCut,
}

/// Sizes and delays of a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most records in one commit.
    pub group_lines: usize,
    /// How long the first record of a group waits for others.
    pub linger: Duration,
    /// Bytes of records waiting to be written; see [`LogSink`].
    pub queue_bytes: usize,
    /// Bytes of recent records kept in memory for live readers.
    pub ring_bytes: usize,
    /// Queries running at the same time.
    pub readers: usize,
    /// What a commit must survive.
    pub durability: Durability,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            group_lines: 10_000,
            linger: Duration::from_millis(10),
            queue_bytes: 16 << 20,
            ring_bytes: 8 << 20,
            readers: 4,
            durability: Durability::default(),
        }
    }
}

/// Figures since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Records committed.
    pub written: u64,
    /// Records left out because their device is not (or no longer) known.
    pub unknown_issuer: u64,
    /// Number of the last committed record.
    pub last_seq: u64,
}

/// State shared by the writer and the readers.
pub(crate) struct Shared {
    path: PathBuf,
    pub catalogue: RwLock<Catalogue>,
    pub ring: RwLock<Ring>,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    written: AtomicU64,
    unknown: AtomicU64,
    /// The store is being closed: the writer no longer waits for a disk that refuses.
    pub closing: AtomicBool,
}

impl Shared {
    pub fn count_written(&self, count: u64) {
        self.written.fetch_add(count, Ordering::Relaxed);
    }

    pub fn count_unknown(&self, count: u64) {
        self.unknown.fetch_add(count, Ordering::Relaxed);
    }

    /// Run a query on a connection of the pool, off the reactor.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        query: impl FnOnce(&Connection, &Shared) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| LogError::Stopped)?;
        let shared = self.clone();
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let idle = shared.idle.lock().pop();
            let conn = match idle {
                Some(conn) => conn,
                None => schema::open_reader(&shared.path)?,
            };
            let result = query(&conn, &shared);
            shared.idle.lock().push(conn);
            result
        })
        .await
        .map_err(|_| LogError::Stopped)?
    }
}

/// The log store. Cheap to clone; stops when the last clone (and sink) is dropped, or by [`close`](Self::close).
#[derive(Clone)]
pub struct LogStore {
    pub(crate) shared: Arc<Shared>,
    sink: LogSink,
    committed: watch::Receiver<u64>,
}

impl LogStore {
    /// Open or create the file and start the writer thread.
    ///
    /// # Errors
    /// [`LogError::Open`] or [`LogError::Newer`].
    pub fn open(path: &Path, options: Options) -> Result<Self, LogError> {
        let conn = schema::open_writer(path, options.durability)?;
        let last_seq = last_seq(&conn)?;
        let doomed = conn
            .prepare("SELECT id FROM logstreams WHERE issuer_mac IS NULL")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            catalogue: RwLock::new(Catalogue::load(&conn)?),
            ring: RwLock::new(Ring::new(last_seq, options.ring_bytes)),
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(options.readers.max(1))),
            written: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            closing: AtomicBool::new(false),
        });
        let (jobs, queue) = mpsc::channel();
        let room = Arc::new(Semaphore::new(options.queue_bytes.max(1 << 20)));
        let lost = Arc::new(Mutex::default());
        let (sender, committed) = watch::channel(last_seq);
        let writer = Writer {
            conn,
            jobs: queue,
            shared: shared.clone(),
            committed: sender,
            room: room.clone(),
            lost: lost.clone(),
            group_lines: options.group_lines.max(1),
            linger: options.linger,
            doomed,
            last_seq,
            saver: Saver::start(path)?,
        };
        std::thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || writer.run())
            .map_err(|error| LogError::NotWritten(format!("no thread for the writer: {error}")))?;
        Ok(Self { shared, sink: LogSink { jobs, room, lost }, committed })
    }

    /// Where to give records.
    pub fn sink(&self) -> LogSink {
        self.sink.clone()
    }

    /// Make a device known, or give it its new name: its past and future lines show the new name.
    /// The answer comes after the commit; records may be pushed right after the call.
    pub fn name_issuer(&self, issuer: Mac, name: &DeviceName) -> Written {
        let name = name.as_str().into();
        self.ask(move |answer| Job::Name(issuer, name, answer))
    }

    /// Forget a device: its lines and streams are gone from every query when this answers. Records pushed
    /// before are written first and deleted too; those pushed afterwards are left out until it is named again.
    pub fn remove_issuer(&self, issuer: Mac) -> Written {
        self.ask(move |answer| Job::Remove(issuer, answer))
    }

    /// Wait until everything pushed before this call is committed.
    ///
    /// # Errors
    /// [`LogError::NotWritten`] when the disk refuses; the records are kept and tried again.
    pub fn flush(&self) -> Written {
        self.ask(Job::Flush)
    }

    /// Write what is queued and stop; afterwards pushes are refused and readers end.
    ///
    /// # Errors
    /// [`LogError::NotWritten`] when the disk refused the last lines several times.
    pub async fn close(&self) -> Result<(), LogError> {
        self.shared.closing.store(true, Ordering::Relaxed);
        self.ask(Job::Stop).await
    }

    /// Past records, by (timestamp, number). Everything pushed before this call is included, but for what the disk
    /// refuses: see [`LogReader::not_written`].
    pub async fn history(&self, filter: Filter, range: TimeRange) -> Result<LogReader, LogError> {
        let not_written = self.settle().await?;
        Ok(self.reader(filter, Some(range), false).lacking(not_written))
    }

    /// Records committed from now on, in arrival order.
    pub fn tail(&self, filter: Filter) -> LogReader {
        self.reader(filter, None, true)
    }

    /// Records after a number, in the order of the store; then, as [`tail`](Self::tail), those to come.
    pub fn since(&self, number: u64) -> LogReader {
        let shared = self.shared.clone();
        LogReader::new(shared, self.committed.clone(), Filter::default(), None, true, number)
    }

    /// Past records by (timestamp, number), then without gap nor duplicate all later ones in arrival order.
    /// The range limits the past ones only. What the disk refuses when this is called comes once it takes it.
    pub async fn follow(&self, filter: Filter, range: TimeRange) -> Result<LogReader, LogError> {
        let not_written = self.settle().await?;
        Ok(self.reader(filter, Some(range), true).lacking(not_written))
    }

    /// Waits until everything pushed before is committed, or the disk refuses it: then why.
    pub(crate) async fn settle(&self) -> Result<Option<String>, LogError> {
        match self.flush().await {
            Ok(()) => Ok(None),
            Err(LogError::NotWritten(reason)) => Ok(Some(reason)),
            Err(error) => Err(error),
        }
    }

    /// Number of past records, counting stops at `limit`.
    pub async fn count(
        &self,
        filter: Filter,
        range: TimeRange,
        limit: Option<u64>,
    ) -> Result<u64, LogError> {
        self.settle().await?;
        reader::count(&self.shared, filter, range, limit).await
    }

    /// The number of the last committed line of a spool of a device; 0 when the spool is not known. Batches
    /// pushed before this call are included.
    pub async fn spooled(&self, issuer: Mac, session: Arc<str>) -> Result<u64, LogError> {
        self.flush().await?;
        self.shared.read(move |conn, _| spool::last(conn, issuer, &session)).await
    }

    /// Note a measure of a device's clock.
    pub fn note_clock(&self, issuer: Mac, clock: Clock) -> Written {
        let shared = self.shared.clone();
        self.ask(move |answer| {
            let change = move |conn: &Connection| {
                let mut catalogue = shared.catalogue.write();
                if catalogue.knows(issuer) {
                    spool::note_clock(conn, issuer, clock)?;
                    catalogue.note_clock(issuer, clock);
                }
                Ok(())
            };
            Job::Change(Some(Box::new(change)), answer)
        })
    }

    /// The latest measure of a device's clock.
    pub fn clock(&self, issuer: Mac) -> Option<Clock> {
        self.shared.catalogue.read().clock(issuer)
    }

    /// Every device that is known, and its name, sorted by name.
    pub fn issuers(&self) -> Vec<(Mac, Arc<str>)> {
        let catalogue = self.shared.catalogue.read();
        let mut issuers: Vec<_> =
            catalogue.issuers().map(|(mac, name)| (mac, name.clone())).collect();
        issuers.sort_by(|a, b| a.1.cmp(&b.1));
        issuers
    }

    /// Figures since the store was opened.
    pub fn stats(&self) -> Stats {
        Stats {
            written: self.shared.written.load(Ordering::Relaxed),
            unknown_issuer: self.shared.unknown.load(Ordering::Relaxed),
            last_seq: *self.committed.borrow(),
        }
    }

    /// Name an instant for a user.
    ///
    /// # Errors
    /// [`LogError::CheckpointExists`].
    pub async fn add_checkpoint(
        &self,
        user: &UserName,
        name: &CheckpointName,
        timestamp: Timestamp,
    ) -> Result<(), LogError> {
        let (user, name) = (user.clone(), name.clone());
        self.ask(|answer| {
            let change = move |conn: &Connection| {
                checkpoint::add(conn, user.as_str(), name.as_str(), timestamp)
            };
            Job::Change(Some(Box::new(change)), answer)
        })
        .await
    }

    /// Forget a named instant of a user.
    ///
    /// # Errors
    /// [`LogError::NoSuchCheckpoint`].
    pub async fn remove_checkpoint(
        &self,
        user: &UserName,
        name: &CheckpointName,
    ) -> Result<(), LogError> {
        let (user, name) = (user.clone(), name.clone());
        self.ask(|answer| {
            let change =
                move |conn: &Connection| checkpoint::remove(conn, user.as_str(), name.as_str());
            Job::Change(Some(Box::new(change)), answer)
        })
        .await
    }

    /// The named instants of a user, by time.
    pub async fn checkpoints(&self, user: &UserName) -> Result<Vec<Checkpoint>, LogError> {
        let user = user.clone();
        self.shared.read(move |conn, _| checkpoint::list(conn, user.as_str())).await
    }

    /// A named instant of a user.
    ///
    /// # Errors
    /// [`LogError::NoSuchCheckpoint`].
    pub async fn checkpoint(
        &self,
        user: &UserName,
        name: &CheckpointName,
    ) -> Result<Checkpoint, LogError> {
        let (user, name) = (user.clone(), name.clone());
        self.shared.read(move |conn, _| checkpoint::get(conn, user.as_str(), name.as_str())).await
    }

    /// A small change made in the next commit.
    pub(crate) fn change(
        &self,
        change: impl FnOnce(&Connection) -> Result<(), LogError> + Send + 'static,
    ) -> Written {
        self.ask(|answer| Job::Change(Some(Box::new(change)), answer))
    }

    fn reader(&self, filter: Filter, range: Option<TimeRange>, live: bool) -> LogReader {
        let mut committed = self.committed.clone();
        let cut = *committed.borrow_and_update();
        LogReader::new(self.shared.clone(), committed, filter, range, live, cut)
    }

    /// Queue a job now; the future only waits for its answer.
    fn ask(&self, job: impl FnOnce(Answer) -> Job) -> Written {
        let (answer, reply) = oneshot::channel();
        let queued = self.sink.jobs.send(job(answer)).is_ok();
        Written(queued.then_some(reply))
    }
}

/// Something given to the writer when the method was called. Awaiting it tells when it is committed; dropping it
/// does not undo it.
#[must_use = "it is done anyway; await it to know that it is committed, or `.detach()` it"]
pub struct Written(Option<oneshot::Receiver<Result<(), LogError>>>);

impl Written {
    pub(crate) fn new(reply: oneshot::Receiver<Result<(), LogError>>) -> Self {
        Self(Some(reply))
    }

    /// Do not wait.
    pub fn detach(self) {}
}

impl Future for Written {
    type Output = Result<(), LogError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            None => Poll::Ready(Err(LogError::Stopped)),
            Some(reply) => {
                Pin::new(reply).poll(cx).map(|received| received.unwrap_or(Err(LogError::Stopped)))
            }
        }
    }
}

/// The last number ever given.
fn last_seq(conn: &Connection) -> Result<u64, LogError> {
    let last: i64 = conn.query_row(
        "SELECT max(ifnull((SELECT max(seq) FROM logs), 0),
                    ifnull((SELECT value FROM counters WHERE name = 'last_seq'), 0))",
        [],
        |row| row.get(0),
    )?;
    Ok(last.max(0) as u64)
}
