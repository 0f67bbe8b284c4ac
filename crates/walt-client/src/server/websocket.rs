//! WebSocket sessions over the server's socket.

use super::{Server, connection_failure, refusal};
use crate::failure::Failure;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use tungstenite::{Error, HandshakeError, Message, WebSocket};
use walt_proto::api::session::{Channel, ClientMessage, ServerMessage};

/// A session. Never blocks once open: [`Session::fd`] tells when to read or write again.
pub struct Session {
    socket: WebSocket<UnixStream>,
    unsent: bool,
}

/// What came from the server.
#[derive(Debug)]
pub enum Incoming {
    /// Bytes of the program.
    Data(Channel, Vec<u8>),
    /// Anything else.
    Message(ServerMessage),
    /// The connection is over.
    Closed,
}

impl Server {
    /// Opens a session and sends its first message.
    ///
    /// # Errors
    /// Those of the server, and those of the connection.
    pub fn session(&self, path: &str, first: &ClientMessage) -> Result<Session, Failure> {
        let stream = UnixStream::connect(&self.socket)
            .map_err(|error| connection_failure(&self.socket, &error))?;
        let (socket, _) = tungstenite::client(format!("ws://walt{path}"), stream).map_err(
            |error| match error {
                HandshakeError::Failure(error) => broken(error),
                HandshakeError::Interrupted(_) => {
                    Failure::Connection("The server did not open the session.".into())
                }
            },
        )?;
        socket
            .get_ref()
            .set_nonblocking(true)
            .map_err(|error| Failure::Connection(error.to_string()))?;
        let mut session = Session { socket, unsent: false };
        session.send(first)?;
        Ok(session)
    }
}

impl Session {
    /// What to poll.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }

    /// Whether bytes wait to be sent: poll for writing, then [`Session::flush`], and take no more input meanwhile.
    pub fn has_unsent(&self) -> bool {
        self.unsent
    }

    /// Sends a control message.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn send(&mut self, message: &ClientMessage) -> Result<(), Failure> {
        let text =
            serde_json::to_string(message).map_err(|error| Failure::plain(error.to_string()))?;
        self.write(Message::text(text))
    }

    /// Sends input bytes.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn input(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.write(Message::binary(Channel::Stdin.frame(bytes)))
    }

    fn write(&mut self, message: Message) -> Result<(), Failure> {
        match self.socket.write(message) {
            Ok(()) => self.flush(),
            Err(error) if would_block(&error) => {
                self.unsent = true;
                Ok(())
            }
            // What the server said before closing is still to be read.
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => Ok(()),
            Err(Error::Io(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(broken(error)),
        }
    }

    /// Sends what waits.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn flush(&mut self) -> Result<(), Failure> {
        match self.socket.flush() {
            Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => self.unsent = false,
            Err(error) if would_block(&error) => self.unsent = true,
            Err(Error::Io(error)) if error.kind() == ErrorKind::BrokenPipe => self.unsent = false,
            Err(error) => return Err(broken(error)),
        }
        Ok(())
    }

    /// Next message; `None` when nothing came yet.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn read(&mut self) -> Result<Option<Incoming>, Failure> {
        loop {
            let message = match self.socket.read() {
                Ok(message) => message,
                Err(error) if would_block(&error) => return Ok(None),
                Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(_)) => {
                    return Ok(Some(Incoming::Closed));
                }
                Err(Error::Io(error))
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                    ) =>
                {
                    return Ok(Some(Incoming::Closed));
                }
                Err(error) => return Err(broken(error)),
            };
            match message {
                Message::Binary(bytes) => {
                    if let Some((channel, data)) = Channel::split(&bytes) {
                        return Ok(Some(Incoming::Data(channel, data.to_vec())));
                    }
                }
                Message::Text(text) => match serde_json::from_str(&text) {
                    Ok(ServerMessage::Unknown) => {}
                    Ok(message) => return Ok(Some(Incoming::Message(message))),
                    Err(error) => {
                        return Err(Failure::Connection(format!(
                            "The server's answer is wrong: {error}."
                        )));
                    }
                },
                Message::Close(_) => return Ok(Some(Incoming::Closed)),
                // Pings are answered by the library; the answer leaves with the next flush.
                Message::Ping(_) => self.flush()?,
                Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    /// Says goodbye; the server hangs the program up if it still runs.
    pub fn close(mut self) {
        let _ = self.socket.close(None);
        let _ = self.socket.flush();
    }
}

fn would_block(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == ErrorKind::WouldBlock)
}

fn broken(error: Error) -> Failure {
    match error {
        Error::Http(answer) => {
            let body = answer.body().as_deref().unwrap_or_default();
            refusal(answer.status().as_u16(), &String::from_utf8_lossy(body)).into()
        }
        other => Failure::Connection(format!("{other}.")),
    }
}
