//! Lines of another platform, written straight into the file of a store that is not open.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Statement, params};
use walt_model::Mac;

use crate::error::LogError;
use crate::record::{LogRecord, StreamMode, StreamName, Timestamp};

/// What was imported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Lines now in the store.
    pub lines: u64,
    /// Lines left out: their stream is not in the dump.
    pub orphans: u64,
    /// Streams that were new.
    pub streams: u64,
}

/// Writes streams and lines through a connection to which a log database is attached, in the transaction of
/// that connection. Lines may come before their streams, as `pg_dump` writes them.
pub struct Importer<'c> {
    conn: &'c Connection,
    schema: String,
    insert: Statement<'c>,
    /// Number of the last line before.
    first: i64,
    seq: i64,
    /// What is added to the numbers of streams.
    base: i64,
    /// Streams of the store that got lines.
    touched: BTreeSet<i64>,
    imported: Imported,
}

impl<'c> Importer<'c> {
    /// A store attached as `schema`, of the format of this program.
    ///
    /// # Errors
    /// It is not such a store.
    pub fn new(conn: &'c Connection, schema: &str) -> Result<Self, LogError> {
        let number = |sql: String| conn.query_row(&sql, [], |row| row.get::<_, i64>(0));
        let first = number(format!(
            "SELECT max(ifnull((SELECT max(seq) FROM {schema}.logs), 0),
                        ifnull((SELECT value FROM {schema}.counters WHERE name = 'last_seq'), 0))"
        ))?;
        let base = number(format!(
            "SELECT max(ifnull((SELECT max(id) FROM {schema}.logstreams), 0),
                        ifnull((SELECT max(stream_id) FROM {schema}.logs), 0),
                        ifnull((SELECT seq FROM {schema}.sqlite_sequence WHERE name = 'logstreams'), 0))"
        ))?;
        let insert = conn.prepare(&format!(
            "INSERT INTO {schema}.logs(seq, stream_id, timestamp, line) VALUES (?1, ?2, ?3, ?4)"
        ))?;
        Ok(Self {
            conn,
            schema: schema.to_owned(),
            insert,
            first,
            seq: first,
            base,
            touched: BTreeSet::new(),
            imported: Imported::default(),
        })
    }

    /// A line of a stream; `stream` is its number in the dump, from 1.
    ///
    /// # Errors
    /// A failed statement.
    pub fn line(&mut self, stream: u32, at: Timestamp, line: &str) -> Result<(), LogError> {
        self.seq += 1;
        // As if it had been logged now: the same bounds.
        let record = LogRecord::line(Mac([0; 6]), StreamName::trusted(""), at, line);
        let stream = self.base + i64::from(stream);
        self.insert.execute(params![self.seq, stream, at.0, record.text()])?;
        self.imported.lines += 1;
        Ok(())
    }

    /// A device with logs. Its name is kept if it is there already.
    ///
    /// # Errors
    /// A failed statement.
    pub fn issuer(&self, mac: Mac, name: &str) -> Result<(), LogError> {
        let sql =
            format!("INSERT OR IGNORE INTO {}.issuers(mac, name) VALUES (?1, ?2)", self.schema);
        self.conn.execute(&sql, params![mac.to_string(), name])?;
        Ok(())
    }

    /// A stream, after all lines. When the device has one of this name its lines are added to that one.
    ///
    /// # Errors
    /// A failed statement; two streams of the dump with one number.
    pub fn stream(
        &mut self,
        stream: u32,
        issuer: Mac,
        name: &StreamName,
        mode: StreamMode,
    ) -> Result<(), LogError> {
        let (schema, id) = (&self.schema, self.base + i64::from(stream));
        let there: Option<i64> = self
            .conn
            .query_row(
                &format!("SELECT id FROM {schema}.logstreams WHERE issuer_mac = ?1 AND name = ?2"),
                params![issuer.to_string(), name.as_str()],
                |row| row.get(0),
            )
            .optional()?;
        self.touched.insert(there.unwrap_or(id));
        match there {
            Some(there) => {
                let sql = format!("UPDATE {schema}.logs SET stream_id = ?2 WHERE stream_id = ?1");
                self.conn.execute(&sql, [id, there])?;
            }
            None => {
                let sql = format!(
                    "INSERT INTO {schema}.logstreams(id, issuer_mac, name, mode) VALUES (?1, ?2, ?3, ?4)"
                );
                let mac = issuer.to_string();
                self.conn.execute(&sql, params![id, mac, name.as_str(), mode.as_str()])?;
                self.imported.streams += 1;
            }
        }
        Ok(())
    }

    /// A checkpoint; false when its user has one of this name, which is kept.
    ///
    /// # Errors
    /// A failed statement.
    pub fn checkpoint(&self, user: &str, name: &str, at: Timestamp) -> Result<bool, LogError> {
        let sql = format!(
            "INSERT OR IGNORE INTO {}.checkpoints(username, name, timestamp) VALUES (?1, ?2, ?3)",
            self.schema
        );
        Ok(self.conn.execute(&sql, params![user, name, at.0])? > 0)
    }

    /// After all streams: leaves out the lines whose stream did not come, and counts those of each stream.
    ///
    /// # Errors
    /// A failed statement.
    pub fn finish(mut self) -> Result<Imported, LogError> {
        let schema = &self.schema;
        let orphans = self.conn.execute(
            &format!(
                "DELETE FROM {schema}.logs WHERE seq > ?1
                 AND stream_id NOT IN (SELECT id FROM {schema}.logstreams)"
            ),
            [self.first],
        )? as u64;
        self.imported.orphans = orphans;
        self.imported.lines -= orphans;
        let mut count = self.conn.prepare(&format!(
            "UPDATE {schema}.logstreams SET (lines, bytes) =
             (SELECT count(*), ifnull(sum(octet_length(line)), 0) FROM {schema}.logs WHERE stream_id = ?1)
             WHERE id = ?1"
        ))?;
        for stream in &self.touched {
            count.execute([stream])?;
        }
        self.conn.execute(
            &format!(
                "INSERT INTO {schema}.counters(name, value) VALUES ('last_seq', ?1)
                 ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)"
            ),
            [self.seq],
        )?;
        Ok(self.imported)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Filter, LogStore, Options, TimeRange};

    #[tokio::test]
    async fn lines_join_those_of_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs.db");
        let node = Mac([2, 0, 0, 0, 0, 1]);
        let name: StreamName = "app".parse().unwrap();
        let store = LogStore::open(&path, Options::default()).unwrap();
        store.name_issuer(node, &"n1".parse().unwrap()).await.unwrap();
        let record = LogRecord::line(node, name.clone(), Timestamp(5), "there");
        store.sink().push(record).unwrap();
        store.close().await.unwrap();
        drop(store);

        let conn = Connection::open(&path).unwrap();
        let mut import = Importer::new(&conn, "main").unwrap();
        import.line(1, Timestamp(9), "later\n").unwrap();
        import.line(1, Timestamp(1), "earlier").unwrap();
        import.line(2, Timestamp(2), "other").unwrap();
        import.line(7, Timestamp(3), "orphan").unwrap();
        import.issuer(node, "another-name").unwrap();
        import.stream(1, node, &name, StreamMode::Line).unwrap();
        import.stream(2, node, &"console".parse().unwrap(), StreamMode::Chunk).unwrap();
        assert!(import.checkpoint("bob", "cp", Timestamp(4)).unwrap());
        assert!(!import.checkpoint("bob", "cp", Timestamp(6)).unwrap());
        assert_eq!(import.finish().unwrap(), Imported { lines: 3, orphans: 1, streams: 1 });
        let wrong: i64 = conn
            .query_row(
                "SELECT count(*) FROM logstreams s WHERE (lines, bytes) IS NOT
                 (SELECT count(*), sum(octet_length(line)) FROM logs WHERE stream_id = s.id)",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(wrong, 0, "what streams hold is not counted");
        let kept = crate::checkpoint::get(&conn, "bob", "cp").unwrap();
        assert_eq!(kept.timestamp, Timestamp(4));
        drop(conn);

        let store = LogStore::open(&path, Options::default()).unwrap();
        let mut reader = store.history(Filter::default(), TimeRange::FULL).await.unwrap();
        let mut lines = Vec::new();
        while let Some(page) = reader.next_page().await.unwrap() {
            lines.extend(
                page.into_iter()
                    .map(|l| format!("{} {} {}", l.issuer_name, l.stream.as_str(), l.line)),
            );
        }
        assert_eq!(lines, ["n1 app earlier", "n1 console other", "n1 app there", "n1 app later"]);
        // Numbers are not used again.
        assert!(store.stats().last_seq >= 5);
    }
}
