//! Times as PostgreSQL writes them. Pure.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use walt_logs::Timestamp;

/// `2026-01-31 12:00:00[.ffffff]`, with an offset from UTC (`+01`, `-03:30`) or, without one, in `zone`.
/// `None` for anything else (`infinity`, years before Christ).
pub(super) fn instant(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let (date, time) = text.split_once(' ')?;
    let sign = time.rfind(['+', '-']);
    let (time, offset) = match sign {
        Some(at) => (&time[..at], Some(&time[at..])),
        None => (time, None),
    };
    let local: DateTime = format!("{date}T{time}").parse().ok()?;
    let instant = match offset {
        None => local.to_zoned_datetime(zone.clone()).ok()?.timestamp(),
        Some(offset) => self::offset(offset)?.to_timestamp(local).ok()?,
    };
    Some(Timestamp(instant.as_microsecond()))
}

/// `+hh[:mm[:ss]]`
fn offset(text: &str) -> Option<Offset> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let mut seconds = 0;
    let mut unit = 3600;
    for part in text[1..].split(':') {
        if part.len() != 2 || unit == 0 {
            return None;
        }
        seconds += part.parse::<u8>().ok().map(i32::from)? * unit;
        unit /= 60;
    }
    Offset::from_seconds(sign * seconds).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn as_postgresql_writes_them() {
        let zone = TimeZone::get("Europe/Paris").unwrap();
        for (text, us) in [
            ("2024-01-02 03:04:05+00", Some(1_704_164_645_000_000)),
            ("2024-01-02 04:04:05.123456+01", Some(1_704_164_645_123_456)),
            ("2024-01-01 23:34:05.5-03:30", Some(1_704_164_645_500_000)),
            ("2024-01-02 04:04:05", Some(1_704_164_645_000_000)),
            ("2024-07-02 05:04:05", Some(1_719_889_445_000_000)),
            ("infinity", None),
            ("-infinity", None),
            ("0044-03-15 12:00:00+00 BC", None),
            ("2024-13-02 03:04:05+00", None),
            ("2024-01-02 03:04:05+1", None),
            ("", None),
        ] {
            assert_eq!(instant(text, &zone).map(|at| at.0), us, "{text}");
        }
    }
}
