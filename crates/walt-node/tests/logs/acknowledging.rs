//! Under a server that acknowledges.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use super::part::{Daemon, accept, listener};

/// A connection whose handshake is done.
struct Connection {
    stream: BufReader<TcpStream>,
    session: String,
    first: u64,
}

impl Connection {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end_matches('\n').to_owned()
    }

    fn say(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// Takes the next connection; the server's clock is 500 s ahead.
    fn open(listener: &TcpListener, resume: u64) -> Self {
        let stream = BufReader::new(accept(listener));
        let mut connection = Self { stream, session: String::new(), first: 0 };
        assert_eq!(connection.line(), "REQ_SPOOLED_LOGS");
        connection.say("SPOOLED-LOGS 1\n");
        let mut offsets = 0;
        loop {
            let line = connection.line();
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["CLOCK", t0] => {
                    let ahead = t0.parse::<i64>().unwrap() + 500_000_000;
                    connection.say(&format!("CLOCK {t0} {ahead} {ahead}\n"));
                }
                ["OFFSET", offset, uncertainty] => {
                    let offset: i64 = offset.parse().unwrap();
                    let uncertainty: i64 = uncertainty.parse().unwrap();
                    assert!((offset - 500_000_000).abs() <= uncertainty + 1, "{line}");
                    offsets += 1;
                }
                ["SESSION", session, first] => {
                    assert_eq!(offsets, 1);
                    connection.session = session.to_owned();
                    connection.first = first.parse().unwrap();
                    connection.say(&format!("RESUME {resume}\n"));
                    return connection;
                }
                _ => panic!("{line}"),
            }
        }
    }

    /// Lines as `number stream-number text`, streams being told before.
    fn lines(&mut self, count: usize) -> Vec<(u64, String)> {
        let mut lines = Vec::new();
        while lines.len() < count {
            let line = self.line();
            if let Some(rest) = line.strip_prefix("LINE ") {
                let words: Vec<&str> = rest.splitn(4, ' ').collect();
                lines.push((words[0].parse().unwrap(), words[3].to_owned()));
            } else {
                assert!(line.starts_with("STREAM "), "{line:?}");
            }
        }
        lines
    }
}

fn numbered(range: std::ops::RangeInclusive<u64>) -> Vec<(u64, String)> {
    range.map(|n| (n, format!("line {n}"))).collect()
}

fn logs(range: std::ops::RangeInclusive<u64>) -> String {
    range.map(|n| format!("LOG s line {n}\n")).collect()
}

#[test]
fn what_is_not_acknowledged_is_sent_again() {
    let (listener, address) = listener();
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), address);
    daemon.write(&logs(1..=50));
    let mut connection = Connection::open(&listener, 0);
    assert_eq!(connection.first, 1);
    assert_eq!(connection.lines(50), numbered(1..=50));
    connection.say("ACK 20\n");
    let session = connection.session.clone();
    drop(connection);
    // It heard of 20; the server knows that it has 30.
    let mut connection = Connection::open(&listener, 30);
    assert_eq!(connection.session, session);
    assert!(connection.first <= 21, "{}", connection.first);
    assert_eq!(connection.lines(20), numbered(31..=50));
    connection.say("ACK 50\n");
    daemon.write(&logs(51..=52));
    assert_eq!(connection.lines(2), numbered(51..=52));
}

#[test]
fn the_spool_outlives_the_daemon() {
    let (listener, address) = listener();
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), address);
    daemon.program("0\ns\nTIMESTAMPS_INSIDE\n1 line 1\n1 line 2\nCLOSE\n");
    let mut connection = Connection::open(&listener, 0);
    assert_eq!(connection.lines(2), numbered(1..=2));
    daemon.kill();
    let session = connection.session.clone();
    drop(connection);
    let _ = std::fs::remove_file(folder.path().join("fifo"));
    let daemon = Daemon::start(folder.path(), address);
    daemon.write(&logs(3..=3));
    let mut connection = Connection::open(&listener, 1);
    assert_eq!(connection.session, session);
    assert_eq!(connection.lines(2), numbered(2..=3));
    connection.say("ACK 3\n");
    daemon.terminate();
}
