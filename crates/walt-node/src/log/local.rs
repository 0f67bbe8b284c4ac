//! The daemon's Unix socket: what is said there is what is said to a server (7.3 of the node protocol: stream, dates,
//! lines, `CLOSE`), and the daemon answers how many lines it keeps, one number per line, as it takes them.

use std::collections::HashMap;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use walt_proto::log_stream::{LogEvent, LogStream, TimestampMode};
use walt_proto::request::{HeaderReader, StreamRequest};
use walt_proto::spooled::Date;

use super::spool::SharedSpool;
use super::{clock, stream_name};

/// Where programs find it.
pub const SOCKET: &str = "/run/walt-node/logs.sock";

/// Programs served at a time.
const PROGRAMS: usize = 256;

/// How long a program may take to say which stream it wants.
const HEADER: Duration = Duration::from_secs(5);

/// The programs being served.
#[derive(Default)]
pub struct Programs {
    open: Mutex<(u64, HashMap<u64, UnixStream>)>,
    stopping: AtomicBool,
}

impl Programs {
    fn add(&self, stream: &UnixStream) -> Option<u64> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.1.len() >= PROGRAMS {
            return None;
        }
        open.0 += 1;
        let number = open.0;
        open.1.insert(number, stream.try_clone().ok()?);
        Some(number)
    }

    fn remove(&self, number: u64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&number);
    }

    /// No more is taken from them: what they sent is kept, and they are told; the rest is theirs to send again.
    /// Gives whether all are done.
    pub fn stop(&self) -> bool {
        self.stopping.store(true, Ordering::Release);
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in open.1.values() {
            let _ = stream.shutdown(Shutdown::Read);
        }
        open.1.is_empty()
    }
}

/// Serves programs for ever.
pub fn serve(listener: &UnixListener, spool: &Arc<SharedSpool>, programs: &Arc<Programs>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        let Some(number) = programs.add(&stream) else { continue };
        let (spool, served) = (Arc::clone(spool), Arc::clone(programs));
        let thread = std::thread::Builder::new().stack_size(128 * 1024).spawn(move || {
            let refused = program(stream, &spool, &served.stopping).err();
            if let Some(error) = refused.filter(|error| error.kind() == io::ErrorKind::Other) {
                eprintln!("a program on the socket: {error}");
            }
            served.remove(number);
        });
        if thread.is_err() {
            programs.remove(number);
        }
    }
}

fn program(mut stream: UnixStream, spool: &SharedSpool, stopping: &AtomicBool) -> io::Result<()> {
    stream.set_read_timeout(Some(HEADER))?;
    let mut buffer = [0; 8192];
    let mut header = HeaderReader::new();
    let request = loop {
        if let Some(line) = header.line().map_err(io::Error::other)? {
            break line;
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => header.feed(&buffer[..n]),
        }
    };
    if StreamRequest::parse(&request) != Some(StreamRequest::NewIncomingLogs) {
        return Err(io::Error::other("not a log stream"));
    }
    stream.set_read_timeout(None)?;
    let mut parser = LogStream::new();
    let mut opened = None;
    let mut taken = 0u64;
    let mut chunk = header.into_rest();
    loop {
        let mut closed = false;
        for event in parser.feed(&chunk, SystemTime::now()).map_err(io::Error::other)? {
            match event {
                LogEvent::Opened { stream, mode } => {
                    let name = stream_name(&stream)
                        .ok_or_else(|| io::Error::other("the name of the stream is too long"))?;
                    opened = Some((name, mode));
                }
                LogEvent::Line { timestamp, text } => {
                    keep(spool, opened.as_ref(), timestamp, &text)?;
                    taken += 1;
                }
                LogEvent::Close => closed = true,
            }
        }
        acknowledge(&stream, taken);
        if closed {
            return Ok(());
        }
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 => chunk = buffer[..n].to_vec(),
            _ => break,
        }
    }
    // A program that was killed. When it is the daemon that stops, the program sends the rest to the next one.
    let rest = parser.disconnected(SystemTime::now()).filter(|_| !stopping.load(Ordering::Acquire));
    if let Some(LogEvent::Line { timestamp, text }) = rest {
        keep(spool, opened.as_ref(), timestamp, &text)?;
    }
    Ok(())
}

fn keep(
    spool: &SharedSpool,
    opened: Option<&(String, TimestampMode)>,
    timestamp: SystemTime,
    text: &str,
) -> io::Result<()> {
    let Some((stream, mode)) = opened else { return Ok(()) };
    let micros = clock::of(timestamp);
    let date = match mode {
        TimestampMode::Server => Date::Arrival(micros),
        TimestampMode::Inside => Date::Given(micros),
    };
    spool.put(stream, date, text)
}

/// A program that does not read its answers is not waited for.
fn acknowledge(stream: &UnixStream, taken: u64) {
    use rustix::net::{SendFlags, send};
    let _ =
        send(stream, format!("{taken}\n").as_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}

/// Listens, in place of a daemon that is gone.
///
/// # Errors
/// The place is not free.
pub fn listen(path: &std::path::Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// What a program sends first.
pub fn header(stream: &str, mode: TimestampMode) -> String {
    let mode = match mode {
        TimestampMode::Server => "NO_TIMESTAMPS",
        TimestampMode::Inside => "TIMESTAMPS_INSIDE",
    };
    format!("REQ_NEW_INCOMING_LOGS\n{stream}\n{mode}\n")
}
