//! The way in.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use walt_model::Mac;

use crate::record::{LogRecord, StreamName};
use crate::spool::SpooledBatch;
use crate::store::Written;
use crate::writer::Job;

/// Bytes one queued record costs beside its text.
const RECORD_OVERHEAD: usize = 160;

/// Most room one job takes in the queue, which is never smaller than this.
const BATCH_COST: u32 = 512 << 10;

/// Lines for which a job has room at first.
const BATCH_LINES: usize = 1024;

/// Records refused so far and not yet said, by stream.
pub(crate) type Lost = HashMap<(Mac, StreamName), u64>;

/// The queue in front of the writer is full (or the store is stopped).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log queue is full: one record was not kept")]
pub struct Refused;

/// Where records are given to the store. Cheap to clone.
///
/// The queue is bounded in bytes ([`crate::Options::queue_bytes`]). What to do when it is full is the choice of
/// the caller: [`push`](Self::push) never waits (datagrams, captured output) and [`push_wait`](Self::push_wait)
/// waits for room (connections: their sender is slowed down).
#[derive(Clone)]
pub struct LogSink {
    pub(crate) jobs: Sender<Job>,
    pub(crate) room: Arc<Semaphore>,
    pub(crate) lost: Arc<Mutex<Lost>>,
}

impl LogSink {
    /// Queue a record without waiting.
    ///
    /// # Errors
    /// [`Refused`] when there is no room. The record is then counted, and the stream gets a line saying how many
    /// were lost as soon as there is room again.
    pub fn push(&self, record: LogRecord) -> Result<(), Refused> {
        let cost = cost(&record);
        match self.room.try_acquire_many(cost) {
            Ok(permit) => permit.forget(),
            Err(_) => {
                *self.lost.lock().entry((record.issuer, record.stream)).or_default() += 1;
                return Err(Refused);
            }
        }
        self.jobs.send(Job::Record(record, cost)).map_err(|_| Refused)
    }

    /// Queue a record, waiting for room.
    ///
    /// # Errors
    /// [`Refused`] only when the store is stopped.
    pub async fn push_wait(&self, record: LogRecord) -> Result<(), Refused> {
        let cost = cost(&record);
        self.room.acquire_many(cost).await.map_err(|_| Refused)?.forget();
        self.jobs.send(Job::Record(record, cost)).map_err(|_| Refused)
    }

    /// Queue records in their order, waiting for room: cheaper than one by one.
    ///
    /// # Errors
    /// [`Refused`] only when the store is stopped; the first ones may have been queued.
    pub async fn push_all(&self, records: Vec<LogRecord>) -> Result<(), Refused> {
        let mut rest = records.into_iter().peekable();
        while rest.peek().is_some() {
            // Never more at once than the queue can hold.
            let (mut part, mut total) = (Vec::with_capacity(rest.len().min(BATCH_LINES)), 0);
            while let Some(record) =
                rest.next_if(|next| part.is_empty() || total + cost(next) <= BATCH_COST)
            {
                total += cost(&record);
                part.push(record);
            }
            self.room.acquire_many(total).await.map_err(|_| Refused)?.forget();
            self.jobs.send(Job::Records(part, total)).map_err(|_| Refused)?;
        }
        Ok(())
    }

    /// Queue consecutive lines of a device's spool, waiting for room; those that are already in the store are
    /// left out. What is given tells when all of them are committed, with the number of the last: after that, a
    /// `kill -9` of the process followed by the same lines again stores each of them once.
    ///
    /// # Errors
    /// [`Refused`] only when the store is stopped.
    pub async fn push_spooled(&self, batch: SpooledBatch) -> Result<Written, Refused> {
        let cost = batch.lines.iter().map(|(_, record)| cost(record)).sum();
        self.room.acquire_many(cost).await.map_err(|_| Refused)?.forget();
        let (answer, reply) = oneshot::channel();
        self.jobs.send(Job::Spooled(batch, cost, answer)).map_err(|_| Refused)?;
        Ok(Written::new(reply))
    }
}

fn cost(record: &LogRecord) -> u32 {
    // A text is at most MAX_LINE_BYTES and a short note long.
    (record.text().len() + RECORD_OVERHEAD) as u32
}
