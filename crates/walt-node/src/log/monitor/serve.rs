//! The daemon's side of a watched command.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, openat};
use walt_proto::lines::{LineSplitter, to_text};
use walt_proto::log_stream::LINE_MAX;
use walt_proto::spooled::Date;

use super::asker::{self, Asker};
use super::{Request, Role, command, path};
use crate::log::spool::SharedSpool;
use crate::log::{clock, stream_name};

/// Commands watched at a time.
const COMMANDS: usize = 64;
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// How long the asker may take to open its FIFOs.
const OPENING: Duration = Duration::from_secs(10);

/// Silence after the end of the command that ends the watch, if something still holds its terminal.
const SILENCE: Duration = Duration::from_millis(300);

/// Runs and watches a command, in a thread of its own.
///
/// # Errors
/// The asker may not ask this, or there are too many.
pub fn serve(request: Request, spool: &Arc<SharedSpool>) -> io::Result<()> {
    let asker = asker::look(request)?;
    if RUNNING.fetch_add(1, Ordering::Relaxed) >= COMMANDS {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
        return Err(io::Error::other("MONITOR refused: too many commands are watched"));
    }
    let spool = Arc::clone(spool);
    std::thread::spawn(move || {
        if let Err(error) = watch(request, &asker, &spool) {
            eprintln!("monitor of process {}: {error}", request.pid);
        }
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    });
    Ok(())
}

/// Opens a FIFO of the asker: a real one, and its own.
fn open_fifo(path: &Path, uid: u32, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fifo = openat(CWD, path, flags, Mode::empty())?;
    let found = rustix::fs::fstat(&fifo)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Fifo || found.st_uid != uid {
        return Err(io::Error::other(format!("{} is not a FIFO of that user", path.display())));
    }
    Ok(fifo.into())
}

/// Waits for the other end of a FIFO to write to.
fn open_output(path: &Path, uid: u32) -> io::Result<File> {
    let end = Instant::now() + OPENING;
    loop {
        match open_fifo(path, uid, OFlags::WRONLY) {
            Err(error)
                if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error())
                    && Instant::now() < end =>
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            opened => return opened,
        }
    }
}

fn watch(request: Request, asker: &Asker, spool: &SharedSpool) -> io::Result<()> {
    let stdin = open_fifo(&path(Role::Stdin, request.pid), asker.uid, OFlags::RDONLY)?;
    let control = open_fifo(&path(Role::Control, request.pid), asker.uid, OFlags::RDONLY).ok();
    let mut stdout = open_output(&path(Role::Stdout, request.pid), asker.uid)?;
    // From here on the asker reads: writing may wait for it.
    rustix::io::ioctl_fionbio(&stdout, false)?;
    let mut log = Log::new(asker, request.pid, spool);
    log.say("START");
    let status = match command::start(asker, request.rows, request.columns) {
        Ok((child, terminal)) => {
            let writer = terminal.try_clone()?;
            std::thread::spawn(move || feed(stdin, control, &writer));
            run(child, terminal, &mut stdout, &mut log)?
        }
        Err(error) => {
            let said = format!("{}: {error}\n", asker.command[0].to_string_lossy());
            log.output(said.as_bytes());
            let _ = stdout.write_all(said.as_bytes());
            if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
        }
    };
    log.end();
    // Before the end of its output, which is the end for the asker.
    if let Ok(mut told) = open_fifo(&path(Role::Status, request.pid), asker.uid, OFlags::WRONLY) {
        let _ = writeln!(told, "{status}");
    }
    Ok(())
}

/// Output to the asker and to the log, until the command has ended. Gives its exit status.
fn run(
    mut child: std::process::Child,
    terminal: OwnedFd,
    stdout: &mut File,
    log: &mut Log,
) -> io::Result<i32> {
    let mut output = File::from(terminal);
    let mut buffer = [0; 8192];
    let mut asker_listens = true;
    let mut ended: Option<ExitStatus> = None;
    let tick = Timespec::try_from(SILENCE).map_err(io::Error::other)?;
    loop {
        let ready = poll(&mut [PollFd::new(&output, PollFlags::IN)], Some(&tick));
        match ready {
            Ok(0) if ended.is_some() => break,
            Ok(0) => {}
            Ok(_) => match output.read(&mut buffer) {
                Ok(n) if n > 0 => {
                    log.output(&buffer[..n]);
                    asker_listens = asker_listens && stdout.write_all(&buffer[..n]).is_ok();
                    if !asker_listens {
                        // The asker is gone: closing the terminal tells the command.
                        drop(output);
                        return child.wait().map(code);
                    }
                }
                // The last holder of the terminal has closed it.
                _ => return ended.map_or_else(|| child.wait(), Ok).map(code),
            },
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if ended.is_none() {
            ended = child.try_wait()?;
        }
    }
    Ok(ended.map_or(0, code))
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// What the asker types, and its window.
fn feed(stdin: File, control: Option<File>, terminal: &OwnedFd) {
    let mut sizes = LineSplitter::new(100);
    let mut buffer = [0; 4096];
    let mut stdin = Some(stdin);
    let mut control = control;
    while stdin.is_some() || control.is_some() {
        let mut files: Vec<&File> = stdin.iter().chain(&control).collect();
        let mut polled: Vec<PollFd<'_>> =
            files.iter().map(|file| PollFd::new(*file, PollFlags::IN)).collect();
        // The command has ended when its terminal hangs up.
        polled.push(PollFd::from_borrowed_fd(terminal.as_fd(), PollFlags::empty()));
        if poll(&mut polled, None).is_err_and(|error| error != rustix::io::Errno::INTR) {
            return;
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready.last() == Some(&true) {
            return;
        }
        files.clear();
        let (typed, sized) = match (&stdin, &control) {
            (Some(_), Some(_)) => (ready[0], ready[1]),
            (Some(_), None) => (ready[0], false),
            _ => (false, ready[0]),
        };
        if let (true, Some(file)) = (typed, &mut stdin) {
            match file.read(&mut buffer) {
                Ok(n) if n > 0 => {
                    if rustix::io::write(terminal, &buffer[..n]).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The end of the input, as a terminal says it.
                _ => {
                    stdin = None;
                    let _ = rustix::io::write(terminal, &[4]);
                }
            }
        }
        if let (true, Some(file)) = (sized, &mut control) {
            match file.read(&mut buffer) {
                Ok(n) if n > 0 => sizes.feed(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => control = None,
            }
            while let Some(line) = sizes.next_line() {
                if let Some((rows, columns)) = size(&to_text(&line)) {
                    let _ = command::resize(terminal, rows, columns);
                }
            }
        }
    }
}

/// Reads `SIZE <rows> <columns>`.
fn size(line: &str) -> Option<(u16, u16)> {
    let (rows, columns) = line.strip_prefix("SIZE ")?.split_once(' ')?;
    Some((rows.parse().ok()?, columns.parse().ok()?))
}

/// The log of a command: its lines are dated when their first byte comes.
struct Log<'a> {
    spool: &'a SharedSpool,
    stream: String,
    lines: LineSplitter,
    begun: Option<i64>,
}

impl<'a> Log<'a> {
    fn new(asker: &Asker, pid: u32, spool: &'a SharedSpool) -> Self {
        let name = asker.command.first().map(Path::new).and_then(Path::file_name);
        let name = name.unwrap_or_default().to_string_lossy();
        let name: String = name.chars().filter(|c| !c.is_control()).take(40).collect();
        let stream = stream_name(&format!("{name}.{pid}.monitor"));
        let stream = stream.unwrap_or_else(|| format!("command.{pid}.monitor"));
        Self { spool, stream, lines: LineSplitter::new(LINE_MAX - 64), begun: None }
    }

    fn say(&self, text: &str) {
        self.put(clock::now(), text);
    }

    fn put(&self, date: i64, text: &str) {
        if let Err(error) = self.spool.put(&self.stream, Date::Given(date), text) {
            eprintln!("a line of {} is lost: {error}", self.stream);
        }
    }

    fn output(&mut self, bytes: &[u8]) {
        let now = clock::now();
        self.lines.feed(bytes);
        while let Some(line) = self.lines.next_line() {
            let date = self.begun.take().unwrap_or(now);
            self.put(date, &to_text(line.strip_suffix(b"\r").unwrap_or(&line)));
        }
        if self.lines.has_partial() {
            self.begun.get_or_insert(now);
        }
    }

    fn end(&mut self) {
        if self.lines.has_partial() {
            let date = self.begun.take().unwrap_or_else(clock::now);
            let rest = self.lines.take_rest();
            self.put(date, &to_text(rest.strip_suffix(b"\r").unwrap_or(&rest)));
        }
        self.say("END");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("SIZE 24 80"), Some((24, 80)));
        for bad in ["", "SIZE", "SIZE 24", "SIZE 24 80 1", "SIZE -1 80", "size 1 2"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }
}
