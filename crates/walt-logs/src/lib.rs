//! The log store: ingest, history and live tail of every log line of the platform, on SQLite.
//!
//! ```text
//! LogSink ─▶ bounded queue ─▶ writer thread ─▶ one commit per group ─▶ ring of recent lines ─▶ readers
//!                             (numbers lines)          │                                        ▲
//!                                                      └────────────── SQLite file ─────────────┘
//! ```
//!
//! There is one order: the writer gives each record a sequence number and publishes it only once it is
//! committed. A reader is a position in that order, so history and live records join without a gap or a
//! duplicate, and a reader that is too slow for the ring of recent lines reads the file instead.
//!
//! # What is durable
//!
//! A line is *acknowledged* when a [`LogStore::flush`] started after its push has answered, or when any reader
//! has received it. Acknowledged lines survive `kill -9` of the process. With the default
//! [`Durability::ProcessKill`] a power cut may lose the last moments before it, never the integrity of the file.

pub mod bundle;
mod catalogue;
mod checkpoint;
mod error;
mod export;
mod import;
mod query;
mod reader;
mod record;
mod retention;
mod ring;
mod saver;
mod schema;
mod sink;
mod spool;
mod store;
mod writer;

pub use checkpoint::Checkpoint;
pub use error::LogError;
pub use export::{ExportFormat, Exporter};
pub use import::{Imported, Importer};
pub use query::{Filter, TimeRange};
pub use reader::LogReader;
pub use record::{
    InvalidStreamName, LogLine, LogRecord, MAX_LINE_BYTES, MAX_STREAM_NAME_BYTES, StreamMode,
    StreamName, Timestamp, chunk_from_text, chunk_to_text,
};
pub use retention::{Held, Limit, Pruned, Retention, StreamClass};
pub use sink::{LogSink, Refused};
pub use spool::{Clock, SpooledBatch};
pub use store::{Durability, LogStore, Options, Stats, Written};
