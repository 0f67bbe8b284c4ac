//! Programs running on nodes, seen from here: bytes, keys, window size, exit status.

use crate::failure::{Failure, Outcome};
use crate::output;
use crate::server::Server;
use crate::server::websocket::{Incoming, Session};
use crate::terminal;
use crate::terminal::raw::RawMode;
use crate::terminal::signals::Resizes;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::stdin;
use std::os::fd::AsFd;
use walt_proto::api::session::{Channel, ClientMessage, Command, ServerMessage, Start, Tty};

/// Largest piece of input sent at once, in bytes.
const CHUNK: usize = 32 * 1024;

/// Where input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Our standard input.
    Stdin,
    /// Nothing: the program sees an end of file at once.
    Empty,
}

/// Runs a program on a node until it ends; its status is ours. With `tty`, keys go there untouched.
///
/// # Errors
/// Those of the server, and those of the connection.
pub fn run(server: &Server, path: &str, start: Start, input: Input) -> Outcome {
    let tty = start.tty.is_some();
    let mut session = server.session(path, &ClientMessage::Start(start))?;
    wait_until_ready(&mut session)?;
    let mut relay = Relay { session, input: true, keys: None, tty };
    if input == Input::Empty {
        relay.input = false;
        relay.session.send(&ClientMessage::Eof)?;
    }
    let _raw = if tty && terminal::is_interactive() { RawMode::enter().ok() } else { None };
    relay.run()
}

/// A terminal like ours, if we have one.
pub fn our_tty() -> Option<Tty> {
    terminal::is_interactive().then(|| {
        let (cols, rows) = terminal::size();
        Tty { term: terminal::term(), cols, rows }
    })
}

/// Start of a program.
pub fn start(command: Command, tty: Option<Tty>, confirmed: bool) -> Start {
    Start { command, tty, confirmed }
}

/// Attaches to a console until the user leaves it.
///
/// # Errors
/// Those of the server, and those of the connection.
pub fn console(mut session: Session, keys: crate::command::node::console::Keys) -> Outcome {
    wait_until_ready(&mut session)?;
    let interactive = terminal::is_interactive();
    let _raw = if interactive { RawMode::enter().ok() } else { None };
    let keys = interactive.then_some(keys);
    Relay { session, input: true, keys, tty: false }.run()
}

/// Waits for [`ServerMessage::Ready`].
///
/// # Errors
/// The refusal of the server.
pub fn wait_until_ready(session: &mut Session) -> Result<(), Failure> {
    let _busy = terminal::spinner::Spinner::start();
    loop {
        match session.read()? {
            Some(Incoming::Message(ServerMessage::Ready)) => return Ok(()),
            Some(Incoming::Message(ServerMessage::Error(error))) => return Err(error.into()),
            Some(Incoming::Closed) => return Err(closed()),
            Some(_) => {}
            None => {
                let mut flags = PollFlags::IN;
                if session.has_unsent() {
                    flags |= PollFlags::OUT;
                }
                let mut fds = [PollFd::from_borrowed_fd(session.fd(), flags)];
                let _ = poll(&mut fds, None);
                session.flush()?;
            }
        }
    }
}

fn closed() -> Failure {
    Failure::Connection("The server closed the session before its end.".into())
}

struct Relay {
    session: Session,
    /// Whether our standard input is still open.
    input: bool,
    /// Escape keys of a console.
    keys: Option<crate::command::node::console::Keys>,
    tty: bool,
}

impl Relay {
    fn run(mut self) -> Outcome {
        let resizes = Resizes::new()
            .map_err(|error| Failure::plain(format!("Cannot follow the window size: {error}.")))?;
        loop {
            while let Some(incoming) = self.session.read()? {
                if let Some(status) = self.receive(incoming)? {
                    self.session.close();
                    return Ok(status);
                }
            }
            let mut flags = PollFlags::IN;
            if self.session.has_unsent() {
                flags |= PollFlags::OUT;
            }
            let stdin = stdin();
            let mut fds = vec![
                PollFd::from_borrowed_fd(self.session.fd(), flags),
                PollFd::from_borrowed_fd(resizes.fd(), PollFlags::IN),
            ];
            if self.input && !self.session.has_unsent() {
                fds.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
            }
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    return Err(Failure::plain(format!("Cannot wait for input: {error}.")));
                }
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            if self.session.has_unsent() {
                self.session.flush()?;
            }
            if ready[1] {
                resizes.clear();
                if self.tty {
                    let (cols, rows) = terminal::size();
                    self.session.send(&ClientMessage::Resize { cols, rows })?;
                }
            }
            if ready.get(2).copied().unwrap_or(false) && self.send_input()? {
                self.session.close();
                return Ok(0);
            }
        }
    }

    /// An exit status once the session is over.
    fn receive(&mut self, incoming: Incoming) -> Result<Option<u8>, Failure> {
        match incoming {
            Incoming::Data(Channel::Stdout, bytes) => match &mut self.keys {
                Some(keys) => output::bytes(&keys.filter(&bytes)),
                None => output::bytes(&bytes),
            },
            Incoming::Data(Channel::Stderr, bytes) => output::error_bytes(&bytes),
            Incoming::Message(ServerMessage::Exit { status }) => {
                return Ok(Some(exit_status(status)));
            }
            Incoming::Message(ServerMessage::Error(error)) => return Err(error.into()),
            Incoming::Closed => return Err(closed()),
            Incoming::Data(Channel::Stdin, _) | Incoming::Message(_) => {}
        }
        Ok(None)
    }

    /// True: the user wants to leave.
    fn send_input(&mut self) -> Result<bool, Failure> {
        let mut bytes = vec![0; CHUNK];
        let count = match rustix::io::read(stdin(), &mut bytes) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return Ok(false),
            // A terminal that is no longer ours answers this, or an end below.
            Err(rustix::io::Errno::IO) => return Err(Failure::HungUp),
            Err(_) => 0,
        };
        if count == 0 {
            // Nobody typed this end: the program there must not take it for one.
            if terminal::hung_up(stdin()) {
                return Err(Failure::HungUp);
            }
            self.input = false;
            self.session.send(&ClientMessage::Eof)?;
            return Ok(false);
        }
        bytes.truncate(count);
        let Some(keys) = &mut self.keys else {
            self.session.input(&bytes)?;
            return Ok(false);
        };
        let (typed, leave) = keys.press(&bytes);
        if !typed.is_empty() {
            self.session.input(&typed)?;
        }
        Ok(leave)
    }
}

/// Status of a remote program as a status of ours: what does not fit is a failure all the same.
fn exit_status(status: i32) -> u8 {
    u8::try_from(status).unwrap_or(255)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        assert_eq!([0, 7, 255, 256, -1].map(exit_status), [0, 7, 255, 255, 255]);
    }
}
