//! Spans of time in the logs: `-5m:`, `full`, `start-xp:-10s`.

use crate::CheckpointName;
use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A date relative to now: `-<integer><unit>`, unit `s`, `m`, `h` or `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelativeDate {
    amount: u32,
    unit: char,
}

/// Why a text is no date in the past.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "Invalid relative date.\n\
     '{0}' should have the form '-<integer><unit>', where <unit> is s (seconds), m (minutes), h (hours)\n\
     or d (days); for instance -5m."
)]
pub struct RelativeDateError(pub String);

impl FromStr for RelativeDate {
    type Err = RelativeDateError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || RelativeDateError(text.chars().take(80).collect());
        let digits = text.strip_prefix('-').ok_or_else(error)?;
        let unit = digits.chars().next_back().filter(|c| "smhd".contains(*c)).ok_or_else(error)?;
        let digits = &digits[..digits.len() - 1];
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error());
        }
        let amount = digits.parse().map_err(|_| error())?;
        Ok(Self { amount, unit })
    }
}

impl RelativeDate {
    /// How far in the past.
    pub fn ago(self) -> SignedDuration {
        let seconds = match self.unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => 86400,
        };
        SignedDuration::from_secs(i64::from(self.amount) * seconds)
    }

    /// The instant meant, as seen from `now`; never before the start of representable time.
    pub fn before(self, now: Timestamp) -> Timestamp {
        now.checked_sub(self.ago()).unwrap_or(Timestamp::MIN)
    }
}

impl fmt::Display for RelativeDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "-{}{}", self.amount, self.unit)
    }
}

impl From<RelativeDate> for String {
    fn from(date: RelativeDate) -> String {
        date.to_string()
    }
}

impl TryFrom<String> for RelativeDate {
    type Error = RelativeDateError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// One side of a history range.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HistoryBound {
    /// So long ago.
    Relative(RelativeDate),
    /// When the caller's checkpoint of that name was set.
    Checkpoint(CheckpointName),
}

impl fmt::Display for HistoryBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relative(date) => date.fmt(f),
            Self::Checkpoint(name) => name.fmt(f),
        }
    }
}

/// The part of the past that `walt log show --history` shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HistoryRange {
    /// `none`: nothing.
    #[default]
    None,
    /// `<start>:<end>`; an absent start is the beginning of the logs, an absent end is now. `full` and
    /// `:` have neither.
    Between(Option<HistoryBound>, Option<HistoryBound>),
}

/// Why a text selects no part of the past. The message is what the user reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// A bound starts like a relative date but is none.
    #[error(transparent)]
    RelativeDate(#[from] RelativeDateError),
    /// Not of the form.
    #[error("Invalid HISTORY_RANGE. See 'walt help show log-history' for more info.")]
    Malformed,
    /// No such checkpoint.
    #[error(
        "Failed: no checkpoint with this name '{0}'.\n\
         Invalid HISTORY_RANGE. See 'walt help show log-history' for more info."
    )]
    UnknownCheckpoint(CheckpointName),
    /// The start is after the end.
    #[error(
        "The start of the range is later than its end.\n\
         Invalid HISTORY_RANGE. See 'walt help show log-history' for more info."
    )]
    Reversed,
}

impl FromStr for HistoryRange {
    type Err = HistoryError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "none" => return Ok(Self::None),
            "full" => return Ok(Self::Between(None, None)),
            _ => {}
        }
        let (start, end) = text.split_once(':').ok_or(HistoryError::Malformed)?;
        let bound = |text: &str| -> Result<Option<HistoryBound>, HistoryError> {
            match text {
                "" => Ok(None),
                _ if text.starts_with('-') => Ok(Some(HistoryBound::Relative(text.parse()?))),
                _ => {
                    let name = text.parse().map_err(|_| HistoryError::Malformed)?;
                    Ok(Some(HistoryBound::Checkpoint(name)))
                }
            }
        };
        Ok(Self::Between(bound(start)?, bound(end)?))
    }
}

impl HistoryRange {
    /// The range that looks `seconds` into the past, up to now (`--time-margin`).
    pub fn last_seconds(seconds: u32) -> Self {
        let start = RelativeDate { amount: seconds, unit: 's' };
        Self::Between(Some(HistoryBound::Relative(start)), None)
    }

    /// The instants meant: `None` for an empty history, else start and end, each unbounded when absent.
    /// `checkpoint` knows the caller's checkpoints.
    ///
    /// # Errors
    /// [`HistoryError::UnknownCheckpoint`], [`HistoryError::Reversed`].
    #[expect(clippy::type_complexity, reason = "two optional bounds of an optional range")]
    pub fn resolve(
        &self,
        now: Timestamp,
        checkpoint: impl Fn(&CheckpointName) -> Option<Timestamp>,
    ) -> Result<Option<(Option<Timestamp>, Option<Timestamp>)>, HistoryError> {
        let Self::Between(start, end) = self else { return Ok(None) };
        let instant = |bound: &Option<HistoryBound>| match bound {
            None => Ok(None),
            Some(HistoryBound::Relative(date)) => Ok(Some(date.before(now))),
            Some(HistoryBound::Checkpoint(name)) => match checkpoint(name) {
                Some(instant) => Ok(Some(instant)),
                None => Err(HistoryError::UnknownCheckpoint(name.clone())),
            },
        };
        let (start, end) = (instant(start)?, instant(end)?);
        if start.is_some_and(|start| start > end.unwrap_or(now)) {
            return Err(HistoryError::Reversed);
        }
        Ok(Some((start, end)))
    }
}

impl fmt::Display for HistoryRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Between(start, end) => {
                if let Some(start) = start {
                    start.fmt(f)?;
                }
                f.write_str(":")?;
                end.as_ref().map_or(Ok(()), |end| end.fmt(f))
            }
        }
    }
}

impl From<HistoryRange> for String {
    fn from(range: HistoryRange) -> String {
        range.to_string()
    }
}

impl TryFrom<String> for HistoryRange {
    type Error = HistoryError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The date of a checkpoint: relative, or `<YYYY>-<MM>-<DD> <hh>:<mm>:<ss>` in the client's time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointDate {
    /// So long ago.
    Relative(RelativeDate),
    /// On that day at that time.
    Absolute(civil::DateTime),
}

/// Why a text is no date of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointDateError {
    /// Starts like a relative date but is none.
    #[error(transparent)]
    RelativeDate(#[from] RelativeDateError),
    /// Neither form.
    #[error(
        "Could not parse the date '{0}'.\n\
         Expected format is: <YYYY>-<MM>-<DD> <hh>:<mm>:<ss>, or -<integer><unit>\n\
         Example: 2015-09-28 15:16:39"
    )]
    Malformed(String),
}

impl FromStr for CheckpointDate {
    type Err = CheckpointDateError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with('-') {
            return Ok(Self::Relative(text.parse()?));
        }
        civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", text)
            .map(Self::Absolute)
            .map_err(|_| CheckpointDateError::Malformed(text.chars().take(80).collect()))
    }
}

impl CheckpointDate {
    /// The instant meant. `None` for a date beyond representable time.
    pub fn instant(self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Relative(date) => Some(date.before(now)),
            Self::Absolute(date) => zone.to_timestamp(date).ok(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2025-06-27T10:00:00Z".parse().unwrap()
    }

    #[test]
    fn relative_dates() {
        assert_eq!("-90s".parse::<RelativeDate>().unwrap().ago().as_secs(), 90);
        assert_eq!(
            "-2d".parse::<RelativeDate>().unwrap().before(now()).to_string(),
            "2025-06-25T10:00:00Z"
        );
        for bad in ["-", "-5", "-m", "5m", "--5m", "-5w", "-5é", "-+5m", "-99999999999s"] {
            assert!(bad.parse::<RelativeDate>().is_err(), "{bad}");
        }
        assert_eq!("-4294967295d".parse::<RelativeDate>().unwrap().before(now()), Timestamp::MIN);
    }

    #[test]
    fn ranges() {
        for (text, shown) in [
            ("NONE", "none"),
            ("Full", ":"),
            (":", ":"),
            ("-5m:", "-5m:"),
            ("cp1:-10s", "cp1:-10s"),
        ] {
            assert_eq!(text.parse::<HistoryRange>().unwrap().to_string(), shown);
        }
        for bad in ["", "x", "-5m", "a:b:c", "cp_1:"] {
            assert_eq!(bad.parse::<HistoryRange>(), Err(HistoryError::Malformed), "{bad}");
        }
        let error = "-5x:".parse::<HistoryRange>().unwrap_err();
        assert!(error.to_string().starts_with("Invalid relative date."));
    }

    #[test]
    fn resolution() {
        let checkpoint = |name: &CheckpointName| (name.as_str() == "cp1").then(now);
        let resolve = |text: &str| text.parse::<HistoryRange>().unwrap().resolve(now(), checkpoint);
        assert_eq!(resolve("none"), Ok(None));
        assert_eq!(resolve("full"), Ok(Some((None, None))));
        assert_eq!(resolve(":cp1"), Ok(Some((None, Some(now())))));
        assert_eq!(resolve("-1s:-2s"), Err(HistoryError::Reversed));
        let error = resolve("cp2:").unwrap_err().to_string();
        assert!(
            error
                .starts_with("Failed: no checkpoint with this name 'cp2'.\nInvalid HISTORY_RANGE.")
        );
    }

    #[test]
    fn checkpoint_dates() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let date: CheckpointDate = "2015-09-28 15:16:39".parse().unwrap();
        assert_eq!(date.instant(now(), &zone).unwrap().to_string(), "2015-09-28T13:16:39Z");
        assert!(
            "yesterday".parse::<CheckpointDate>().unwrap_err().to_string().lines().count() == 3
        );
    }
}
