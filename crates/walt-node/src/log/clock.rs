//! Times in microseconds.

use std::time::{SystemTime, UNIX_EPOCH};

/// The present, in microseconds since 1970.
pub fn now() -> i64 {
    of(SystemTime::now())
}

/// An instant, in microseconds since 1970.
pub fn of(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// A date written by a user or a program, in seconds with a fraction. `None` if it is no such thing.
pub fn parse(word: &str) -> Option<i64> {
    let numeric = word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds: f64 = word.parse().ok().filter(|_| numeric)?;
    let micros = (seconds * 1e6).round();
    (0.0..9e18).contains(&micros).then_some(micros as i64)
}

/// As the original's tools write dates: seconds with six decimals.
pub fn seconds(micros: i64) -> String {
    let micros = micros.max(0);
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(parse("1751286000.25"), Some(1_751_286_000_250_000));
        assert_eq!(parse("12"), Some(12_000_000));
        for bad in ["", ".", "-1", "1e3", "nan", "inf", "1.2.3", "99999999999999", "1 "] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(seconds(1_751_286_000_250_000), "1751286000.250000");
        assert_eq!(seconds(-5), "0.000000");
        assert!(now() > 1_600_000_000_000_000);
    }
}
