//! Event streams: the answers of long operations, one JSON object per line.
//!
//! Status 200 is sent with the first event. A refusal known before (bad name, ownership) is a plain error answer with its
//! own status. The stream ends with [`Event::Done`] or [`Event::Error`]; a stream that ends otherwise was cut. When
//! the client goes away, waits and queries stop; changes already started (a reboot) go on.
//! Every 10 s without another event the server sends [`Event::Tick`], so that a dead peer is noticed.

use super::error::ApiError;
use super::image::diff::{FileDifference, PackageDifference};
use super::image::registry::FoundImage;
use super::log::LogRecord;
use super::node::Node;
use serde::{Deserialize, Serialize};

/// One line of an event stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// What the server is busy with; shown by the spinner, without the dots (`Registering virtual node`).
    Label {
        /// The text.
        text: String,
    },
    /// How far it is.
    Progress {
        /// What is counted (`Exporting image`).
        what: String,
        /// Done so far.
        done: u64,
        /// Out of, when known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
        /// `bytes`, `files`, ...
        unit: String,
    },
    /// Text for standard output, newlines included (lines of `ping`, of a build).
    Out {
        /// The text.
        text: String,
    },
    /// Text for standard error, newlines included.
    Err {
        /// The text.
        text: String,
    },
    /// Nothing new.
    Tick,
    /// An image was cloned into the caller's working set.
    Cloned {
        /// Name in the working set, without `:latest`.
        image: String,
        /// Models it fits.
        models: Vec<String>,
    },
    /// A search found an image.
    Found(FoundImage),
    /// The image asked for is in the caller's working set.
    CloneComplete {
        /// Name in the working set, without `:latest`.
        image: String,
    },
    /// The image was published.
    Published {
        /// What others give to `walt image clone`.
        clone_link: String,
    },
    /// A package differs between two images.
    Package(PackageDifference),
    /// A file differs between two images.
    File(FileDifference),
    /// A virtual node was created and started.
    NodeCreated {
        /// The node (boxed: it is much larger than the other events).
        node: Box<Node>,
    },
    /// These nodes were given another image.
    WillBoot {
        /// Node names, sorted.
        nodes: Vec<String>,
        /// Name in the working set without `:latest`, or the complete name of a default image.
        image: String,
        /// It is the default image of their model: they become free.
        default: bool,
    },
    /// These nodes already had that image.
    Ignored {
        /// Node names, sorted.
        nodes: Vec<String>,
    },
    /// These nodes were rebooted.
    Rebooted {
        /// Node names, sorted.
        nodes: Vec<String>,
    },
    /// These nodes could not be rebooted, all for the same causes.
    RebootFailed {
        /// Node names, sorted.
        nodes: Vec<String>,
        /// What was tried, in order.
        attempts: Vec<RebootAttempt>,
    },
    /// These nodes are still awaited.
    Waiting {
        /// Node names, sorted.
        nodes: Vec<String>,
    },
    /// This node is booted.
    Booted {
        /// Node name.
        node: String,
    },
    /// A log record.
    Record(LogRecord),
    /// The history is complete, live records follow.
    Live,
    /// An answer in SQL begins.
    SqlColumns {
        /// Names of its columns.
        names: Vec<String>,
    },
    /// Rows of an answer in SQL.
    SqlRows {
        /// Each has one value per column: null, number or text.
        rows: Vec<Vec<serde_json::Value>>,
    },
    /// Success, end of stream.
    Done {
        /// Exit status of a program run for this (`ping`), when there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit: Option<i32>,
    },
    /// Failure, end of stream.
    Error(ApiError),
    /// An event added after this client was made.
    #[serde(other)]
    Unknown,
}

impl Event {
    /// The usual end of a successful stream.
    pub const fn done() -> Self {
        Self::Done { exit: None }
    }

    /// Whether this is the last event of a stream.
    pub const fn is_last(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Error(_))
    }

    /// The event as one line, newline included.
    pub fn to_line(&self) -> String {
        // Maps with string keys, integers, strings: nothing serde_json can refuse.
        let mut line =
            serde_json::to_string(self).unwrap_or_else(|_| String::from(r#"{"event":"tick"}"#));
        line.push('\n');
        line
    }

    /// Parses one line.
    ///
    /// # Errors
    /// When it is not a JSON object with a string `event`, or when a known event lacks a field.
    pub fn from_line(line: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line)
    }
}

/// One way a reboot was tried, and why it failed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RebootAttempt {
    /// `soft-reboot`, `poe-reboot`, `vnode-reboot`.
    pub method: String,
    /// Cause, in lower case, without final point (`connection timed out`).
    pub cause: String,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::api::ErrorKind;

    #[test]
    fn events_survive_the_wire() {
        let events = [
            Event::Rebooted { nodes: vec!["n1".into()] },
            Event::Record(LogRecord {
                timestamp_us: 1,
                issuer: "n1".into(),
                stream: "s".into(),
                line: "a\nb".into(),
                clock_offset_us: Some(-1),
                clock_uncertainty_us: None,
            }),
            Event::Error(ApiError::new(ErrorKind::NotFound, "No device with name 'n1' found.")),
            Event::done(),
        ];
        for event in events {
            let line = event.to_line();
            assert_eq!(line.matches('\n').count(), 1);
            assert_eq!(Event::from_line(&line).unwrap(), event);
        }
    }

    #[test]
    fn what_is_not_known_is_not_an_error() {
        assert_eq!(Event::from_line(r#"{"event":"brand-new","x":[1]}"#).unwrap(), Event::Unknown);
        let error: ApiError =
            serde_json::from_str(r#"{"kind":"brand_new","message":"m","more":1}"#).unwrap();
        assert_eq!(error.kind, ErrorKind::Other);
    }
}
