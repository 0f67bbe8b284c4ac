//! The issuers and streams, in memory: written by the writer thread after each commit, read by all readers.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::Connection;
use walt_model::Mac;

use crate::error::LogError;
use crate::query::Filter;
use crate::record::{StreamMode, StreamName, Timestamp};
use crate::spool::{self, Clock};

/// Row of `logstreams`; never used again once deleted.
pub(crate) type StreamId = i64;

#[derive(Debug, Clone)]
pub(crate) struct Stream {
    pub issuer: Mac,
    pub name: StreamName,
    pub mode: StreamMode,
}

#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    names: HashMap<Mac, Arc<str>>,
    streams: HashMap<StreamId, Stream>,
    ids: HashMap<Mac, HashMap<StreamName, StreamId>>,
    /// Measures of each device's clock, oldest first.
    clocks: HashMap<Mac, Vec<Clock>>,
}

impl Catalogue {
    pub fn load(conn: &Connection) -> Result<Self, LogError> {
        let mut catalogue = Self::default();
        let mut issuers = conn.prepare("SELECT mac, name FROM issuers")?;
        let mut rows = issuers.query([])?;
        while let Some(row) = rows.next()? {
            match row.get_ref(0)?.as_str().unwrap_or_default().parse::<Mac>() {
                Ok(mac) => catalogue.name(mac, row.get::<_, String>(1)?.into()),
                Err(error) => tracing::warn!("log database: issuer left out: {error}"),
            }
        }
        let mut streams = conn.prepare(
            "SELECT id, issuer_mac, name, mode FROM logstreams WHERE issuer_mac NOT NULL",
        )?;
        let mut rows = streams.query([])?;
        while let Some(row) = rows.next()? {
            if let Ok(issuer) = row.get_ref(1)?.as_str().unwrap_or_default().parse::<Mac>() {
                let name = StreamName::trusted(&row.get::<_, String>(2)?);
                let mode = StreamMode::parse(&row.get::<_, String>(3)?);
                catalogue.add(row.get(0)?, Stream { issuer, name, mode });
            }
        }
        spool::load_clocks(conn, &mut catalogue)?;
        Ok(catalogue)
    }

    pub fn name(&mut self, issuer: Mac, name: Arc<str>) {
        self.names.insert(issuer, name);
    }

    pub fn add(&mut self, id: StreamId, stream: Stream) {
        self.ids.entry(stream.issuer).or_default().insert(stream.name.clone(), id);
        self.streams.insert(id, stream);
    }

    pub fn remove(&mut self, issuer: Mac) {
        self.names.remove(&issuer);
        self.clocks.remove(&issuer);
        for id in self.ids.remove(&issuer).unwrap_or_default().into_values() {
            self.streams.remove(&id);
        }
    }

    pub fn note_clock(&mut self, issuer: Mac, clock: Clock) {
        let measures = self.clocks.entry(issuer).or_default();
        let place = measures.partition_point(|known| known.measured <= clock.measured);
        measures.insert(place, clock);
        if measures.len() > spool::CLOCKS_PER_ISSUER {
            measures.remove(0);
        }
    }

    /// The latest measure of a device's clock.
    pub fn clock(&self, issuer: Mac) -> Option<Clock> {
        self.clocks.get(&issuer)?.last().copied()
    }

    /// The measure of a device's clock that holds for an instant: the last one before it, else the first one.
    pub fn clock_at(&self, issuer: Mac, at: Timestamp) -> Option<Clock> {
        let measures = self.clocks.get(&issuer)?;
        let after = measures.partition_point(|clock| clock.measured <= at);
        measures.get(after.saturating_sub(1)).copied()
    }

    /// Every stream that exists.
    pub fn streams(&self) -> impl Iterator<Item = (StreamId, &Stream)> {
        self.streams.iter().map(|(id, stream)| (*id, stream))
    }

    /// Every issuer and its present name.
    pub fn issuers(&self) -> impl Iterator<Item = (Mac, &Arc<str>)> {
        self.names.iter().map(|(mac, name)| (*mac, name))
    }

    pub fn knows(&self, issuer: Mac) -> bool {
        self.names.contains_key(&issuer)
    }

    pub fn id(&self, issuer: Mac, name: &StreamName) -> Option<StreamId> {
        self.ids.get(&issuer)?.get(name).copied()
    }

    /// How many streams a device has.
    pub fn count(&self, issuer: Mac) -> usize {
        self.ids.get(&issuer).map_or(0, HashMap::len)
    }

    /// A stream and the present name of its issuer.
    pub fn stream(&self, id: StreamId) -> Option<(&Stream, &Arc<str>)> {
        let stream = self.streams.get(&id)?;
        Some((stream, self.names.get(&stream.issuer)?))
    }

    /// The streams a filter accepts, sorted.
    pub fn matching(&self, filter: &Filter) -> Vec<StreamId> {
        let mut ids: Vec<StreamId> = self
            .streams
            .iter()
            .filter(|(_, s)| filter.wants_stream(s.issuer, s.name.as_str(), s.mode))
            .map(|(id, _)| *id)
            .collect();
        ids.sort_unstable();
        ids
    }
}
