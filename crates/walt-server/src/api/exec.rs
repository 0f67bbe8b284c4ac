//! Programs run on a node: shells and commands, over a WebSocket.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};
use tokio::sync::mpsc;
use walt_proto::api::error::GateMode;
use walt_proto::api::session::{
    Channel, ClientMessage, Command, MAX_DATA, ServerMessage, Start, Tty,
};
use walt_proto::api::{ApiError, ErrorKind};

use super::Shared;
use super::caller::Caller;
use super::extract::Name;
use super::failure::Failure;
use super::gate;
use crate::node_access::pty::{self, PtyMaster, Size};
use crate::node_access::{SshError, quote};
use crate::platform::Platform;

/// How often a silent client is looked at.
pub(super) const PING: Duration = Duration::from_secs(30);
/// Largest message of a client: its data and the channel byte.
pub(super) const MAX_MESSAGE: usize = MAX_DATA + 1;
/// Time a client has for its first message.
pub(super) const FIRST: Duration = Duration::from_secs(10);

pub(super) async fn exec(
    State(platform): State<Shared>,
    caller: Caller,
    Name(name): Name,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade.max_message_size(MAX_MESSAGE).on_upgrade(move |mut socket| async move {
        if let Err(Failure(error)) = session(&platform, &caller, &name, &mut socket).await {
            tell(&mut socket, &ServerMessage::Error(*error)).await;
        }
        let _ = socket.send(Message::Close(None)).await;
    })
}

/// Sends a text message. False when the client is gone.
pub(super) async fn tell(socket: &mut WebSocket, message: &ServerMessage) -> bool {
    match serde_json::to_string(message) {
        Ok(text) => socket.send(Message::text(text)).await.is_ok(),
        Err(_) => false,
    }
}

/// Sends bytes. False when the client is gone.
pub(super) async fn give(socket: &mut WebSocket, channel: Channel, bytes: &[u8]) -> bool {
    for part in bytes.chunks(MAX_DATA) {
        if socket.send(Message::binary(channel.frame(part))).await.is_err() {
            return false;
        }
    }
    true
}

/// The first message of a client.
pub(super) async fn first(socket: &mut WebSocket) -> Result<ClientMessage, Failure> {
    let wrong = || Failure::invalid("The session did not start with a message that is understood.");
    loop {
        let received = tokio::time::timeout(FIRST, socket.recv()).await;
        match received.ok().flatten() {
            Some(Ok(Message::Text(text))) => {
                return serde_json::from_str(text.as_str()).map_err(|_| wrong());
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            _ => return Err(wrong()),
        }
    }
}

async fn session(
    platform: &Platform,
    caller: &Caller,
    name: &str,
    socket: &mut WebSocket,
) -> Result<(), Failure> {
    let ClientMessage::Start(start) = first(socket).await? else {
        return Err(Failure::invalid("An exec session starts with 'start'."));
    };
    let mode = GateMode::OwnedOrFree;
    let device = gate::one(platform, &caller.user, name, mode, start.confirmed)?;
    let Some(ip) = device.ip else {
        let message = format!("The address of {name} is not known yet.");
        return Err(ApiError::new(ErrorKind::Unreachable, message).into());
    };
    let mut program = Program::start(platform, ip, &start)?;
    if !tell(socket, &ServerMessage::Ready).await {
        return Ok(());
    }
    let stopped = platform.tasks.token();
    let status = tokio::select! {
        status = program.talk(socket) => status,
        () = stopped.cancelled() => {
            return Err(ApiError::new(ErrorKind::Unavailable, "The server is stopping.").into());
        }
    };
    if let Some(status) = status {
        tell(socket, &ServerMessage::Exit { status }).await;
    }
    Ok(())
}

/// The ssh process of a session, and its ends. Dropping it hangs up.
struct Program {
    child: Child,
    input: Input,
    output: mpsc::Receiver<(Channel, Vec<u8>)>,
}

enum Input {
    Pipe(Option<ChildStdin>),
    Terminal(std::sync::Arc<PtyMaster>),
}

impl Program {
    fn start(platform: &Platform, ip: Ipv4Addr, start: &Start) -> Result<Self, Failure> {
        let remote = match &start.command {
            Command::Shell => None,
            Command::Line(line) => Some(line.clone()),
            Command::Argv(words) => Some(quote::command_line(words.iter().map(String::as_str))),
        };
        let mut command = platform.ssh.command(ip, start.tty.is_some(), remote.as_deref());
        let (sender, output) = mpsc::channel(64);
        match &start.tty {
            Some(tty) => {
                command.env("TERM", term(tty));
                let (child, master) = pty::spawn(command, Size { cols: tty.cols, rows: tty.rows })
                    .map_err(SshError::Start)?;
                let master = std::sync::Arc::new(master);
                let reader = master.clone();
                tokio::spawn(async move {
                    let mut chunk = vec![0; MAX_DATA];
                    while let Ok(n) = reader.read(&mut chunk).await {
                        if n == 0
                            || sender.send((Channel::Stdout, chunk[..n].into())).await.is_err()
                        {
                            return;
                        }
                    }
                });
                Ok(Self { child, input: Input::Terminal(master), output })
            }
            None => {
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
                let mut child = command.spawn().map_err(SshError::Start)?;
                if let Some(stdout) = child.stdout.take() {
                    tokio::spawn(forward(stdout, Channel::Stdout, sender.clone()));
                }
                if let Some(stderr) = child.stderr.take() {
                    tokio::spawn(forward(stderr, Channel::Stderr, sender));
                }
                let input = Input::Pipe(child.stdin.take());
                Ok(Self { child, input, output })
            }
        }
    }

    /// Carries bytes both ways until the program ends (its status) or the client is gone (nothing).
    async fn talk(&mut self, socket: &mut WebSocket) -> Option<i32> {
        let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + PING, PING);
        loop {
            tokio::select! {
                output = self.output.recv() => match output {
                    Some((channel, bytes)) => {
                        if !give(socket, channel, &bytes).await {
                            return None;
                        }
                    }
                    // All output was read: the program has ended or is about to.
                    None => return Some(self.child.wait().await.map_or(255, status_of)),
                },
                message = socket.recv() => match message {
                    Some(Ok(Message::Binary(bytes))) => {
                        if let Some((Channel::Stdin, data)) = Channel::split(&bytes) {
                            self.write(data).await;
                        }
                    }
                    Some(Ok(Message::Text(text))) => self.told(text.as_str()).await,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                },
                _ = ping.tick() => {
                    if socket.send(Message::Ping(bytes::Bytes::new())).await.is_err() {
                        return None;
                    }
                }
            }
        }
    }

    async fn told(&mut self, text: &str) {
        match serde_json::from_str(text) {
            Ok(ClientMessage::Resize { cols, rows }) => {
                if let Input::Terminal(master) = &self.input {
                    let _ = master.resize(Size { cols, rows });
                }
            }
            Ok(ClientMessage::Eof) => match &mut self.input {
                Input::Pipe(stdin) => *stdin = None,
                // What a terminal takes for the end of input.
                Input::Terminal(master) => {
                    let _ = master.write_all(&[4]).await;
                }
            },
            Ok(_) | Err(_) => {}
        }
    }

    /// A program that no longer reads its input is not an error.
    async fn write(&mut self, data: &[u8]) {
        match &mut self.input {
            Input::Pipe(Some(stdin)) => {
                if stdin.write_all(data).await.is_err() {
                    self.input = Input::Pipe(None);
                }
            }
            Input::Pipe(None) => {}
            Input::Terminal(master) => {
                let _ = master.write_all(data).await;
            }
        }
    }
}

async fn forward(
    mut from: impl AsyncRead + Unpin,
    channel: Channel,
    to: mpsc::Sender<(Channel, Vec<u8>)>,
) {
    let mut chunk = vec![0; MAX_DATA];
    while let Ok(n) = from.read(&mut chunk).await {
        if n == 0 || to.send((channel, chunk[..n].into())).await.is_err() {
            return;
        }
    }
}

/// 128 + signal number for a program that was killed.
fn status_of(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255)
}

/// A terminal type is one plain word; anything else is replaced by the most common one.
fn term(tty: &Tty) -> &str {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '+');
    let is_legal = !tty.term.is_empty() && tty.term.len() <= 64 && tty.term.chars().all(legal);
    if is_legal { &tty.term } else { "xterm" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_terminals() {
        assert_eq!(status_of(ExitStatus::from_raw(0)), 0);
        assert_eq!(status_of(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(status_of(ExitStatus::from_raw(9)), 137);
        let tty = |term: &str| Tty { term: term.into(), cols: 80, rows: 24 };
        assert_eq!(term(&tty("screen-256color")), "screen-256color");
        assert_eq!(term(&tty("a b;c")), "xterm");
    }
}
