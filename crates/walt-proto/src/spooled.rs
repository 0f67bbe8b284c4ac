//! Log lines of a node that keeps them until they are safe (request 100, our extension): both ends.
//!
//! ```text
//! server: SPOOLED-LOGS 1
//! node:   CLOCK <t0>                          0 to 16 times
//! server: CLOCK <t0> <t1> <t2>
//! node:   OFFSET <offset> <uncertainty>       at most once
//! node:   SESSION <id> <first>
//! server: RESUME <seq>
//! node:   STREAM <number> <name>              before the first line of a stream
//! node:   LINE <seq> <number> <date> <text>
//! server: ACK <seq>
//! node:   CLOSE
//! ```
//!
//! All times are microseconds. `docs/node-protocols.md` tells the whole story.

use std::collections::HashMap;
use std::sync::Arc;

use crate::lines::{LineSplitter, to_text};
use crate::log_stream::LINE_MAX;

/// The version line, without its line break. A server that does not know the request closes instead.
pub const VERSION_LINE: &str = "SPOOLED-LOGS 1";

/// Most clock exchanges of a connection.
pub const CLOCK_EXCHANGES_MAX: usize = 16;

/// Streams are numbered below this.
pub const STREAM_NUMBERS: u16 = 256;

/// Longest stream name, in bytes.
pub const STREAM_NAME_MAX: usize = crate::log_stream::STREAM_NAME_MAX;

/// Longest session name, in bytes.
pub const SESSION_MAX: usize = 100;

/// Longest message of a node, in bytes: a line and what stands before it.
pub const MESSAGE_MAX: usize = LINE_MAX + 128;

/// The date of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Date {
    /// Given by the node or its user: kept. Microseconds since 1970.
    Given(i64),
    /// The node's clock when the line came; the server makes its own time of it (`~` on the wire).
    Arrival(i64),
}

impl Date {
    /// As on the wire.
    pub fn to_wire(self) -> String {
        match self {
            Self::Given(micros) => micros.to_string(),
            Self::Arrival(micros) => format!("~{micros}"),
        }
    }

    /// Reads what [`Date::to_wire`] writes.
    pub fn parse(word: &str) -> Option<Self> {
        match word.strip_prefix('~') {
            Some(micros) => number(micros).map(Self::Arrival),
            None => number(word).map(Self::Given),
        }
    }
}

/// How far the clock of a node is from the server's, as the node measured it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockOffset {
    /// Server's clock minus node's clock, in microseconds.
    pub offset: i64,
    /// The truth is within this of `offset`, in microseconds.
    pub uncertainty: i64,
}

impl ClockOffset {
    /// From one exchange: `t0` and `t3` by the node's clock, `t1` and `t2` by the server's. `None` if these times
    /// cannot be true.
    pub fn measured(t0: i64, t1: i64, t2: i64, t3: i64) -> Option<Self> {
        let trip = t3.checked_sub(t0)?.checked_sub(t2.checked_sub(t1)?)?;
        let twice = t1.checked_sub(t0)?.checked_add(t2.checked_sub(t3)?)?;
        (trip >= 0 && t2 >= t1)
            .then_some(Self { offset: twice / 2, uncertainty: trip / 2 + trip % 2 })
    }
}

/// What a node says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeEvent {
    /// Wants the server's clock: answer with [`ServerMessage::Clock`] at once.
    Clock(i64),
    /// What it found of the clocks.
    Offset(ClockOffset),
    /// Which spool its lines come from: answer with [`ServerMessage::Resume`].
    Session {
        /// Name of the spool, different for each one ever made.
        id: String,
        /// Lowest number it still holds.
        first: u64,
    },
    /// A line.
    Line {
        /// Its number in the spool.
        seq: u64,
        /// Its stream.
        stream: Arc<str>,
        /// When.
        date: Date,
        /// Text, without line break nor NUL.
        text: String,
    },
    /// It is done: close once all is acknowledged.
    Close,
}

/// Why a node cannot be understood: close the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    /// See [`MESSAGE_MAX`].
    #[error("a message of spooled logs is too long")]
    TooLong,
    /// Not a message, or not one at this place.
    #[error("spooled logs: {0}")]
    Unexpected(&'static str),
}

/// Understands what a node says after the request line.
#[derive(Debug)]
pub struct SpoolReader {
    lines: LineSplitter,
    exchanges: usize,
    offset_told: bool,
    in_session: bool,
    closed: bool,
    last: u64,
    streams: HashMap<u16, Arc<str>>,
}

impl Default for SpoolReader {
    fn default() -> Self {
        Self::new()
    }
}

impl SpoolReader {
    /// Nothing received yet.
    pub fn new() -> Self {
        Self {
            // The splitter gives lines over its limit in pieces of about the limit: told apart by their size.
            lines: LineSplitter::new(MESSAGE_MAX + 4),
            exchanges: 0,
            offset_told: false,
            in_session: false,
            closed: false,
            last: 0,
            streams: HashMap::new(),
        }
    }

    /// Takes received bytes; take the events with [`SpoolReader::next_event`] before adding more.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.lines.feed(chunk);
    }

    /// The next thing said, once it is complete.
    ///
    /// # Errors
    /// See [`SpoolError`].
    pub fn next_event(&mut self) -> Result<Option<NodeEvent>, SpoolError> {
        while let Some(line) = self.lines.next_line() {
            if line.len() > MESSAGE_MAX {
                return Err(SpoolError::TooLong);
            }
            if let Some(event) = self.message(&to_text(&line))? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn message(&mut self, line: &str) -> Result<Option<NodeEvent>, SpoolError> {
        use SpoolError::Unexpected;
        if self.closed {
            return Err(Unexpected("more after CLOSE"));
        }
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (verb, self.in_session) {
            ("CLOCK", false) => {
                self.exchanges += 1;
                if self.exchanges > CLOCK_EXCHANGES_MAX {
                    return Err(Unexpected("too many clock exchanges"));
                }
                number(rest).map(NodeEvent::Clock).map(Some).ok_or(Unexpected("bad CLOCK"))
            }
            ("OFFSET", false) if !self.offset_told => {
                self.offset_told = true;
                let (offset, uncertainty) = rest.split_once(' ').unwrap_or_default();
                let (Some(offset), Some(uncertainty @ 0..)) = (number(offset), number(uncertainty))
                else {
                    return Err(Unexpected("bad OFFSET"));
                };
                Ok(Some(NodeEvent::Offset(ClockOffset { offset, uncertainty })))
            }
            ("SESSION", false) => {
                let (id, first) = rest.split_once(' ').unwrap_or_default();
                let Some(first) = seq(first).filter(|_| is_session(id)) else {
                    return Err(Unexpected("bad SESSION"));
                };
                self.in_session = true;
                Ok(Some(NodeEvent::Session { id: id.to_owned(), first }))
            }
            ("STREAM", true) => {
                let (number, name) = rest.split_once(' ').unwrap_or_default();
                let number = number.parse().ok().filter(|n: &u16| *n < STREAM_NUMBERS);
                let name = name.trim();
                let good = !name.is_empty()
                    && name.len() <= STREAM_NAME_MAX
                    && !name.chars().any(char::is_control);
                let Some(number) = number.filter(|_| good) else {
                    return Err(Unexpected("bad STREAM"));
                };
                self.streams.insert(number, name.into());
                Ok(None)
            }
            ("LINE", true) => {
                let mut words = rest.splitn(4, ' ');
                let mut word = || words.next().unwrap_or_default();
                let (number, stream, date) = (seq(word()), word().parse::<u16>(), word());
                let text = word().to_owned();
                let stream = stream.ok().and_then(|stream| self.streams.get(&stream));
                let (Some(seq), Some(stream), Some(date)) = (number, stream, Date::parse(date))
                else {
                    return Err(Unexpected("bad LINE"));
                };
                if seq <= self.last {
                    return Err(Unexpected("numbers of lines do not increase"));
                }
                self.last = seq;
                Ok(Some(NodeEvent::Line { seq, stream: Arc::clone(stream), date, text }))
            }
            ("CLOSE", true) if rest.is_empty() => {
                self.closed = true;
                Ok(Some(NodeEvent::Close))
            }
            _ => Err(Unexpected("not a message, or not here")),
        }
    }
}

/// What the server says after its version line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerMessage {
    /// Its clock, for the exchange of this `t0`.
    Clock {
        /// As the node sent it.
        t0: i64,
        /// When the question came.
        t1: i64,
        /// When the answer left.
        t2: i64,
    },
    /// The last line of the session that is safe; 0 for none.
    Resume(u64),
    /// All lines up to this one are safe.
    Ack(u64),
}

impl ServerMessage {
    /// As on the wire, with its line break.
    pub fn to_wire(self) -> String {
        match self {
            Self::Clock { t0, t1, t2 } => format!("CLOCK {t0} {t1} {t2}\n"),
            Self::Resume(seq) => format!("RESUME {seq}\n"),
            Self::Ack(seq) => format!("ACK {seq}\n"),
        }
    }

    /// Reads a line, without its line break.
    pub fn parse(line: &str) -> Option<Self> {
        let (verb, rest) = line.split_once(' ')?;
        match verb {
            "CLOCK" => {
                let mut words = rest.split(' ').map(number);
                let (t0, t1, t2) = (words.next()??, words.next()??, words.next()??);
                words.next().is_none().then_some(Self::Clock { t0, t1, t2 })
            }
            "RESUME" => seq(rest).map(Self::Resume),
            "ACK" => seq(rest).map(Self::Ack),
            _ => None,
        }
    }
}

/// Can this name a spool?
pub fn is_session(id: &str) -> bool {
    (1..=SESSION_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

/// Digits, with a minus before them if need be; nothing else.
fn number(word: &str) -> Option<i64> {
    let digits = word.strip_prefix('-').unwrap_or(word);
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse().ok()).flatten()
}

/// A number of a line: what the database holds as a signed number.
fn seq(word: &str) -> Option<u64> {
    number(word).and_then(|seq| u64::try_from(seq).ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(text: &[u8]) -> Result<Vec<NodeEvent>, SpoolError> {
        let mut reader = SpoolReader::new();
        reader.feed(text);
        let mut events = Vec::new();
        while let Some(event) = reader.next_event()? {
            events.push(event);
        }
        Ok(events)
    }

    #[test]
    fn a_connection() {
        let events = all(b"CLOCK 100\nOFFSET -5 2\nSESSION b-1 7\nSTREAM 3 my app\n\
            LINE 7 3 1700000000000000  two  blanks \\n\nLINE 9 3 ~12 \nLINE 10 3 12\nCLOSE\n")
        .unwrap();
        let line = |seq, date, text: &str| NodeEvent::Line {
            seq,
            stream: "my app".into(),
            date,
            text: text.to_owned(),
        };
        assert_eq!(
            events,
            [
                NodeEvent::Clock(100),
                NodeEvent::Offset(ClockOffset { offset: -5, uncertainty: 2 }),
                NodeEvent::Session { id: "b-1".to_owned(), first: 7 },
                line(7, Date::Given(1_700_000_000_000_000), " two  blanks \\n"),
                line(9, Date::Arrival(12), ""),
                line(10, Date::Given(12), ""),
                NodeEvent::Close,
            ]
        );
    }

    #[test]
    fn what_is_refused() {
        let session = "SESSION a 1\nSTREAM 0 s\n";
        for bad in [
            "hello\n",
            "CLOCK\n",
            "CLOCK x\n",
            "CLOCK +1\n",
            "OFFSET 1\n",
            "OFFSET 1 -1\n",
            "OFFSET 1 1\nOFFSET 1 1\n",
            "SESSION a\n",
            "SESSION a -1\n",
            "SESSION a/b 1\n",
            "STREAM 0 s\n",
            "LINE 1 0 1 x\n",
            "CLOSE\n",
            &format!("{session}SESSION b 1\n"),
            &format!("{session}CLOCK 1\n"),
            &format!("{session}STREAM 256 s\n"),
            &format!("{session}STREAM 1 \n"),
            &format!("{session}STREAM 1 a\u{7}\n"),
            &format!("{session}LINE 1 1 1 x\n"),
            &format!("{session}LINE 1 0 1.5 x\n"),
            &format!("{session}LINE 9223372036854775808 0 1 x\n"),
            &format!("{session}LINE 2 0 1 x\nLINE 2 0 1 x\n"),
            &format!("{session}CLOSE\nLINE 1 0 1 x\n"),
            &"CLOCK 1\n".repeat(CLOCK_EXCHANGES_MAX + 1),
        ] {
            assert!(matches!(all(bad.as_bytes()), Err(SpoolError::Unexpected(_))), "{bad}");
        }
        let long = format!("{session}LINE 1 0 1 {}\n", "x".repeat(MESSAGE_MAX));
        assert_eq!(all(long.as_bytes()), Err(SpoolError::TooLong));
        assert_eq!(all(&[b'x'; MESSAGE_MAX + 9]), Err(SpoolError::TooLong));
        let longest = format!("{session}LINE 1 0 1 {}\n", "x".repeat(LINE_MAX));
        assert_eq!(all(longest.as_bytes()).unwrap().len(), 2);
    }

    #[test]
    fn clocks() {
        // The server is 1000 ahead; 10 to go, 30 to come back, 5 in the server.
        let measured = ClockOffset::measured(0, 1010, 1015, 45).unwrap();
        assert_eq!(measured, ClockOffset { offset: 990, uncertainty: 20 });
        assert_eq!(ClockOffset::measured(10, 1, 2, 0), None);
        assert_eq!(ClockOffset::measured(i64::MIN, 1, i64::MAX, i64::MAX), None);
    }

    #[test]
    fn what_the_server_says_comes_back() {
        for message in [
            ServerMessage::Clock { t0: -1, t1: 2, t2: 3 },
            ServerMessage::Resume(0),
            ServerMessage::Ack(12),
        ] {
            assert_eq!(ServerMessage::parse(message.to_wire().trim_end()), Some(message));
        }
        for bad in ["", "ACK", "ACK -1", "CLOCK 1 2", "CLOCK 1 2 3 4", "NAK 1", "RESUME 1 "] {
            assert_eq!(ServerMessage::parse(bad), None, "{bad}");
        }
        for date in [Date::Given(-3), Date::Arrival(8)] {
            assert_eq!(Date::parse(&date.to_wire()), Some(date));
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>, text: String) {
            let _ = all(&bytes);
            let _ = all(format!("SESSION a 1\nSTREAM 0 s\nLINE {text}\n").as_bytes());
            let _ = ServerMessage::parse(&text);
        }
    }
}
