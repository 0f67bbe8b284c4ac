//! `walt-log-echo`, `walt-log-cat` and `walt-log-tee`.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use walt_proto::lines::{LineSplitter, to_text};
use walt_proto::log_stream::{LINE_MAX, TimestampMode};

use super::sender::Sender;
use super::server::Server;
use super::{clock, daemon, local, stream_name};
use crate::failure::{Failure, Outcome};

/// Longest text of one line, in bytes: there is room for a date before it. Longer ones become several lines.
const TEXT_MAX: usize = LINE_MAX - 64;

/// Times a FIFO without a reader is tried: the original's daemon opens it anew after each writer.
const FIFO_ATTEMPTS: u32 = 10;

/// Who dates the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dates {
    Server,
    Local,
    Provided,
}

impl Dates {
    fn mode(self) -> TimestampMode {
        if self == Self::Server { TimestampMode::Server } else { TimestampMode::Inside }
    }
}

/// Options, then the name of the stream; `None` when they are not in order.
fn arguments(words: &[String]) -> Option<(Dates, String)> {
    let mut dates = Dates::Server;
    for word in words {
        match &**word {
            "--ts-server" => dates = Dates::Server,
            "--ts-local" => dates = Dates::Local,
            "--ts-provided" | "--timestamp" | "--ts" => dates = Dates::Provided,
            other if other.starts_with('-') => return None,
            other => return stream_name(other).map(|stream| (dates, stream)),
        }
    }
    None
}

fn words(arguments: Vec<OsString>) -> Vec<String> {
    arguments.into_iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

/// `walt-log-cat`.
pub fn cat(arguments: Vec<OsString>) -> Outcome {
    send_input(arguments, false)
}

/// `walt-log-tee`.
pub fn tee(arguments: Vec<OsString>) -> Outcome {
    send_input(arguments, true)
}

fn send_input(words_given: Vec<OsString>, copied: bool) -> Outcome {
    let (dates, stream) = arguments(&words(words_given)).ok_or(Failure::Usage(1))?;
    let socket = Path::new(local::SOCKET);
    let mut sender = Sender::new(&stream, dates.mode(), socket, Server::default());
    let mut output = copied.then(|| io::stdout().lock());
    let mut lines = LineSplitter::new(TEXT_MAX);
    let mut input = io::stdin().lock();
    loop {
        let chunk = match input.fill_buf() {
            Ok([]) => break,
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::plain(format!("stdin: {error}"))),
        };
        let length = chunk.len();
        if dates != Dates::Provided {
            copy(&mut output, chunk);
        }
        lines.feed(chunk);
        input.consume(length);
        while let Some(line) = lines.next_line() {
            one_line(&mut sender, dates, &line, &mut output);
        }
        sender.flush();
    }
    if lines.has_partial() {
        one_line(&mut sender, dates, &lines.take_rest(), &mut output);
    }
    if sender.finish() {
        Ok(0)
    } else {
        Err(Failure::plain("the server does not answer: some lines were not sent."))
    }
}

fn one_line(sender: &mut Sender, dates: Dates, line: &[u8], output: &mut Option<impl Write>) {
    let text = to_text(line);
    match dates {
        Dates::Server | Dates::Local => sender.line(None, &text),
        Dates::Provided => {
            let (date, text) = dated(&text);
            copy(output, text.as_bytes());
            copy(output, b"\n");
            sender.line(date, text);
        }
    }
}

/// The date at the start of a line, and the rest; a line without a date is kept whole, dated now.
fn dated(line: &str) -> (Option<&str>, &str) {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    clock::parse(word).map_or((None, line), |_| (Some(word), rest))
}

/// A reader of the copy that leaves does not stop the log.
fn copy(output: &mut Option<impl Write>, bytes: &[u8]) {
    let Some(open) = output else { return };
    if open.write_all(bytes).and_then(|()| open.flush()).is_err() {
        *output = None;
    }
}

/// `walt-log-echo`.
pub fn echo(arguments: Vec<OsString>) -> Outcome {
    let mut words = words(arguments);
    let mut date = None;
    if matches!(words.first().map(|word| &**word), Some("--timestamp" | "--ts")) {
        let given = words.get(1).ok_or(Failure::Usage(0))?;
        if clock::parse(given).is_none() {
            let what = "is not a date in seconds since 1970 (1751286000.25)";
            return Err(Failure::plain(format!("'{given}' {what}")));
        }
        date = Some(given.clone());
        words.drain(..2);
    }
    if words.len() < 2 {
        return Err(Failure::Usage(0));
    }
    let stream = stream_name(&words[0])
        .ok_or_else(|| Failure::plain(format!("'{}' cannot name a log stream", words[0])))?;
    let text = words[1..].join(" ");
    let socket = Path::new(local::SOCKET);
    if !socket.exists() && give_to_fifo(Path::new(daemon::FIFO), date.as_deref(), &stream, &text) {
        return Ok(0);
    }
    let mode = if date.is_some() { TimestampMode::Inside } else { TimestampMode::Server };
    let mut sender = Sender::new(&stream, mode, socket, Server::default());
    for line in text.split('\n') {
        let mut pieces = LineSplitter::new(TEXT_MAX);
        pieces.feed(line.as_bytes());
        while let Some(piece) = pieces.next_line() {
            sender.line(date.as_deref(), &to_text(&piece));
        }
        sender.line(date.as_deref(), &to_text(&pieces.take_rest()));
    }
    if sender.finish() {
        Ok(0)
    } else {
        Err(Failure::plain("the server does not answer: the line was not sent."))
    }
}

/// Gives the lines to the original's daemon, if one reads the FIFO.
fn give_to_fifo(path: &Path, date: Option<&str>, stream: &str, text: &str) -> bool {
    let is_fifo = || {
        use std::os::unix::fs::FileTypeExt;
        path.metadata().is_ok_and(|found| found.file_type().is_fifo())
    };
    let lines: String = text
        .split('\n')
        .map(|line| match date {
            Some(date) => format!("TSLOG {date} {stream} {line}\n"),
            None => format!("LOG {stream} {line}\n"),
        })
        .collect();
    for _ in 0..FIFO_ATTEMPTS {
        if stream.contains(' ') || !is_fifo() {
            return false;
        }
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        if let Ok(fifo) = OpenOptions::new().write(true).custom_flags(flags).open(path) {
            // Once open it may block: a reader is there.
            let _ = rustix::io::ioctl_fionbio(&fifo, false);
            return (&fifo).write_all(lines.as_bytes()).is_ok();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Option<(Dates, String)> {
        arguments(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn options_and_their_aliases() {
        assert_eq!(parsed(&["s"]), Some((Dates::Server, "s".to_owned())));
        for alias in ["--ts-provided", "--timestamp", "--ts"] {
            assert_eq!(parsed(&[alias, "s"]), Some((Dates::Provided, "s".to_owned())));
        }
        assert_eq!(parsed(&["--ts-local", "s"]), Some((Dates::Local, "s".to_owned())));
        assert_eq!(parsed(&["--ts", "--ts-server", "s"]), Some((Dates::Server, "s".to_owned())));
        for bad in [&[][..], &["--ts"], &["-x", "s"], &[""], &["--ts", "\u{7}"]] {
            assert_eq!(parsed(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn dates_at_the_start_of_lines() {
        assert_eq!(dated("1751286000.25 hi  there "), (Some("1751286000.25"), "hi  there "));
        assert_eq!(dated("12"), (Some("12"), ""));
        assert_eq!(dated("no date"), (None, "no date"));
        assert_eq!(dated(""), (None, ""));
    }
}
