//! Questions to the databases in SQL.

use serde::{Deserialize, Serialize};

/// One or more SELECT statements. [`route::SQL`](super::route::SQL) answers, for each, one
/// [`Event::SqlColumns`](super::Event::SqlColumns) and any number of [`Event::SqlRows`](super::Event::SqlRows).
/// Error of kind `forbidden` for anything that is no question or reads what is withheld.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlRequest {
    /// The statements, separated by `;`, less than 128 KiB.
    pub query: String,
}
