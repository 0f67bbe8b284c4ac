//! How far a long operation is: amount, rate and remaining time, in words.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The rate is that of the last seconds.
const WINDOW: Duration = Duration::from_secs(5);
/// Without a terminal, a line is due that often.
const LINES: Duration = Duration::from_secs(10);

/// What was told of one operation.
#[derive(Debug, Default)]
pub struct Meter {
    what: String,
    unit: String,
    done: u64,
    total: Option<u64>,
    /// What had been done, and when, oldest first: the last seconds.
    samples: VecDeque<(Instant, u64)>,
    said: Option<Instant>,
}

impl Meter {
    /// Notes how far it is. Another `what` is another operation.
    pub fn note(&mut self, what: &str, done: u64, total: Option<u64>, unit: &str, now: Instant) {
        if self.what != what || self.unit != unit || done < self.done {
            self.what = what.to_owned();
            self.unit = unit.to_owned();
            self.samples.clear();
        }
        (self.done, self.total) = (done, total);
        self.said.get_or_insert(now);
        self.samples.push_back((now, done));
        while self.samples.len() > 2
            && self.samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) > WINDOW)
        {
            self.samples.pop_front();
        }
    }

    /// `Downloading 12.3 of 45.6 MB (26%), 4.1 MB/s, 9 s left`.
    pub fn words(&self, now: Instant) -> String {
        let (what, done) = (&self.what, self.done);
        let total = self.total.filter(|total| *total > 0);
        let percent = |total: u64| u128::from(done.min(total)) * 100 / u128::from(total);
        if self.unit != "bytes" {
            return match total {
                Some(total) => format!("{what} {}%", percent(total)),
                None => format!("{what} {done} {}", self.unit),
            };
        }
        let mut words = match total {
            Some(total) => {
                let (divisor, name) = scale(total);
                let done = in_units(done.min(total), divisor);
                format!(
                    "{what} {done} of {} {name} ({}%)",
                    in_units(total, divisor),
                    percent(total)
                )
            }
            None => format!("{what} {}", amount(done)),
        };
        let Some(rate) = self.rate(now) else { return words };
        words.push_str(&format!(", {}/s", amount(rate)));
        if let Some(total) = total
            && rate > 0
            && total > done
        {
            words.push_str(&format!(", {} left", span((total - done).div_ceil(rate))));
        }
        words
    }

    /// Without a terminal: what to say now, if it is time for it.
    pub fn due(&mut self, now: Instant) -> Option<String> {
        let said = self.said?;
        if now.duration_since(said) < LINES {
            return None;
        }
        self.said = Some(now);
        Some(self.words(now))
    }

    /// Bytes per second; nothing when it is too early to tell.
    fn rate(&self, now: Instant) -> Option<u64> {
        let (at, done) = self.samples.front()?;
        let ms = u64::try_from(now.duration_since(*at).as_millis()).ok()?;
        (ms >= 500).then(|| (self.done.saturating_sub(*done)).saturating_mul(1000) / ms)
    }
}

fn scale(bytes: u64) -> (u64, &'static str) {
    match bytes {
        0..1_000 => (1, "B"),
        1_000..1_000_000 => (1_000, "kB"),
        1_000_000..1_000_000_000 => (1_000_000, "MB"),
        _ => (1_000_000_000, "GB"),
    }
}

/// Three digits are enough to see it move.
fn in_units(bytes: u64, divisor: u64) -> String {
    let (whole, part) = (bytes / divisor, bytes % divisor);
    match whole {
        _ if divisor == 1 => whole.to_string(),
        0..10 => format!("{whole}.{:02}", part / (divisor / 100).max(1)),
        10..100 => format!("{whole}.{}", part / (divisor / 10).max(1)),
        _ => whole.to_string(),
    }
}

/// `12.3 MB`.
pub fn amount(bytes: u64) -> String {
    let (divisor, name) = scale(bytes);
    format!("{} {name}", in_units(bytes, divisor))
}

fn span(seconds: u64) -> String {
    match seconds {
        0..100 => format!("{seconds} s"),
        100..6000 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn amount_rate_and_rest() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut meter = Meter::default();
        meter.note("Downloading", 0, Some(50_000_000), "bytes", start);
        assert_eq!(meter.words(start), "Downloading 0.00 of 50.0 MB (0%)");
        meter.note("Downloading", 8_000_000, Some(50_000_000), "bytes", at(2000));
        assert_eq!(
            meter.words(at(2000)),
            "Downloading 8.00 of 50.0 MB (16%), 4.00 MB/s, 11 s left"
        );
        // It stands still: the rate says so.
        assert_eq!(
            meter.words(at(8000)),
            "Downloading 8.00 of 50.0 MB (16%), 1.00 MB/s, 42 s left"
        );
        meter.note("Downloading", 50_000_000, Some(50_000_000), "bytes", at(9000));
        assert!(meter.words(at(9000)).starts_with("Downloading 50.0 of 50.0 MB (100%), "));
    }

    #[test]
    fn without_total_or_bytes() {
        let start = Instant::now();
        let mut meter = Meter::default();
        meter.note("Export", 1, Some(2), "files", start);
        assert_eq!(meter.words(start), "Export 50%");
        meter.note("Export", 3_000_000, None, "bytes", start);
        assert_eq!(meter.words(start), "Export 3.00 MB");
        meter.note("Export", 3, None, "files", start);
        assert_eq!(meter.words(start), "Export 3 files");
    }

    #[test]
    fn a_line_now_and_then() {
        let start = Instant::now();
        let mut meter = Meter::default();
        assert_eq!(meter.due(start), None);
        meter.note("Export", 1, None, "files", start);
        assert_eq!(meter.due(start), None);
        assert_eq!(meter.due(start + LINES).unwrap(), "Export 1 files");
        assert_eq!(meter.due(start + LINES), None);
    }

    #[test]
    fn short_words() {
        assert_eq!(amount(999), "999 B");
        assert_eq!(amount(1_234), "1.23 kB");
        assert_eq!(amount(123_456_789), "123 MB");
        assert_eq!(amount(12_345_678_900), "12.3 GB");
        assert_eq!(
            (span(99), span(100), span(7200)),
            ("99 s".into(), "2 min".into(), "2 h".into())
        );
    }
}
