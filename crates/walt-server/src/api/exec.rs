//! Programs run on a node: shells and commands, over a WebSocket.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use bytes::{Buf, Bytes};
use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{self, Child, ChildStdin};
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

/// The process of a session (`ssh`, or `podman`), and its ends. Dropping it hangs up.
pub(super) struct Program {
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
        let command = platform.ssh.command(ip, start.tty.is_some(), remote.as_deref());
        Self::spawn(command, start.tty.as_ref())
    }

    pub(super) fn spawn(mut command: process::Command, tty: Option<&Tty>) -> Result<Self, Failure> {
        let (sender, output) = mpsc::channel(64);
        match tty {
            Some(tty) => {
                command.env("TERM", term(&tty.term));
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
    ///
    /// Input the program does not take yet is held, and no more is read from the client meanwhile; its
    /// output goes on: a program that answers before it has read all (`cat`) would stop otherwise.
    pub(super) async fn talk(&mut self, socket: &mut WebSocket) -> Option<i32> {
        let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + PING, PING);
        let mut held = Bytes::new();
        let mut drained = false;
        loop {
            tokio::select! {
                output = self.output.recv(), if !drained => match output {
                    Some((channel, bytes)) => {
                        if !give(socket, channel, &bytes).await {
                            return None;
                        }
                    }
                    // All output was read: the program has ended, or it closed its output and goes on.
                    None => drained = true,
                },
                status = self.child.wait(), if drained => {
                    return Some(status.map_or(255, status_of));
                }
                taken = self.input.take_some(&held), if !held.is_empty() => match taken {
                    Ok(count) => held.advance(count),
                    // A program that no longer reads its input is not an error.
                    Err(_) => {
                        self.input = Input::Pipe(None);
                        held.clear();
                    }
                },
                message = socket.recv(), if held.is_empty() => match message {
                    Some(Ok(Message::Binary(bytes))) => {
                        if let Some((Channel::Stdin, data)) = Channel::split(&bytes) {
                            held = bytes.slice_ref(data);
                        }
                    }
                    Some(Ok(Message::Text(text))) => self.told(text.as_str()).await,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                },
                _ = ping.tick() => {
                    if socket.send(Message::Ping(Bytes::new())).await.is_err() {
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
}

impl Input {
    /// Gives the program some of `data`, as much as it takes now; waits until it takes any. Nothing is
    /// lost when this is dropped.
    async fn take_some(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Pipe(Some(stdin)) => match stdin.write(data).await {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                taken => taken,
            },
            Self::Pipe(None) => Ok(data.len()),
            Self::Terminal(master) => master.write(data).await,
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
pub(super) fn term(term: &str) -> &str {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '+');
    let is_legal = !term.is_empty() && term.len() <= 64 && term.chars().all(legal);
    if is_legal { term } else { "xterm" }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    /// A client that sends `count` messages of `size` bytes, then the end of the input, while it reads
    /// the answers; gives the bytes of the program, and its last text message.
    fn client(address: std::net::SocketAddr, count: usize, size: usize) -> (usize, String) {
        let mut to = TcpStream::connect(address).unwrap();
        to.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        to.write_all(
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        )
        .unwrap();
        let mut from = to.try_clone().unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            from.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        // A frame of RFC 6455 section 5.2, with the masking key zero.
        let frame = |opcode: u8, payload: &[u8]| {
            let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
            [&[0x80 | opcode, 0x80 | 126, length[0], length[1], 0, 0, 0, 0], payload].concat()
        };
        let data = frame(2, &Channel::Stdin.frame(&vec![b'x'; size]));
        let end = frame(1, serde_json::to_string(&ClientMessage::Eof).unwrap().as_bytes());
        let sender = std::thread::spawn(move || {
            for _ in 0..count {
                to.write_all(&data).unwrap();
            }
            to.write_all(&end).unwrap();
        });
        let mut received = 0;
        loop {
            let mut head = [0; 2];
            from.read_exact(&mut head).unwrap();
            let mut length = [0; 8];
            let size = match head[1] & 0x7f {
                126 => 2,
                127 => 8,
                _ => {
                    length[7] = head[1] & 0x7f;
                    0
                }
            };
            from.read_exact(&mut length[8 - size..]).unwrap();
            let mut payload = vec![0; u64::from_be_bytes(length) as usize];
            from.read_exact(&mut payload).unwrap();
            match head[0] & 0x0f {
                2 => received += payload.len() - 1,
                1 => {
                    sender.join().unwrap();
                    return (received, String::from_utf8(payload).unwrap());
                }
                _ => {}
            }
        }
    }

    async fn with_program(script: &'static str, count: usize, size: usize) -> (usize, String) {
        let app = axum::Router::new().route(
            "/",
            axum::routing::get(move |upgrade: WebSocketUpgrade| async move {
                upgrade.on_upgrade(move |mut socket| async move {
                    let mut command = process::Command::new("sh");
                    command.args(["-c", script]).kill_on_drop(true);
                    let mut program = Program::spawn(command, None).unwrap();
                    let status = program.talk(&mut socket).await.unwrap();
                    tell(&mut socket, &ServerMessage::Exit { status }).await;
                })
            }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        tokio::task::spawn_blocking(move || client(address, count, size)).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_program_that_answers_while_it_reads_does_not_stop() {
        // More is written than read: output waits while input does.
        let script = "exec tee /dev/fd/2";
        let (received, last) = with_program(script, 600, 32 * 1024).await;
        assert_eq!(received, 2 * 600 * 32 * 1024);
        assert!(last.contains("\"status\":0"), "{last}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_program_without_output_still_reads_its_input() {
        let script = "exec >&- 2>&-; test $(wc -c) -eq 6553600";
        let (received, last) = with_program(script, 200, 32 * 1024).await;
        assert_eq!(received, 0);
        assert!(last.contains("\"status\":0"), "{last}");
    }

    #[test]
    fn statuses_and_terminals() {
        assert_eq!(status_of(ExitStatus::from_raw(0)), 0);
        assert_eq!(status_of(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(status_of(ExitStatus::from_raw(9)), 137);
        assert_eq!(term("screen-256color"), "screen-256color");
        assert_eq!(term("a b;c"), "xterm");
    }
}
