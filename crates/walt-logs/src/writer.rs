//! The one thread that numbers and writes records, in groups.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use tokio::sync::{Semaphore, oneshot, watch};
use walt_model::Mac;

use crate::catalogue::{Stream, StreamId};
use crate::error::LogError;
use crate::record::{LogRecord, StreamName, Timestamp};
use crate::ring::Committed;
use crate::saver::Saver;
use crate::sink::Lost;
use crate::spool::{self, SpooledBatch};
use crate::store::Shared;

/// An answer given once what was asked is committed.
pub(crate) type Answer = oneshot::Sender<Result<(), LogError>>;
/// A small change made in the next commit, or alone while the disk refuses lines.
pub(crate) type Change = Box<dyn FnOnce(&Connection) -> Result<(), LogError> + Send>;

/// Something for the writer to do, in the order of arrival.
pub(crate) enum Job {
    /// A record and what it takes of the queue's room.
    Record(LogRecord, u32),
    /// Records in their order and what they take.
    Records(Vec<LogRecord>, u32),
    /// Lines of a spool, what they take of the room, and who waits for their commit.
    Spooled(SpooledBatch, u32, Answer),
    Flush(Answer),
    Name(Mac, Arc<str>, Answer),
    Remove(Mac, Answer),
    /// Without its change once that was tried.
    Change(Option<Change>, Answer),
    Stop(Answer),
}

impl Job {
    /// How many lines it holds.
    fn lines(&self) -> usize {
        match self {
            Self::Record(..) => 1,
            Self::Records(records, _) => records.len(),
            Self::Spooled(batch, ..) => batch.lines.len(),
            _ => 0,
        }
    }

    /// What it takes of the queue's room.
    fn cost(&self) -> usize {
        match self {
            Self::Record(_, cost) | Self::Records(_, cost) | Self::Spooled(_, cost, _) => {
                *cost as usize
            }
            _ => 0,
        }
    }
}

/// Wait between two attempts to write a group that could not be written.
const RETRY: Duration = Duration::from_millis(500);
/// Attempts made for a group when the store is being closed.
const ATTEMPTS_WHEN_CLOSING: u32 = 4;
/// Most streams of a device; lines of more of them are kept in one, [`TOO_MANY_STREAMS`].
const MAX_STREAMS: usize = 20_000;
const TOO_MANY_STREAMS: &str = "too-many-streams";
/// Lines of removed devices deleted between two groups.
const DELETE_STEP: usize = 5_000;

pub(crate) struct Writer {
    pub conn: Connection,
    pub jobs: Receiver<Job>,
    pub shared: Arc<Shared>,
    pub committed: watch::Sender<u64>,
    pub room: Arc<Semaphore>,
    pub lost: Arc<Mutex<Lost>>,
    pub group_lines: usize,
    pub linger: Duration,
    /// Streams of removed devices whose lines are still to delete.
    pub doomed: Vec<StreamId>,
    pub last_seq: u64,
    pub saver: Saver,
}

/// What a group changes in memory once it is committed.
#[derive(Default)]
pub(crate) struct Effects {
    records: Vec<Committed>,
    changes: Vec<CatalogueChange>,
    /// Streams made by this group.
    made: HashMap<(Mac, StreamName), StreamId>,
    /// Issuers named (true) or removed (false) by this group.
    issuers: HashMap<Mac, bool>,
    doomed: Vec<StreamId>,
    /// Lines and bytes added to streams.
    added: HashMap<StreamId, (i64, i64)>,
    /// The stream of the last record: the next one is likely to be of it too.
    latest: Option<(Mac, StreamName, StreamId)>,
    unknown: u64,
    last_seq: u64,
}

enum CatalogueChange {
    Name(Mac, Arc<str>),
    Add(StreamId, Stream),
    Remove(Mac),
}

impl Writer {
    /// Work until told to stop, or until every sender is gone.
    pub fn run(mut self) {
        loop {
            let Some(first) = self.next_job() else { break };
            let (group, mut stop) = self.gather(first);
            let written = self.write_stubbornly(group, &mut stop);
            self.saver.help(&self.conn);
            if let Some(answer) = stop {
                self.room.close();
                let _ = self.conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
                let _ = answer.send(written);
                break;
            }
        }
        self.room.close();
    }

    /// The next job; lines of removed devices are deleted while there is none.
    fn next_job(&mut self) -> Option<Job> {
        loop {
            if self.doomed.is_empty() {
                return self.jobs.recv().ok();
            }
            match self.jobs.recv_timeout(Duration::from_millis(1)) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => self.delete_some(),
            }
        }
    }

    /// The jobs that will share one commit: those that come within `linger` of the first, up to
    /// `group_lines`. A job somebody waits for ends the group.
    fn gather(&mut self, first: Job) -> (Vec<Job>, Option<Answer>) {
        let deadline = Instant::now() + self.linger;
        let mut group = Vec::new();
        let mut lines = 0;
        let mut next = Some(first);
        while let Some(job) = next {
            let urgent = match job {
                Job::Stop(answer) => return (group, Some(answer)),
                Job::Record(..) | Job::Records(..) => false,
                _ => true,
            };
            lines += job.lines();
            group.push(job);
            next = if lines >= self.group_lines {
                None
            } else if urgent {
                self.jobs.try_recv().ok()
            } else {
                self.jobs.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
            };
        }
        (group, None)
    }

    /// Write a group; when that fails, say so and try again until it works: the queue's bound and the
    /// answers given to `flush` carry the trouble to the callers. Only a store being closed gives up.
    fn write_stubbornly(
        &mut self,
        mut group: Vec<Job>,
        stop: &mut Option<Answer>,
    ) -> Result<(), LogError> {
        let lost = std::mem::take(&mut *self.lost.lock());
        let mut failures = 0u32;
        loop {
            let cost: usize = group.iter().map(Job::cost).sum();
            let Err(error) = self.write(&mut group, &lost) else {
                self.room.add_permits(cost);
                return Ok(());
            };
            let reason = error.to_string();
            if failures.is_multiple_of(20) {
                let count: usize = group.iter().map(Job::lines).sum();
                tracing::error!("{count} log records could not be written, trying again: {reason}");
            }
            failures += 1;
            self.saver.hurry(&self.conn);
            for job in std::mem::take(&mut group) {
                self.defer(job, &mut group, &reason);
            }
            let alone = self.wait_for_the_disk(&mut group, stop, &reason);
            if failures >= ATTEMPTS_WHEN_CLOSING
                && (alone || self.shared.closing.load(Ordering::Relaxed))
            {
                tracing::error!("stopping with {} log records not written: {reason}", group.len());
                return Err(LogError::NotWritten(reason));
            }
        }
    }

    /// Until the next attempt, takes what comes; true when nobody is left who could send something.
    fn wait_for_the_disk(
        &mut self,
        group: &mut Vec<Job>,
        stop: &mut Option<Answer>,
        reason: &str,
    ) -> bool {
        let next = Instant::now() + RETRY;
        // What comes after a stop is not taken.
        while stop.is_none() {
            match self.jobs.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Job::Stop(answer)) => *stop = Some(answer),
                // Somebody asks how it is now: that is answered by an attempt.
                Ok(job @ Job::Flush(_)) => {
                    group.push(job);
                    return false;
                }
                Ok(job) => self.defer(job, group, reason),
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        stop.is_none()
    }

    /// A job while the group cannot be written: who waits is told, what must not be lost joins the group, a change
    /// is tried alone, since it may be what gives the room back.
    fn defer(&mut self, job: Job, group: &mut Vec<Job>, reason: &str) {
        let tell = |answer: Answer| {
            let _ = answer.send(Err(LogError::NotWritten(reason.to_owned())));
        };
        // Stands for an answer that was given.
        let nobody = || oneshot::channel().0;
        match job {
            Job::Flush(answer) | Job::Change(None, answer) => tell(answer),
            Job::Change(Some(change), answer) => {
                let _ = answer.send(self.change_alone(change));
            }
            Job::Name(mac, name, answer) => {
                tell(answer);
                group.push(Job::Name(mac, name, nobody()));
            }
            Job::Remove(mac, answer) => {
                tell(answer);
                group.push(Job::Remove(mac, nobody()));
            }
            // A spool waits for the commit, nothing else would help it.
            job @ (Job::Record(..) | Job::Records(..) | Job::Spooled(..) | Job::Stop(_)) => {
                group.push(job);
            }
        }
    }

    fn change_alone(&mut self, change: Change) -> Result<(), LogError> {
        let tx = self.conn.transaction().map_err(not_written)?;
        change(&tx).map_err(|error| match error {
            LogError::Sqlite(error) => not_written(error),
            other => other,
        })?;
        tx.commit().map_err(not_written)
    }

    /// One attempt. Jobs that answer are taken out of the group only once the commit is done.
    fn write(&mut self, group: &mut Vec<Job>, lost: &Lost) -> Result<(), LogError> {
        let mut effects = Effects { last_seq: self.last_seq, ..Effects::default() };
        let mut refused: HashMap<usize, LogError> = HashMap::new();
        let tx = self.conn.transaction()?;
        for ((issuer, stream), count) in lost {
            let text = format!("<{count} lines lost: the log queue was full>");
            let note = LogRecord::line(*issuer, stream.clone(), Timestamp::now(), text);
            insert(&tx, &self.shared, &mut effects, &note)?;
        }
        for (index, job) in group.iter_mut().enumerate() {
            match job {
                Job::Record(record, _) => insert(&tx, &self.shared, &mut effects, record)?,
                Job::Records(records, _) => {
                    for record in records {
                        insert(&tx, &self.shared, &mut effects, record)?;
                    }
                }
                Job::Spooled(batch, ..) => {
                    spool::insert_batch(&tx, &self.shared, &mut effects, batch)?;
                }
                Job::Name(mac, name, _) => {
                    tx.prepare_cached(
                        "INSERT INTO issuers(mac, name) VALUES (?1, ?2)
                         ON CONFLICT (mac) DO UPDATE SET name = excluded.name",
                    )?
                    .execute(params![mac.to_string(), &**name])?;
                    effects.issuers.insert(*mac, true);
                    effects.changes.push(CatalogueChange::Name(*mac, name.clone()));
                }
                Job::Remove(mac, _) => remove(&tx, &mut effects, *mac)?,
                Job::Change(change, _) => {
                    // Run once only: when this attempt fails, it has failed.
                    let Some(change) = change.take() else { continue };
                    if let Err(error) = change(&tx) {
                        refused.insert(index, error);
                    }
                }
                Job::Flush(_) | Job::Stop(_) => {}
            }
        }
        for (stream, (lines, bytes)) in &effects.added {
            tx.prepare_cached(
                "UPDATE logstreams SET lines = lines + ?2, bytes = bytes + ?3 WHERE id = ?1",
            )?
            .execute(params![stream, lines, bytes])?;
        }
        tx.commit()?;
        self.saver.note(effects.added.values().map(|(n, bytes)| (n * 100 + bytes) as u64).sum());
        self.publish(effects);
        for (index, job) in group.drain(..).enumerate() {
            let result = refused.remove(&index).map_or(Ok(()), Err);
            match job {
                Job::Record(..) | Job::Records(..) => {}
                Job::Flush(answer)
                | Job::Name(_, _, answer)
                | Job::Remove(_, answer)
                | Job::Change(_, answer)
                | Job::Spooled(_, _, answer)
                | Job::Stop(answer) => {
                    let _ = answer.send(result);
                }
            }
        }
        Ok(())
    }

    fn publish(&mut self, effects: Effects) {
        self.last_seq = effects.last_seq;
        self.doomed.extend(effects.doomed);
        if !effects.changes.is_empty() {
            let mut catalogue = self.shared.catalogue.write();
            for change in effects.changes {
                match change {
                    CatalogueChange::Name(mac, name) => catalogue.name(mac, name),
                    CatalogueChange::Add(id, stream) => catalogue.add(id, stream),
                    CatalogueChange::Remove(mac) => catalogue.remove(mac),
                }
            }
        }
        if effects.unknown > 0 {
            self.shared.count_unknown(effects.unknown);
        }
        if !effects.records.is_empty() {
            self.shared.count_written(effects.records.len() as u64);
            self.shared.ring.write().extend(effects.records);
            self.committed.send_replace(self.last_seq);
        }
    }

    fn delete_some(&mut self) {
        let Some(&stream) = self.doomed.last() else { return };
        let step = || -> Result<bool, rusqlite::Error> {
            let deleted = self
                .conn
                .prepare_cached(
                    "DELETE FROM logs WHERE seq IN (SELECT seq FROM logs WHERE stream_id = ?1 LIMIT ?2)",
                )?
                .execute(params![stream, DELETE_STEP as i64])?;
            if deleted == 0 {
                self.conn.execute("DELETE FROM logstreams WHERE id = ?1", [stream])?;
            }
            Ok(deleted == 0)
        };
        match step() {
            Ok(false) => {}
            Ok(true) => {
                self.doomed.pop();
            }
            Err(error) => {
                tracing::warn!(
                    "deleting log lines of a removed device: {error} (left for the next start)"
                );
                self.doomed.clear();
            }
        }
    }
}

fn not_written(error: rusqlite::Error) -> LogError {
    LogError::NotWritten(error.to_string())
}

impl Effects {
    /// Is this issuer known, this group included?
    pub(crate) fn knows(&self, shared: &Shared, issuer: Mac) -> bool {
        let known = self.issuers.get(&issuer).copied();
        known.unwrap_or_else(|| shared.catalogue.read().knows(issuer))
    }
}

/// Write one record in the transaction of its group.
pub(crate) fn insert(
    tx: &Transaction<'_>,
    shared: &Shared,
    effects: &mut Effects,
    record: &LogRecord,
) -> Result<(), LogError> {
    let stream = match &effects.latest {
        Some((issuer, name, id)) if *issuer == record.issuer && *name == record.stream => *id,
        _ => match stream_of(tx, shared, effects, record)? {
            Some(id) => id,
            None => {
                effects.unknown += 1;
                return Ok(());
            }
        },
    };
    let seq = effects.last_seq + 1;
    tx.prepare_cached("INSERT INTO logs(seq, stream_id, timestamp, line) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![seq as i64, stream, record.timestamp.0, record.text()])?;
    let added = effects.added.entry(stream).or_default();
    added.0 += 1;
    added.1 += record.text().len() as i64;
    effects.last_seq = seq;
    effects.records.push(Committed {
        seq,
        stream,
        timestamp: record.timestamp,
        line: record.shared_text().clone(),
    });
    Ok(())
}

/// The stream of a record, made if it is new; `None` if its device is not known.
fn stream_of(
    tx: &Transaction<'_>,
    shared: &Shared,
    effects: &mut Effects,
    record: &LogRecord,
) -> Result<Option<StreamId>, LogError> {
    if !effects.knows(shared, record.issuer) {
        return Ok(None);
    }
    // A stream of the catalogue belongs to the issuer only if this group did not remove that issuer.
    let removed_here = effects.issuers.contains_key(&record.issuer);
    let made = effects.made.get(&(record.issuer, record.stream.clone())).copied();
    let existing = if removed_here && made.is_none() {
        find(tx, record)?
    } else {
        made.or_else(|| shared.catalogue.read().id(record.issuer, &record.stream))
    };
    let stream = match existing {
        Some(id) => id,
        None if *record.stream.as_str() != *TOO_MANY_STREAMS
            && shared.catalogue.read().count(record.issuer) >= MAX_STREAMS =>
        {
            let mut rest = record.clone();
            rest.stream = StreamName::trusted(TOO_MANY_STREAMS);
            return stream_of(tx, shared, effects, &rest);
        }
        None => {
            tx.prepare_cached(
                "INSERT INTO logstreams(issuer_mac, name, mode) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![
                record.issuer.to_string(),
                record.stream.as_str(),
                record.mode.as_str()
            ])?;
            let id = tx.last_insert_rowid();
            let stream =
                Stream { issuer: record.issuer, name: record.stream.clone(), mode: record.mode };
            effects.changes.push(CatalogueChange::Add(id, stream));
            id
        }
    };
    if made.is_none() {
        effects.made.insert((record.issuer, record.stream.clone()), stream);
    }
    effects.latest = Some((record.issuer, record.stream.clone(), stream));
    Ok(Some(stream))
}

fn find(tx: &Transaction<'_>, record: &LogRecord) -> Result<Option<StreamId>, LogError> {
    Ok(tx
        .prepare_cached("SELECT id FROM logstreams WHERE issuer_mac = ?1 AND name = ?2")?
        .query_row(params![record.issuer.to_string(), record.stream.as_str()], |row| row.get(0))
        .optional()?)
}

/// Make everything of an issuer invisible; its lines are deleted later, little by little.
fn remove(tx: &Transaction<'_>, effects: &mut Effects, issuer: Mac) -> Result<(), LogError> {
    let mac = issuer.to_string();
    let ids: Vec<StreamId> = tx
        .prepare("SELECT id FROM logstreams WHERE issuer_mac = ?1")?
        .query_map([&mac], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    tx.execute("UPDATE logstreams SET issuer_mac = NULL WHERE issuer_mac = ?1", [&mac])?;
    tx.execute("DELETE FROM issuers WHERE mac = ?1", [&mac])?;
    // Numbers are never used again, even if the highest ones are deleted.
    tx.execute(
        "INSERT INTO counters(name, value) VALUES ('last_seq', ?1)
         ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
        [effects.last_seq as i64],
    )?;
    spool::remove(tx, &mac)?;
    effects.made.retain(|(mac, _), _| *mac != issuer);
    effects.latest = None;
    effects.issuers.insert(issuer, false);
    effects.doomed.extend(ids);
    effects.changes.push(CatalogueChange::Remove(issuer));
    Ok(())
}
