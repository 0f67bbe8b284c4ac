//! One log stream of a program: to the daemon of the node when it runs, else straight to the server.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use walt_proto::log_stream::TimestampMode;

use super::clock;
use super::local::header;
use super::server::Server;

/// Bytes given to the daemon and not yet kept by it; then the program waits.
const WINDOW: usize = 256 * 1024;

/// How long a daemon that is gone is waited for: it restarts.
const COMING_BACK: Duration = Duration::from_secs(5);

/// Longest wait for a connection to the server, and for the end of one.
const SERVER: Duration = Duration::from_secs(10);

/// A server that is away is looked for this often: the program that prints does not wait.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Times a daemon is asked to take the last lines.
const LAST_ATTEMPTS: u32 = 3;

/// Sends the lines of one stream.
pub struct Sender {
    stream: String,
    mode: TimestampMode,
    socket: PathBuf,
    server: Server,
    way: Way,
    /// Lines to write, complete.
    out: Vec<u8>,
    out_lines: u64,
    lost: u64,
    looked: Option<Instant>,
}

enum Way {
    Daemon(Daemon),
    Direct(TcpStream),
    Nowhere,
}

struct Daemon {
    stream: UnixStream,
    /// What it said and is not yet read to the end of a line.
    said: Vec<u8>,
    /// Lines it keeps, of this connection.
    kept: u64,
    /// Lines it does not keep yet.
    pending: VecDeque<Vec<u8>>,
    pending_bytes: usize,
}

impl Daemon {
    fn connect(path: &Path, header: &str) -> io::Result<Self> {
        let mut stream = UnixStream::connect(path)?;
        stream.write_all(header.as_bytes())?;
        Ok(Self { stream, said: Vec::new(), kept: 0, pending: VecDeque::new(), pending_bytes: 0 })
    }

    fn take(&mut self, line: Vec<u8>) {
        self.pending_bytes += line.len();
        self.pending.push_back(line);
    }

    /// Reads what it says, waiting for a word if asked to. `false` when it has closed.
    fn listen(&mut self, wait: bool) -> io::Result<bool> {
        let mut buffer = [0; 256];
        self.stream.set_nonblocking(!wait)?;
        let read = self.stream.read(&mut buffer);
        self.stream.set_nonblocking(false)?;
        match read {
            Ok(0) => return Ok(false),
            Ok(n) => self.said.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        }
        while let Some(end) = self.said.iter().position(|byte| *byte == b'\n') {
            let word: Vec<u8> = self.said.drain(..=end).collect();
            let kept = std::str::from_utf8(word.trim_ascii()).ok().and_then(|n| n.parse().ok());
            let kept: u64 = kept.ok_or_else(|| io::Error::other("not a number of lines"))?;
            while self.kept < kept {
                let Some(line) = self.pending.pop_front() else { break };
                self.pending_bytes -= line.len();
                self.kept += 1;
            }
        }
        Ok(true)
    }
}

impl Sender {
    /// For this stream. Nothing fails here: a server that is away is told of by [`Sender::finish`].
    pub fn new(stream: &str, mode: TimestampMode, socket: &Path, server: Server) -> Self {
        let mut sender = Self {
            stream: stream.to_owned(),
            mode,
            socket: socket.to_owned(),
            server,
            way: Way::Nowhere,
            out: Vec::new(),
            out_lines: 0,
            lost: 0,
            looked: None,
        };
        match Daemon::connect(&sender.socket, &sender.header()) {
            Ok(daemon) => sender.way = Way::Daemon(daemon),
            Err(_) => sender.look_for_server(),
        }
        sender
    }

    fn header(&self) -> String {
        header(&self.stream, self.mode)
    }

    /// Adds a line, with its date before it if this stream is dated inside; sent by [`Sender::flush`].
    pub fn line(&mut self, date: Option<&str>, text: &str) {
        let mut line = String::with_capacity(text.len() + 20);
        if self.mode == TimestampMode::Inside {
            line = date.map_or_else(|| clock::seconds(clock::now()), str::to_owned);
            line.push(' ');
        }
        line.push_str(text);
        if line == "CLOSE" {
            // Alone on its line this word is the end of the stream.
            line.push(' ');
        }
        line.push('\n');
        if let Way::Daemon(daemon) = &mut self.way {
            daemon.take(line.clone().into_bytes());
        }
        self.out.extend_from_slice(line.as_bytes());
        self.out_lines += 1;
    }

    /// Sends the lines added.
    pub fn flush(&mut self) {
        if self.out.is_empty() {
            return;
        }
        let sent = match &mut self.way {
            Way::Daemon(daemon) => daemon.stream.write_all(&self.out).and_then(|()| {
                while daemon.listen(daemon.pending_bytes > WINDOW)? {
                    if daemon.pending_bytes <= WINDOW {
                        return Ok(());
                    }
                }
                Err(io::ErrorKind::BrokenPipe.into())
            }),
            Way::Direct(stream) => stream.write_all(&self.out),
            Way::Nowhere => Err(io::ErrorKind::NotConnected.into()),
        };
        if sent.is_err() {
            match std::mem::replace(&mut self.way, Way::Nowhere) {
                Way::Daemon(mut daemon) => {
                    // Its last answers are still to read.
                    while let Ok(true) = daemon.listen(true) {}
                    self.again(daemon.pending);
                }
                Way::Direct(_) | Way::Nowhere => self.out_again(),
            }
        }
        self.out.clear();
        self.out_lines = 0;
    }

    /// The lines of the output, after a look for the server; lost if it is away.
    fn out_again(&mut self) {
        self.look_for_server();
        if let Way::Direct(stream) = &mut self.way {
            if stream.write_all(&self.out).is_ok() {
                return;
            }
            self.way = Way::Nowhere;
        }
        self.lost += self.out_lines;
    }

    /// The daemon is gone: what it did not keep goes to the next one, or to the server.
    fn again(&mut self, pending: VecDeque<Vec<u8>>) {
        let end = Instant::now() + COMING_BACK;
        while Instant::now() < end {
            if let Ok(mut daemon) = Daemon::connect(&self.socket, &self.header()) {
                let text: Vec<u8> = pending.iter().flatten().copied().collect();
                if daemon.stream.write_all(&text).is_ok() {
                    pending.into_iter().for_each(|line| daemon.take(line));
                    self.way = Way::Daemon(daemon);
                    return;
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.out_lines = pending.len() as u64;
        self.out = pending.into_iter().flatten().collect();
        self.looked = None;
        self.out_again();
    }

    /// Connects to the server, at most once per [`LOOK_AGAIN`], and tells it of the lines lost before.
    fn look_for_server(&mut self) {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_AGAIN) {
            return;
        }
        self.looked = Some(Instant::now());
        let opened = self.server.address().and_then(|address| {
            let wait = if self.lost > 0 { LOOK_AGAIN * 2 } else { SERVER };
            let mut stream = TcpStream::connect_timeout(&address, wait)?;
            let mut text = self.header();
            if self.lost > 0 {
                if self.mode == TimestampMode::Inside {
                    text += &(clock::seconds(clock::now()) + " ");
                }
                text += &format!("<{} lines were lost while the server was away>\n", self.lost);
            }
            stream.write_all(text.as_bytes())?;
            Ok(stream)
        });
        if let Ok(stream) = opened {
            self.way = Way::Direct(stream);
            self.lost = 0;
        }
    }

    /// Sends the end of the stream and waits until all is taken. `false` if lines were lost.
    pub fn finish(mut self) -> bool {
        self.flush();
        for _ in 0..LAST_ATTEMPTS {
            let Way::Daemon(daemon) = &mut self.way else { break };
            if daemon.stream.write_all(b"CLOSE\n").is_ok() {
                while let Ok(true) = daemon.listen(true) {}
            }
            if daemon.pending.is_empty() {
                return true;
            }
            let pending = std::mem::take(&mut daemon.pending);
            self.way = Way::Nowhere;
            self.again(pending);
        }
        let Way::Direct(mut stream) = self.way else { return false };
        let ended = stream.set_read_timeout(Some(SERVER)).and_then(|()| {
            stream.write_all(b"CLOSE\n")?;
            // The server closes once it has read all.
            stream.read(&mut [0; 16])
        });
        ended.is_ok() && self.lost == 0
    }
}
