//! The lines of the daemon's FIFO.
//!
//! ```text
//! LOG <stream> <text>
//! TSLOG <seconds> <stream> <text>
//! MONITOR <pid> <uid> <gid> <rows> <columns>
//! ```

use walt_proto::lines::to_text;

use super::clock;
use super::monitor::Request;
use super::stream_name;

/// Longest line, in bytes: a text of the longest length with what stands before it. Longer ones are cut in pieces.
pub const LINE_MAX: usize = walt_proto::log_stream::LINE_MAX + 512;

/// A line that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FifoLine {
    /// A log line, with its date if it was given.
    Log {
        /// Microseconds since 1970.
        date: Option<i64>,
        /// Its stream.
        stream: String,
        /// Its text, blanks included.
        text: String,
    },
    /// A command to run and watch.
    Monitor(Request),
}

/// Reads a line. `Ok(None)` for an empty one.
///
/// # Errors
/// Why it is refused.
pub fn parse(line: &[u8]) -> Result<Option<FifoLine>, &'static str> {
    let line = to_text(line);
    let (verb, rest) = word(&line);
    let log = |date, rest: &str| {
        let (stream, text) = word_and_text(rest);
        let stream = stream_name(stream).ok_or("not a name of a stream")?;
        Ok(Some(FifoLine::Log { date, stream, text: text.to_owned() }))
    };
    match verb {
        "" => Ok(None),
        "LOG" => log(None, rest),
        "TSLOG" => {
            let (date, rest) = word(rest);
            log(Some(clock::parse(date).ok_or("not a date")?), rest)
        }
        "MONITOR" => {
            let mut numbers = rest.split_ascii_whitespace().map(|word| word.parse::<u32>());
            let mut number = || numbers.next().and_then(Result::ok).ok_or("not a MONITOR line");
            let (pid, uid, gid) = (number()?, number()?, number()?);
            let mut size = || Ok::<_, &str>(u16::try_from(number()?).unwrap_or(0));
            let (rows, columns) = (size()?, size()?);
            Ok(Some(FifoLine::Monitor(Request { pid, uid, gid, rows, columns })))
        }
        _ => Err("neither LOG, TSLOG nor MONITOR"),
    }
}

/// The first word, and what follows it without the blanks between.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches([' ', '\t']);
    let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    (word.trim_end_matches('\r'), rest.trim_start_matches([' ', '\t']))
}

/// The first word, and what follows the blank after it, as it is.
fn word_and_text(text: &str) -> (&str, &str) {
    text.split_once([' ', '\t']).unwrap_or((text, ""))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log(date: Option<i64>, stream: &str, text: &str) -> FifoLine {
        FifoLine::Log { date, stream: stream.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn lines_of_the_original_tools() {
        let parsed = |line: &str| parse(line.as_bytes()).unwrap().unwrap();
        assert_eq!(parsed("LOG exp1 hello world"), log(None, "exp1", "hello world"));
        let dated = log(Some(1_751_286_000_250_000), "exp1", "hello world");
        assert_eq!(parsed("TSLOG 1751286000.25 exp1 hello world"), dated);
        let request = Request { pid: 12, uid: 1000, gid: 100, rows: 24, columns: 80 };
        assert_eq!(parsed("MONITOR 12 1000 100 24 80"), FifoLine::Monitor(request));
        assert_eq!(parse(b""), Ok(None));
        assert_eq!(parse(b"  \t"), Ok(None));
    }

    #[test]
    fn texts_are_kept_as_they_are() {
        let parsed = |line: &[u8]| parse(line).unwrap().unwrap();
        assert_eq!(parsed(b"LOG s  a\\n  b "), log(None, "s", " a\\n  b "));
        assert_eq!(parsed(b"LOG \t s"), log(None, "s", ""));
        assert_eq!(parsed("LOG s h\u{e9}".as_bytes()), log(None, "s", "h\u{e9}"));
        assert_eq!(parsed(b"LOG s \xff\0"), log(None, "s", "\u{fffd}\u{fffd}"));
    }

    #[test]
    fn refused() {
        for bad in [
            "LOG",
            "LOG ",
            "log a b",
            "TSLOG",
            "TSLOG x s l",
            "TSLOG -1 s l",
            "TSLOG 1",
            "MONITOR 1 2 3 4",
            "MONITOR 1 2 3 4 x",
            "MONITOR -1 0 0 24 80",
            "MONITOR 99999999999 0 0 24 80",
            "START",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse(format!("LOG {} x", "s".repeat(300)).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(line: Vec<u8>, text: String) {
            let _ = parse(&line);
            let _ = parse(format!("TSLOG {text}").as_bytes());
            let _ = parse(format!("MONITOR {text}").as_bytes());
        }
    }
}
