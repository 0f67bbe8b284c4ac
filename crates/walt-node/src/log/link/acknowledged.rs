//! A server of ours: each line is sent until it is told to be safe. See `docs/node-protocols.md`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use walt_proto::spooled::{ClockOffset, Date, STREAM_NUMBERS, ServerMessage, VERSION_LINE};

use super::{End, Known, Trouble};
use crate::log::clock;
use crate::log::spool::{Cursor, Entry, SharedSpool};

/// Clock exchanges at the start of a connection; the quickest one counts.
const EXCHANGES: usize = 8;

/// Longest wait for an answer of the handshake, and for an acknowledgement.
const ANSWER: Duration = Duration::from_secs(20);

/// Lines of one write.
const BATCH: usize = 200;

/// Longest line of the server.
const SERVER_LINE_MAX: u64 = 200;

/// Serves a connection to its end.
pub(super) fn run(
    mut stream: TcpStream,
    spool: &Arc<SharedSpool>,
    known: &mut Known,
    trouble: &mut Trouble,
) -> io::Result<End> {
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    let mut answers = BufReader::with_capacity(512, stream.try_clone()?);
    stream.write_all(b"REQ_SPOOLED_LOGS\n")?;
    match line(&mut answers)? {
        None => return Ok(End::Unknown),
        Some(version) if version == VERSION_LINE => known.knows_us = true,
        Some(other) => {
            return Err(io::Error::other(format!(
                "a version of the server not known here: {other}"
            )));
        }
    }
    let mut later = 0;
    if let Some(measured) = compare_clocks(&mut stream, &mut answers)? {
        later = known.offset.replace(measured.offset).map_or(0, |before| before - measured.offset);
        writeln!(stream, "OFFSET {} {}", measured.offset, measured.uncertainty)?;
    }
    writeln!(stream, "SESSION {} {}", spool.session(), spool.acked() + 1)?;
    let ServerMessage::Resume(safe) = message(&mut answers)? else {
        return Err(io::Error::other("the server does not say where to resume"));
    };
    spool.acknowledge(safe)?;
    trouble.over();

    let over = Arc::new(AtomicBool::new(false));
    let receiver = {
        let (spool, over) = (Arc::clone(spool), Arc::clone(&over));
        // Silence is judged by the sender, who knows whether something is due.
        stream.set_read_timeout(None)?;
        std::thread::spawn(move || {
            let ended = acknowledgements(&mut answers, &spool);
            over.store(true, Ordering::Release);
            spool.signal();
            ended
        })
    };
    let sent = send(&mut stream, spool, &over, Dates::new(later));
    let _ = stream.shutdown(Shutdown::Both);
    let received = receiver.join().unwrap_or_else(|_| Err(io::Error::other("the receiver failed")));
    sent?;
    if spool.is_stopping() {
        return Ok(End::Stopping);
    }
    received?;
    Err(io::Error::other("the server closed the connection"))
}

fn line(answers: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut line = String::new();
    answers.by_ref().take(SERVER_LINE_MAX).read_line(&mut line)?;
    match line.strip_suffix('\n') {
        Some(line) => Ok(Some(line.to_owned())),
        None if line.is_empty() => Ok(None),
        None => Err(io::Error::other("the server was cut in the middle of a line")),
    }
}

fn message(answers: &mut BufReader<TcpStream>) -> io::Result<ServerMessage> {
    let line = line(answers)?.ok_or_else(|| io::Error::other("the server closed"))?;
    ServerMessage::parse(&line)
        .ok_or_else(|| io::Error::other(format!("not a message of the server: {line}")))
}

fn compare_clocks(
    stream: &mut TcpStream,
    answers: &mut BufReader<TcpStream>,
) -> io::Result<Option<ClockOffset>> {
    let mut best: Option<ClockOffset> = None;
    for _ in 0..EXCHANGES {
        let sent = clock::now();
        writeln!(stream, "CLOCK {sent}")?;
        let ServerMessage::Clock { t0, t1, t2 } = message(answers)? else {
            return Err(io::Error::other("the server does not tell its clock"));
        };
        let measured = ClockOffset::measured(t0, t1, t2, clock::now()).filter(|_| t0 == sent);
        best = best.into_iter().chain(measured).min_by_key(|measured| measured.uncertainty);
    }
    Ok(best)
}

fn acknowledgements(answers: &mut BufReader<TcpStream>, spool: &SharedSpool) -> io::Result<()> {
    while let Some(line) = line(answers)? {
        match ServerMessage::parse(&line) {
            Some(ServerMessage::Ack(seq)) => spool.acknowledge(seq)?,
            _ => return Err(io::Error::other(format!("not an acknowledgement: {line}"))),
        }
    }
    Ok(())
}

/// Sends lines as they come, until the connection is over or the daemon stops.
fn send(
    stream: &mut TcpStream,
    spool: &SharedSpool,
    over: &AtomicBool,
    mut dates: Dates,
) -> io::Result<()> {
    let mut numbers = Numbers::default();
    let mut next = spool.acked() + 1;
    let mut cursor = Cursor::new(next);
    let mut seen = 0;
    let (mut safe, mut since) = (spool.acked(), Instant::now());
    while !over.load(Ordering::Acquire) {
        let entries = cursor.read(spool, BATCH)?;
        if let Some(last) = entries.last() {
            next = last.seq + 1;
            let mut text = String::new();
            for mut entry in entries {
                entry.date = dates.of(entry.date);
                numbers.write(&entry, &mut text);
            }
            stream.write_all(text.as_bytes())?;
        } else if spool.is_stopping() {
            return Ok(());
        } else {
            seen = spool.wait(next, seen, Duration::from_secs(1));
        }
        // Lines were sent and nothing comes back: the server hangs.
        let now_safe = spool.acked();
        if now_safe != safe || now_safe + 1 == next {
            (safe, since) = (now_safe, Instant::now());
        } else if since.elapsed() > ANSWER {
            return Err(io::Error::other("the server does not acknowledge"));
        }
    }
    Ok(())
}

/// Keeps the lines dated by the server in order when the clocks were found closer than by the connection before: none
/// may get a date before that of the last line sent then.
struct Dates {
    later: i64,
    floor: Option<i64>,
}

impl Dates {
    /// By how much the server would date a same instant earlier than before; negative for later.
    fn new(later: i64) -> Self {
        Self { later, floor: None }
    }

    fn of(&mut self, date: Date) -> Date {
        match date {
            Date::Given(micros) => Date::Given(micros),
            Date::Arrival(micros) => {
                let floor = *self.floor.get_or_insert(micros.saturating_add(self.later));
                Date::Arrival(micros.max(floor))
            }
        }
    }
}

/// The numbers of streams on this connection.
#[derive(Default)]
struct Numbers(HashMap<String, usize>);

impl Numbers {
    fn write(&mut self, entry: &Entry, text: &mut String) {
        let Entry { seq, date, stream, text: line } = entry;
        let number = match self.0.get(stream) {
            Some(number) => *number,
            None => {
                if self.0.len() >= usize::from(STREAM_NUMBERS) {
                    self.0.clear();
                }
                let number = self.0.len();
                self.0.insert(stream.clone(), number);
                let _ = writeln!(text, "STREAM {number} {stream}");
                number
            }
        };
        let _ = writeln!(text, "LINE {seq} {number} {} {line}", date.to_wire());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_measure_of_the_clocks_does_not_change_the_order() {
        let mut dates = Dates::new(300);
        let dated: Vec<Date> =
            [Date::Arrival(1000), Date::Given(5), Date::Arrival(1200), Date::Arrival(1500)]
                .into_iter()
                .map(|date| dates.of(date))
                .collect();
        let wanted =
            [Date::Arrival(1300), Date::Given(5), Date::Arrival(1300), Date::Arrival(1500)];
        assert_eq!(dated, wanted);
        assert_eq!(Dates::new(-300).of(Date::Arrival(1000)), Date::Arrival(1000));
    }

    #[test]
    fn streams_are_numbered_when_first_used() {
        let mut numbers = Numbers::default();
        let mut text = String::new();
        let entry = |seq, stream: &str| Entry {
            seq,
            date: Date::Arrival(5),
            stream: stream.to_owned(),
            text: " x".to_owned(),
        };
        numbers.write(&entry(1, "a b"), &mut text);
        numbers.write(&entry(2, "c"), &mut text);
        numbers.write(&entry(3, "a b"), &mut text);
        assert_eq!(
            text,
            "STREAM 0 a b\nLINE 1 0 ~5  x\nSTREAM 1 c\nLINE 2 1 ~5  x\nLINE 3 0 ~5  x\n"
        );
        for stream in 0..1000 {
            numbers.write(&entry(4, &stream.to_string()), &mut text);
            assert!(numbers.0.len() <= usize::from(STREAM_NUMBERS));
        }
    }
}
