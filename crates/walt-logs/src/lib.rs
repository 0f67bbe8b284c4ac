//! The log store: ingest, history, live tail, retention, on SQLite.
