//! Reading an event stream.

use crate::failure::Failure;
use crate::output;
use crate::terminal::meter::Meter;
use crate::terminal::spinner::Spinner;
use std::io::{BufRead, ErrorKind};
use std::time::Instant;
use walt_proto::api::Event;

/// Longest line accepted, in bytes: a log line is at most 64 KiB before escaping.
const MAX_LINE: u64 = 1 << 20;

/// The events of a long operation. Labels and ticks are dealt with here.
pub struct EventStream {
    reader: Box<dyn BufRead>,
    spinner: Spinner,
    meter: Meter,
}

impl EventStream {
    /// Reads events from an answer.
    pub fn new(reader: Box<dyn BufRead>, spinner: Spinner) -> Self {
        Self { reader, spinner, meter: Meter::default() }
    }

    /// The label shown while nothing comes.
    pub fn set_label(&self, label: &str) {
        self.spinner.set_label(label);
    }

    /// A spinner from now on.
    pub fn busy(&mut self) {
        self.spinner = Spinner::start();
    }

    /// No spinner any more: the stream has no end the user waits for.
    pub fn silence(&mut self) {
        self.spinner = Spinner::none();
    }

    /// Next event that matters to a command; `None` once the stream ended well. The spinner is hidden while the
    /// event is dealt with.
    ///
    /// # Errors
    /// The error the server ended with, or a stream that was cut.
    pub fn next_event(&mut self) -> Result<Option<Event>, Failure> {
        self.spinner.show();
        loop {
            let event = self.read()?;
            match event {
                Event::Label { text } => self.spinner.set_label(&text),
                Event::Progress { what, done, total, unit } => {
                    let now = Instant::now();
                    self.meter.note(&what, done, total, &unit, now);
                    self.spinner.set_label(&self.meter.words(now));
                    if !self.spinner.is_on()
                        && let Some(line) = self.meter.due(now)
                    {
                        output::error(&line);
                    }
                }
                Event::Tick | Event::Unknown => {}
                Event::Error(error) => {
                    self.spinner.hide();
                    return Err(error.into());
                }
                Event::Done { exit: None | Some(0) } => {
                    self.spinner.hide();
                    return Ok(None);
                }
                Event::Done { exit: Some(status) } => {
                    self.spinner.hide();
                    return Err(Failure::Said(u8::try_from(status).unwrap_or(1)));
                }
                other => {
                    self.spinner.hide();
                    return Ok(Some(other));
                }
            }
        }
    }

    fn read(&mut self) -> Result<Event, Failure> {
        let mut line = Vec::new();
        let mut limited = std::io::Read::take(&mut self.reader, MAX_LINE);
        match limited.read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\n") => {}
            Ok(_) if line.len() as u64 >= MAX_LINE => {
                return Err(Failure::Connection("The server sent an endless line.".into()));
            }
            Ok(_) => return Err(cut("it was closed before its end")),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(cut("it was closed before its end"));
            }
            Err(error) => return Err(cut(&error.to_string())),
        }
        let text = String::from_utf8_lossy(&line);
        Event::from_line(text.trim_end())
            .map_err(|error| Failure::Connection(format!("The server's answer is wrong: {error}.")))
    }
}

fn cut(why: &str) -> Failure {
    Failure::Connection(format!("The answer of the server was cut: {why}."))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn stream(text: &'static str) -> EventStream {
        EventStream::new(Box::new(text.as_bytes()), Spinner::none())
    }

    #[test]
    fn a_stream_ends_with_done() {
        let mut events =
            stream("{\"event\":\"tick\"}\n{\"event\":\"live\"}\n{\"event\":\"done\"}\n");
        assert_eq!(events.next_event().unwrap(), Some(Event::Live));
        assert_eq!(events.next_event().unwrap(), None);
    }

    #[test]
    fn a_cut_stream_is_a_failure() {
        for text in ["", "{\"event\":\"tick\"}\n", "{\"event\":\"done\"}", "garbage\n"] {
            assert_eq!(stream(text).next_event().unwrap_err().status(), 1, "{text}");
        }
    }
}
