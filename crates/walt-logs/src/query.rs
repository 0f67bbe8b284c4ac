//! What a reader wants to see.

use walt_model::{Mac, Regex};

use crate::record::{StreamMode, Timestamp};

/// A span of time; both bounds are *exclusive*, a missing one is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeRange {
    /// Records strictly later than this.
    pub start: Option<Timestamp>,
    /// Records strictly earlier than this.
    pub end: Option<Timestamp>,
}

impl TimeRange {
    /// Everything.
    pub const FULL: Self = Self { start: None, end: None };

    pub(crate) fn bounds(self) -> (i64, i64) {
        (self.start.map_or(i64::MIN, |t| t.0), self.end.map_or(i64::MAX, |t| t.0))
    }
}

/// Which records, whatever their time. The default is all of them.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only records of these devices; `None` for any device.
    pub issuers: Option<Vec<Mac>>,
    /// Only streams whose name holds this pattern.
    pub streams: Option<Regex>,
    /// Only lines holding this pattern.
    pub lines: Option<Regex>,
    /// Leave out streams whose name ends with `console`.
    pub exclude_consoles: bool,
    /// Only streams of this kind.
    pub mode: Option<StreamMode>,
}

impl Filter {
    pub(crate) fn wants_stream(&self, issuer: Mac, name: &str, mode: StreamMode) -> bool {
        self.issuers.as_ref().is_none_or(|list| list.contains(&issuer))
            && self.mode.is_none_or(|wanted| wanted == mode)
            && !(self.exclude_consoles && name.ends_with("console"))
            && self.streams.as_ref().is_none_or(|pattern| pattern.is_match(name))
    }

    pub(crate) fn wants_line(&self, line: &str) -> bool {
        self.lines.as_ref().is_none_or(|pattern| pattern.is_match(line))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_unanchored_case_sensitive_and_combined() {
        let node = Mac([2, 0, 0, 0, 0, 1]);
        let filter = Filter {
            issuers: Some(vec![node]),
            streams: Some("cons|app".parse().unwrap()),
            lines: Some("err(or)?[0-9]".parse().unwrap()),
            exclude_consoles: true,
            mode: None,
        };
        assert!(filter.wants_stream(node, "my-app.1", StreamMode::Line));
        assert!(!filter.wants_stream(node, "virtualconsole", StreamMode::Chunk));
        assert!(!filter.wants_stream(node, "netconsole", StreamMode::Line));
        assert!(!filter.wants_stream(Mac([2, 0, 0, 0, 0, 2]), "my-app.1", StreamMode::Line));
        assert!(filter.wants_line("an error1 here"));
        assert!(!filter.wants_line("an ERROR1 here"));
        assert!(Filter::default().wants_stream(node, "netconsole", StreamMode::Line));
    }
}
