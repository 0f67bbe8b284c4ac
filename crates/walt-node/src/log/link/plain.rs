//! An original server: it never answers, but it closes a connection once it has read `CLOSE`, so it has read what
//! came before. Lines are sent in small groups, one connection per stream and group; a group whose connection does
//! not end in order is sent again. A server that dies just then may lose or double it: there is no better way.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use walt_proto::spooled::Date;

use super::{RETRY, Trouble, connect, pause};
use crate::log::clock;
use crate::log::server::Server;
use crate::log::spool::{Cursor, Entry, SharedSpool};

/// How long the first line of a group waits for others.
const GATHER: Duration = Duration::from_millis(250);

/// Lines of a group.
const GROUP: usize = 2000;

/// Longest wait for the end of a connection.
const END: Duration = Duration::from_secs(15);

/// What was sent.
#[derive(Default)]
pub(super) struct Sender {
    /// In the group being sent: streams whose lines were taken, up to which number.
    taken: HashMap<String, u64>,
}

impl Sender {
    /// Sends until this time, or the daemon stops.
    pub(super) fn run(
        &mut self,
        spool: &SharedSpool,
        server: &Server,
        until: Instant,
        trouble: &mut Trouble,
    ) {
        let mut seen = 0;
        while Instant::now() < until && !spool.is_stopping() {
            let next = spool.acked() + 1;
            if spool.next() == next {
                seen = spool.wait(next, seen, RETRY);
                continue;
            }
            std::thread::sleep(GATHER);
            match self.group(spool, server, next) {
                Ok(()) => trouble.over(),
                Err(error) => {
                    trouble.is(&error);
                    pause(spool);
                }
            }
        }
    }

    fn group(&mut self, spool: &SharedSpool, server: &Server, next: u64) -> io::Result<()> {
        let entries = Cursor::new(next).read(spool, GROUP)?;
        let Some(last) = entries.last().map(|entry| entry.seq) else { return Ok(()) };
        let mut streams: Vec<&str> = Vec::new();
        for entry in &entries {
            if !streams.contains(&&*entry.stream) {
                streams.push(&entry.stream);
            }
        }
        for name in streams {
            let taken = self.taken.get(name).copied().unwrap_or(0);
            let lines = entries.iter().filter(|entry| entry.stream == name && entry.seq > taken);
            let Some(text) = to_wire(name, lines) else { continue };
            send(server, &text)?;
            self.taken.insert(name.to_owned(), last);
        }
        spool.acknowledge(last)?;
        self.taken.clear();
        Ok(())
    }
}

/// All that is said on a connection for these lines; `None` without lines.
fn to_wire<'a>(stream: &str, lines: impl Iterator<Item = &'a Entry>) -> Option<String> {
    let mut text = format!("REQ_NEW_INCOMING_LOGS\n{stream}\nTIMESTAMPS_INSIDE\n");
    let header = text.len();
    for entry in lines {
        let (Date::Given(micros) | Date::Arrival(micros)) = entry.date;
        let _ = writeln!(text, "{} {}", clock::seconds(micros), entry.text);
    }
    (text.len() > header).then(|| text + "CLOSE\n")
}

fn send(server: &Server, text: &str) -> io::Result<()> {
    let mut stream = connect(server)?;
    stream.set_write_timeout(Some(END))?;
    stream.set_read_timeout(Some(END))?;
    stream.write_all(text.as_bytes())?;
    // The server closes once it has read all of it; it says nothing.
    match stream.read(&mut [0; 64])? {
        0 => Ok(()),
        _ => Err(io::Error::other("the server answers where it should not")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_the_original() {
        let entry = Entry {
            seq: 4,
            date: Date::Given(1_751_286_000_250_000),
            stream: "exp1".to_owned(),
            text: "hello world".to_owned(),
        };
        assert_eq!(
            to_wire("exp1", [&entry].into_iter()).as_deref(),
            Some(
                "REQ_NEW_INCOMING_LOGS\nexp1\nTIMESTAMPS_INSIDE\n\
                 1751286000.250000 hello world\nCLOSE\n"
            )
        );
        assert_eq!(to_wire("exp1", [].into_iter()), None);
    }
}
