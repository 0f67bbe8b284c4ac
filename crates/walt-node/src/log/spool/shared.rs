//! The spool between those who bring lines and the one who sends them.

use std::io;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use walt_proto::spooled::Date;

use super::Spool;

/// Longest text kept as one line, in bytes: with its date it is within what servers take.
const PIECE_MAX: usize = walt_proto::log_stream::LINE_MAX - 64;

/// While lines were declared safe in this time, one who finds no room waits for it: the link works, only slower than
/// the programs. After that lines are dropped: a program must not stop because the server is away.
const PATIENCE: Duration = Duration::from_secs(5);

/// A spool shared by threads.
pub struct SharedSpool {
    spool: Mutex<State>,
    changed: Condvar,
}

/// The spool, and what the threads say to each other.
pub struct State {
    spool: Spool,
    progress: Option<Instant>,
    /// Counts what the sender should look at besides lines: acknowledgements, the end of a connection.
    signals: u64,
    stopping: bool,
}

impl std::ops::Deref for State {
    type Target = Spool;

    fn deref(&self) -> &Spool {
        &self.spool
    }
}

impl SharedSpool {
    /// See [`Spool::open`].
    ///
    /// # Errors
    /// See [`Spool::open`].
    pub fn open(dir: &Path, limit: u64) -> io::Result<Self> {
        let spool = Spool::open(dir, limit)?;
        let state = State { spool, progress: None, signals: 0, stopping: false };
        Ok(Self { spool: Mutex::new(state), changed: Condvar::new() })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of this spool.
    pub fn session(&self) -> String {
        self.lock().session.clone()
    }

    /// The number of the last line known to be safe.
    pub fn acked(&self) -> u64 {
        self.lock().acked
    }

    /// The number the next line will get.
    pub fn next(&self) -> u64 {
        self.lock().next
    }

    /// Keeps a line. When there is no room: waits for it while the link works, else the line is dropped, and counted
    /// in a line that tells of it later.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn put(&self, stream: &str, date: Date, text: &str) -> io::Result<()> {
        let mut rest = text;
        // A server takes no longer lines: one that it refuses would come again for ever.
        while rest.len() > PIECE_MAX {
            let mut end = PIECE_MAX;
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            let (piece, after) = rest.split_at(end);
            self.put_piece(stream, date, piece)?;
            rest = after;
        }
        self.put_piece(stream, date, rest)
    }

    fn put_piece(&self, stream: &str, date: Date, text: &str) -> io::Result<()> {
        let mut state = self.lock();
        loop {
            if state.spool.tell_lost()? && state.spool.append(stream, date, text)? {
                self.changed.notify_all();
                return Ok(());
            }
            let waited = state.progress.map_or(PATIENCE, |progress| progress.elapsed());
            let patience = PATIENCE.saturating_sub(waited);
            if patience.is_zero() || state.stopping {
                state.spool.count_lost(stream);
                return Ok(());
            }
            state = self
                .changed
                .wait_timeout(state, patience)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// All lines up to this number are safe.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn acknowledge(&self, seq: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.spool.acknowledge(seq)?;
        state.spool.tell_lost()?;
        state.progress = Some(Instant::now());
        state.signals += 1;
        self.changed.notify_all();
        Ok(())
    }

    /// Wakes up the sender.
    pub fn signal(&self) {
        self.lock().signals += 1;
        self.changed.notify_all();
    }

    /// The daemon stops: nobody waits any more.
    pub fn stop(&self) {
        self.lock().stopping = true;
        self.changed.notify_all();
    }

    /// Was [`SharedSpool::stop`] called?
    pub fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    /// Waits until the line of this number exists, something was signalled since `seen`, the daemon stops or the time
    /// is over. Gives the present count of signals.
    pub fn wait(&self, next: u64, seen: u64, limit: Duration) -> u64 {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        while state.next <= next && state.signals == seen && !state.stopping {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.signals
    }
}
