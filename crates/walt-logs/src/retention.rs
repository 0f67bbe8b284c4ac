//! What is kept for how long: by age and by size, for each class of streams.
//!
//! Lines are deleted oldest first, a few thousand in one commit of the writer with pauses between, so that ingest
//! goes on; then the file gives the room back, little by little too.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, params, params_from_iter};
use walt_model::Mac;

use crate::catalogue::{Stream, StreamId};
use crate::error::LogError;
use crate::reader::AFTER;
use crate::record::{StreamMode, Timestamp};
use crate::store::{LogStore, Shared};

/// Lines deleted by one commit.
const STEP: usize = 2_000;
/// Pause after such a commit.
const PAUSE: Duration = Duration::from_millis(25);
/// Pages given back by one commit.
const PAGES: i64 = 256;
/// Unused pages left in the file: new lines will take them.
const SPARE_PAGES: i64 = 256;
/// What a line costs in the file beside its text, bytes.
const LINE_OVERHEAD: u64 = 48;
/// Rows looked at by one query.
const SCAN: usize = 50_000;

/// Kinds of streams that are kept differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamClass {
    /// `platform.*` and `daemon.*` of the server.
    Platform,
    /// Consoles and kernel messages: `chunk` streams and those whose name ends with `console`.
    Console,
    /// Everything else: what users log.
    Experiment,
}

impl StreamClass {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Platform, Self::Console, Self::Experiment];

    /// The class of a stream.
    fn of(stream: &Stream, server: Mac) -> Self {
        let name = stream.name.as_str();
        if stream.issuer == server && (name.starts_with("platform.") || name.starts_with("daemon."))
        {
            Self::Platform
        } else if stream.mode == StreamMode::Chunk || name.ends_with("console") {
            Self::Console
        } else {
            Self::Experiment
        }
    }
}

impl std::fmt::Display for StreamClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Platform => "platform",
            Self::Console => "console",
            Self::Experiment => "experiment",
        })
    }
}

/// How much of a class is kept; nothing set: everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limit {
    /// Lines older than that are deleted.
    pub age: Option<Duration>,
    /// The oldest lines above that many bytes in the file (estimated) are deleted.
    pub bytes: Option<u64>,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The device that is the server.
    pub server: Mac,
    /// For [`StreamClass::Platform`].
    pub platform: Limit,
    /// For [`StreamClass::Console`].
    pub console: Limit,
    /// For [`StreamClass::Experiment`].
    pub experiment: Limit,
}

impl Retention {
    fn limit(&self, class: StreamClass) -> Limit {
        match class {
            StreamClass::Platform => self.platform,
            StreamClass::Console => self.console,
            StreamClass::Experiment => self.experiment,
        }
    }
}

/// What was deleted of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    /// The class.
    pub class: StreamClass,
    /// Number of lines.
    pub lines: u64,
    /// Bytes of their texts.
    pub bytes: u64,
    /// They were older than this.
    pub before: Timestamp,
}

/// What a class holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The class.
    pub class: StreamClass,
    /// Number of lines.
    pub lines: u64,
    /// Bytes in the file, estimated.
    pub bytes: u64,
}

impl LogStore {
    /// What each class holds.
    ///
    /// # Errors
    /// A failed query.
    pub async fn held(&self, server: Mac) -> Result<[Held; 3], LogError> {
        // A full disk is no reason not to look: deleting is what helps then.
        self.settle().await?;
        self.shared
            .read(move |conn, shared| {
                let classes = classes(shared, server);
                let mut held = StreamClass::ALL.map(|class| Held { class, lines: 0, bytes: 0 });
                let mut statement =
                    conn.prepare_cached("SELECT id, lines, bytes FROM logstreams")?;
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    let id: StreamId = row.get(0)?;
                    let Some((class, _)) = classes.iter().find(|(_, ids)| ids.contains(&id)) else {
                        continue;
                    };
                    let (lines, bytes): (i64, i64) = (row.get(1)?, row.get(2)?);
                    for entry in held.iter_mut().filter(|entry| entry.class == *class) {
                        entry.lines += lines.max(0) as u64;
                        entry.bytes += bytes.max(0) as u64 + lines.max(0) as u64 * LINE_OVERHEAD;
                    }
                }
                Ok(held)
            })
            .await
    }

    /// Delete what is above the limits now, oldest first, and give the room back to the file system. Takes as long
    /// as it takes: ingest goes first. May be dropped between two steps.
    ///
    /// # Errors
    /// A failed query or commit; what was deleted before stays deleted.
    pub async fn prune(
        &self,
        retention: Retention,
        now: Timestamp,
    ) -> Result<Vec<Pruned>, LogError> {
        let mut told = Vec::new();
        for held in self.held(retention.server).await? {
            let limit = retention.limit(held.class);
            let aged = limit.age.map(|age| now.before(age));
            let excess = limit.bytes.map_or(0, |most| held.bytes.saturating_sub(most));
            let (class, server) = (held.class, retention.server);
            let sized = match excess {
                0 => None,
                _ => self.cut(class, server, excess).await?,
            };
            let Some(before) = aged.max(sized) else { continue };
            let pruned = self.prune_class(class, server, before).await?;
            if pruned.lines > 0 {
                told.push(pruned);
            }
        }
        self.give_back().await?;
        Ok(told)
    }

    /// The instant before which a class holds at least `excess` bytes.
    async fn cut(
        &self,
        class: StreamClass,
        server: Mac,
        excess: u64,
    ) -> Result<Option<Timestamp>, LogError> {
        let mut place = (i64::MIN, i64::MIN);
        let mut left = excess;
        loop {
            let step = move |conn: &Connection, shared: &Shared| {
                let ids = of_class(shared, class, server);
                oldest(conn, &ids, place, left)
            };
            let (next, found) = self.shared.read(step).await?;
            left = left.saturating_sub(found);
            match next {
                // Bounds are exclusive: lines of that very instant are part of it.
                Some(next) if left == 0 => return Ok(Some(Timestamp(next.0.saturating_add(1)))),
                Some(next) => place = next,
                None => return Ok(None),
            }
        }
    }

    async fn prune_class(
        &self,
        class: StreamClass,
        server: Mac,
        before: Timestamp,
    ) -> Result<Pruned, LogError> {
        let old = move |conn: &Connection, shared: &Shared| {
            let mut any = conn.prepare_cached(
                "SELECT 1 FROM logs WHERE stream_id = ?1 AND timestamp < ?2 LIMIT 1",
            )?;
            let mut old = Vec::new();
            for id in of_class(shared, class, server) {
                if any.exists(params![id, before.0])? {
                    old.push(id);
                }
            }
            Ok(old)
        };
        let mut pruned = Pruned { class, lines: 0, bytes: 0, before };
        for stream in self.shared.read(old).await? {
            loop {
                let answer = Arc::<Mutex<(u64, u64)>>::default();
                let told = answer.clone();
                self.change(move |conn| {
                    *told.lock() = delete(conn, stream, before)?;
                    Ok(())
                })
                .await?;
                let (lines, bytes) = *answer.lock();
                pruned.lines += lines;
                pruned.bytes += bytes;
                if lines < STEP as u64 {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(pruned)
    }

    /// Gives unused pages of the file back.
    async fn give_back(&self) -> Result<(), LogError> {
        loop {
            let unused: i64 = self
                .shared
                .read(|conn, _| Ok(conn.pragma_query_value(None, "freelist_count", |r| r.get(0))?))
                .await?;
            if unused <= SPARE_PAGES {
                return Ok(());
            }
            let left = Arc::<Mutex<i64>>::default();
            let told = left.clone();
            self.change(move |conn| {
                let mut statement = conn.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
                let mut rows = statement.query([])?;
                while rows.next()?.is_some() {}
                *told.lock() = conn.pragma_query_value(None, "freelist_count", |r| r.get(0))?;
                Ok(())
            })
            .await?;
            // A file of an earlier version keeps its pages.
            if *left.lock() >= unused {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn classes(
    shared: &Shared,
    server: Mac,
) -> Vec<(StreamClass, std::collections::HashSet<StreamId>)> {
    let of = |class| (class, of_class(shared, class, server).into_iter().collect());
    StreamClass::ALL.map(of).into()
}

fn of_class(shared: &Shared, class: StreamClass, server: Mac) -> Vec<StreamId> {
    let catalogue = shared.catalogue.read();
    let mut ids: Vec<StreamId> = catalogue
        .streams()
        .filter(|(_, stream)| StreamClass::of(stream, server) == class)
        .map(|(id, _)| id)
        .collect();
    ids.sort_unstable();
    ids
}

/// Walks through the oldest lines of some streams until they take `wanted` bytes: where it stopped (`None` at the
/// end), and how many bytes it found.
fn oldest(
    conn: &Connection,
    ids: &[StreamId],
    place: (i64, i64),
    wanted: u64,
) -> Result<(Option<(i64, i64)>, u64), LogError> {
    let (mut looked, mut found) = (0, 0);
    for after in AFTER {
        let mut statement = conn.prepare_cached(&format!(
            "SELECT timestamp, seq, stream_id, octet_length(line) FROM logs INDEXED BY logs_timestamp_idx
             WHERE {after} ORDER BY timestamp, seq"
        ))?;
        // The later step has one parameter only.
        let wants = statement.parameter_count();
        let mut rows = statement.query(params_from_iter([place.0, place.1].iter().take(wants)))?;
        while let Some(row) = rows.next()? {
            looked += 1;
            if ids.binary_search(&row.get(2)?).is_ok() {
                found += row.get::<_, i64>(3)?.max(0) as u64 + LINE_OVERHEAD;
            }
            if found >= wanted || looked == SCAN {
                return Ok((Some((row.get(0)?, row.get(1)?)), found));
            }
        }
    }
    Ok((None, found))
}

/// Deletes some lines of a stream in the writer's transaction: how many, and the bytes of their texts.
fn delete(conn: &Connection, stream: StreamId, before: Timestamp) -> Result<(u64, u64), LogError> {
    let (mut lines, mut bytes, mut last) = (0u64, 0u64, 0i64);
    let mut statement = conn.prepare_cached(
        "DELETE FROM logs WHERE seq IN
         (SELECT seq FROM logs WHERE stream_id = ?1 AND timestamp < ?2 ORDER BY timestamp LIMIT ?3)
         RETURNING seq, octet_length(line)",
    )?;
    let mut rows = statement.query(params![stream, before.0, STEP as i64])?;
    while let Some(row) = rows.next()? {
        last = last.max(row.get(0)?);
        lines += 1;
        bytes += row.get::<_, i64>(1)?.max(0) as u64;
    }
    conn.prepare_cached(
        "UPDATE logstreams SET lines = max(lines - ?2, 0), bytes = max(bytes - ?3, 0) WHERE id = ?1",
    )?
    .execute(params![stream, lines as i64, bytes as i64])?;
    // Numbers are never used again, even if the highest ones are deleted.
    conn.prepare_cached(
        "INSERT INTO counters(name, value) VALUES ('last_seq', ?1)
         ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
    )?
    .execute([last])?;
    Ok((lines, bytes))
}
