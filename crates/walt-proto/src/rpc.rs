//! Calls from nodes and boot programs (request 10, port 12345).
//!
//! After the request line: the name of an interface, answered by the version of the server; then messages. Each is
//! a Python literal on one line, until the caller switches to pickles.

use crate::lines::LineSplitter;
use crate::pickle::{self, PickleError, PickleLimits, PickleReader};
use crate::python::{self, LiteralError, PyValue};

/// Longest message in line mode, in bytes.
pub const MESSAGE_MAX: usize = 64 * 1024;

/// Which set of methods a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RpcInterface {
    /// `NSAPI`: nodes.
    Node,
    /// `VSAPI`: virtual components and boot programs.
    Virtual,
    /// `CSAPI`: clients of the original.
    Client,
    /// `SSAPI`: server tools of the original.
    Server,
}

impl RpcInterface {
    /// Reads the interface line.
    pub fn parse(line: &[u8]) -> Option<Self> {
        match line.trim_ascii() {
            b"NSAPI" => Some(Self::Node),
            b"VSAPI" => Some(Self::Virtual),
            b"CSAPI" => Some(Self::Client),
            b"SSAPI" => Some(Self::Server),
            _ => None,
        }
    }
}

/// The line that answers the interface line.
pub fn version_line(version: &str) -> Vec<u8> {
    format!("{version}\n").into_bytes()
}

/// A call.
#[derive(Debug, Clone, PartialEq)]
pub struct RpcCall {
    /// Dotted name of the method.
    pub path: String,
    /// Positional arguments.
    pub args: Vec<PyValue>,
    /// Named arguments.
    pub kwargs: Vec<(String, PyValue)>,
}

/// What the caller sent.
#[derive(Debug, Clone, PartialEq)]
pub enum RpcEvent {
    /// A call, to be answered by [`RpcSession::result`] before the next event is asked for.
    Call(RpcCall),
    /// The caller is done: close the connection.
    Close,
}

/// Why a session cannot go on: close the connection.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RpcError {
    /// A line that is no literal.
    #[error("in a call: {0}")]
    Literal(#[from] LiteralError),
    /// Bytes that are no pickle.
    #[error("in a call: {0}")]
    Pickle(#[from] PickleError),
    /// A line over [`MESSAGE_MAX`], or not UTF-8.
    #[error("a call is too long or is not text")]
    NotALine,
    /// A literal that is no message.
    #[error("not a message: {0}")]
    Message(String),
}

#[derive(Debug)]
enum Mode {
    Lines(LineSplitter),
    Pickles(Box<PickleReader>),
}

/// The server's end of a session, from the first message on.
#[derive(Debug)]
pub struct RpcSession {
    mode: Mode,
}

impl Default for RpcSession {
    fn default() -> Self {
        Self::new()
    }
}

impl RpcSession {
    /// The interface line was read, nothing after it.
    pub fn new() -> Self {
        // One more than allowed, so that a piece over the limit shows.
        Self { mode: Mode::Lines(LineSplitter::new(MESSAGE_MAX + 1)) }
    }

    /// Adds received bytes.
    pub fn feed(&mut self, chunk: &[u8]) {
        match &mut self.mode {
            Mode::Lines(lines) => lines.feed(chunk),
            Mode::Pickles(pickles) => pickles.feed(chunk),
        }
    }

    /// What the caller asks next, if it was received whole. A change of mode is handled here.
    ///
    /// # Errors
    /// See [`RpcError`]: close the connection.
    pub fn next_event(&mut self) -> Result<Option<RpcEvent>, RpcError> {
        loop {
            let Some(message) = self.next_message()? else { return Ok(None) };
            match parse_message(message)? {
                Message::Event(event) => return Ok(Some(event)),
                Message::SetMode(is_pickle) => self.set_mode(is_pickle),
            }
        }
    }

    /// The bytes that answer the last call.
    pub fn result(&self, value: PyValue) -> Vec<u8> {
        let message = PyValue::Tuple(vec![PyValue::str("RESULT"), value]);
        match self.mode {
            Mode::Lines(_) => (python::repr(&message) + "\n").into_bytes(),
            Mode::Pickles(_) => pickle::write(&message),
        }
    }

    fn next_message(&mut self) -> Result<Option<PyValue>, RpcError> {
        match &mut self.mode {
            Mode::Lines(lines) => {
                let Some(line) = lines.next_line() else { return Ok(None) };
                if line.len() > MESSAGE_MAX {
                    return Err(RpcError::NotALine);
                }
                let line = String::from_utf8(line).map_err(|_| RpcError::NotALine)?;
                Ok(Some(python::parse(&line)?))
            }
            Mode::Pickles(pickles) => Ok(pickles.next_value()?),
        }
    }

    fn set_mode(&mut self, is_pickle: bool) {
        let fresh = if is_pickle {
            Mode::Pickles(Box::new(PickleReader::new(PickleLimits::default())))
        } else {
            Mode::Lines(LineSplitter::new(MESSAGE_MAX + 1))
        };
        let rest = match std::mem::replace(&mut self.mode, fresh) {
            Mode::Lines(mut lines) => lines.take_rest(),
            Mode::Pickles(pickles) => pickles.into_rest(),
        };
        self.feed(&rest);
    }
}

enum Message {
    Event(RpcEvent),
    SetMode(bool),
}

fn parse_message(message: PyValue) -> Result<Message, RpcError> {
    let refused = |message: &PyValue| {
        Err(RpcError::Message(python::repr(message).chars().take(100).collect()))
    };
    if message.as_str() == Some("CLOSE") {
        return Ok(Message::Event(RpcEvent::Close));
    }
    let PyValue::Tuple(items) = &message else { return refused(&message) };
    match items.as_slice() {
        [kind, ..] if kind.as_str() == Some("CLOSE") => Ok(Message::Event(RpcEvent::Close)),
        [kind, mode] if kind.as_str() == Some("SET_MODE") => match mode.as_str() {
            Some("pickle4") => Ok(Message::SetMode(true)),
            Some("line-repr-eval") => Ok(Message::SetMode(false)),
            _ => refused(&message),
        },
        [kind, PyValue::Str(path), args, PyValue::Dict(kwargs)]
            if kind.as_str() == Some("API_CALL") =>
        {
            let named =
                |(key, value): &(PyValue, PyValue)| Some((key.as_str()?.to_owned(), value.clone()));
            match (args.as_sequence(), kwargs.iter().map(named).collect()) {
                (Some(args), Some(kwargs)) => {
                    let call = RpcCall { path: path.clone(), args: args.to_vec(), kwargs };
                    Ok(Message::Event(RpcEvent::Call(call)))
                }
                _ => refused(&message),
            }
        }
        _ => refused(&message),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn call(path: &str, args: Vec<PyValue>) -> Option<RpcEvent> {
        Some(RpcEvent::Call(RpcCall { path: path.to_owned(), args, kwargs: vec![] }))
    }

    #[test]
    fn transcript_of_sync_clock() {
        assert_eq!(RpcInterface::parse(b"NSAPI"), Some(RpcInterface::Node));
        assert_eq!(RpcInterface::parse(b"XSAPI"), None);
        assert_eq!(version_line("10.0"), b"10.0\n");
        let mut session = RpcSession::new();
        session.feed(b"('API_CALL', 'sync_clock', (), {})\n");
        assert_eq!(session.next_event(), Ok(call("sync_clock", vec![])));
        assert_eq!(session.next_event(), Ok(None));
        assert_eq!(session.result(PyValue::Int(1_751_286_001)), b"('RESULT', 1751286001)\n");
        session.feed(b"('CLOSE')\n");
        assert_eq!(session.next_event(), Ok(Some(RpcEvent::Close)));
    }

    #[test]
    fn transcript_in_pickles() {
        let mut session = RpcSession::new();
        let mac = PyValue::str("52:54:00:01:02:03");
        let message = PyValue::Tuple(vec![
            PyValue::str("API_CALL"),
            PyValue::str("get_device_info"),
            PyValue::Tuple(vec![mac.clone()]),
            PyValue::Dict(vec![]),
        ]);
        let mut bytes = b"('SET_MODE', 'pickle4')\n".to_vec();
        bytes.extend(pickle::write(&message));
        bytes.extend(pickle::write(&PyValue::Tuple(vec![
            PyValue::str("SET_MODE"),
            PyValue::str("line-repr-eval"),
        ])));
        bytes.extend(b"('API_CALL', 'x', [], {'a': 1})\n");
        for cut in 0..bytes.len() {
            let mut session = RpcSession::new();
            let mut events = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                session.feed(part);
                while let Some(event) = session.next_event().unwrap() {
                    events.push(event);
                }
            }
            let kwargs = vec![("a".to_owned(), PyValue::Int(1))];
            let last = RpcEvent::Call(RpcCall { path: "x".to_owned(), args: vec![], kwargs });
            assert_eq!(events, [call("get_device_info", vec![mac.clone()]).unwrap(), last]);
        }
        session.feed(&bytes[..24]);
        assert_eq!(session.next_event(), Ok(None));
        let none = [
            0x80, 4, 0x95, 0x0d, 0, 0, 0, 0, 0, 0, 0, 0x8c, 6, 0x52, 0x45, 0x53, 0x55, 0x4c, 0x54,
            0x94, 0x4e, 0x86, 0x94, 0x2e,
        ];
        assert_eq!(session.result(PyValue::None), none);
    }

    #[test]
    fn anything_else_closes() {
        for bad in [
            "\n",
            "1\n",
            "('X', 1)\n",
            "('API_CALL', 'x')\n",
            "('SET_MODE', 'pickle9')\n",
            "('API_CALL', 'x', (), {1: 2})\n",
            "import os\n",
        ] {
            let mut session = RpcSession::new();
            session.feed(bad.as_bytes());
            assert!(session.next_event().is_err(), "{bad}");
        }
        let mut session = RpcSession::new();
        session.feed(&vec![b' '; MESSAGE_MAX + 10]);
        assert_eq!(session.next_event(), Err(RpcError::NotALine));
    }

    proptest! {
        #[test]
        fn never_panics(chunks: Vec<Vec<u8>>, pickles: bool) {
            let mut session = RpcSession::new();
            if pickles {
                session.feed(b"('SET_MODE', 'pickle4')\n");
            }
            for chunk in chunks {
                session.feed(&chunk);
                while let Ok(Some(_)) = session.next_event() {}
            }
        }
    }
}
