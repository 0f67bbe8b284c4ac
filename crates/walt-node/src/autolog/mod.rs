//! `walt-serial-autolog`: lines of a device on a serial port become log lines, as the device itself declares.

mod format;
mod rules;

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::libc;
use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, QueueSelector, isatty, tcflush, tcgetattr, tcsetattr};
use walt_proto::lines::{LineSplitter, to_text};

use crate::failure::{Failure, Outcome};
use rules::{Meaning, Rules};

/// Where the log daemon reads.
const FIFO: &str = "/var/lib/walt/logs.fifo";

/// Where the traces are.
const TRACES: &str = "/var/log/walt";

/// Longest line of the device, in bytes; a longer one is several.
const LINE_MAX: usize = 4096;

/// A trace is begun again at this size, and the one before kept: the files of a node are often in its memory.
const TRACE_MAX: u64 = 4 * 1024 * 1024;

/// How long what the port had from before may take to come.
const SETTLE: Duration = Duration::from_millis(100);

/// `walt-serial-autolog`.
pub fn autolog(arguments: Vec<OsString>) -> Outcome {
    let [device] = arguments.as_slice() else { return Err(Failure::Usage(2)) };
    let device = Path::new(device)
        .canonicalize()
        .map_err(|error| Failure::plain(format!("{}: {error}", device.to_string_lossy())))?;
    run(&device, Path::new(TRACES), Path::new(FIFO))
        .map(|()| 0)
        .map_err(|error| Failure::plain(format!("{}: {error}", device.display())))
}

fn run(device: &Path, traces: &Path, fifo: &Path) -> io::Result<()> {
    let mut port = open(device)?;
    // `/dev/ttyUSB0` -> `autolog/dev/ttyUSB0/`
    let folder = PathBuf::from(format!("{}/autolog{}", traces.display(), device.display()));
    fs::create_dir_all(&folder)?;
    let mut received = Trace::open(folder.join("in.log"))?;
    let mut sent = Trace::open(folder.join("out.log"))?;
    let mut logs = Fifo { path: fifo.to_owned(), open: None };
    let mut rules = Rules::default();
    let mut splitter = LineSplitter::new(LINE_MAX);
    let mut buffer = [0; 4096];
    loop {
        match port.read(&mut buffer) {
            // A port that is unplugged, or whose other end is closed.
            Ok(0) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(read) => {
                received.write(&buffer[..read])?;
                splitter.feed(&buffer[..read]);
            }
        }
        while let Some(line) = splitter.next_line() {
            match rules.line(to_text(&line).trim_end_matches('\r')) {
                Meaning::Nothing => {}
                Meaning::Problem(why) => eprintln!("walt-serial-autolog: {why}"),
                Meaning::Log { stream, text } => {
                    let line = format!("TSLOG {} {stream} {text}\n", now());
                    // Nobody has to read what is printed.
                    let _ = io::stdout().write_all(line.as_bytes());
                    sent.write(line.as_bytes())?;
                    if let Err(error) = logs.write(line.as_bytes()) {
                        eprintln!(
                            "walt-serial-autolog: a line is lost, does the log daemon run? {}: {error}",
                            fifo.display()
                        );
                    }
                }
            }
        }
    }
}

/// Seconds since 1970.
fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:06}", now.as_secs(), now.subsec_micros())
}

/// Opens the port: bytes as they come, nothing sent back, nothing from before. The speed is what it was set to.
fn open(device: &Path) -> io::Result<File> {
    // Without O_NONBLOCK, a port without a carrier signal would be waited for.
    let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
    let port = OpenOptions::new().read(true).custom_flags(flags).open(device)?;
    let flags = rustix::fs::fcntl_getfl(&port)?;
    rustix::fs::fcntl_setfl(&port, flags - OFlags::NONBLOCK)?;
    if isatty(&port) {
        let mut settings = tcgetattr(&port)?;
        settings.make_raw();
        tcsetattr(&port, OptionalActions::Now, &settings)?;
        std::thread::sleep(SETTLE);
        tcflush(&port, QueueSelector::IFlush)?;
    }
    Ok(port)
}

/// The log daemon's FIFO. Opened when there is a line, so that a daemon may come and go.
struct Fifo {
    path: PathBuf,
    open: Option<File>,
}

impl Fifo {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if let Some(open) = &mut self.open {
            if open.write_all(line).is_ok() {
                return Ok(());
            }
            // The daemon is gone; there may be another.
            self.open = None;
        }
        // Without O_NONBLOCK this would wait for a reader. With one, a slow reader is waited for.
        let mut file =
            OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&self.path)?;
        let flags = rustix::fs::fcntl_getfl(&file)?;
        rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
        file.write_all(line)?;
        self.open = Some(file);
        Ok(())
    }
}

/// A file of what passed, of bounded size.
struct Trace {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Trace {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        let size = file.metadata()?.len();
        Ok(Self { path, file, size })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.size >= TRACE_MAX {
            fs::rename(&self.path, self.path.with_extension("log.1"))?;
            *self = Self::open(self.path.clone())?;
        }
        self.size += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::time::Instant;

    fn wait_for(path: &Path) {
        let end = Instant::now() + Duration::from_secs(30);
        while !path.exists() {
            assert!(Instant::now() < end, "{} does not come", path.display());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_device_on_a_terminal() {
        let scratch = tempfile::tempdir().unwrap();
        let fifo = scratch.path().join("logs.fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let pty = nix::pty::openpty(None, None).unwrap();
        let device = nix::unistd::ttyname(&pty.slave).unwrap();
        let mut other_end = File::from(pty.master);
        other_end.write_all(b"LOGSTART\nfrom before\n").unwrap();

        let (traces, path, port) = (scratch.path().to_owned(), fifo.clone(), device.clone());
        let program = std::thread::spawn(move || run(&port, &traces, &path));
        let folder =
            PathBuf::from(format!("{}/autolog{}", scratch.path().display(), device.display()));
        wait_for(&folder.join("out.log"));
        drop(pty.slave);

        let daemon = OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
        let mut lines = BufReader::new(daemon).lines();
        let data = ";T:0\nLOGSTART\r\nLOGDEF vizwalt ;T: : {nodeid}:TxStart:{}\r\nLOGVAR nodeid af4e\r\n;T:aabb\r\n;T:cc";
        other_end.write_all(data.as_bytes()).unwrap();
        other_end.write_all(b"dd\n").unwrap();
        let mut seen = Vec::new();
        for _ in 0..2 {
            let line = lines.next().unwrap().unwrap();
            let words: Vec<&str> = line.splitn(3, ' ').collect();
            assert_eq!(words[0], "TSLOG");
            assert!(words[1].parse::<f64>().unwrap() > 1.7e9);
            seen.push(words[2].to_owned());
        }
        assert_eq!(seen, ["vizwalt af4e:TxStart:aabb", "vizwalt af4e:TxStart:ccdd"]);
        drop(other_end);
        program.join().unwrap().unwrap();
        assert_eq!(fs::read_to_string(folder.join("in.log")).unwrap(), format!("{data}dd\n"));
        assert_eq!(fs::read_to_string(folder.join("out.log")).unwrap().lines().count(), 2);
    }

    #[test]
    fn the_daemon_may_come_and_go() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("logs.fifo");
        let mut fifo = Fifo { path: path.clone(), open: None };
        assert!(fifo.write(b"lost\n").is_err());
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(fifo.write(b"lost\n").is_err(), "nobody reads");
        for text in [&b"one\n"[..], b"two\n"] {
            let mut daemon =
                OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
            fifo.write(text).unwrap();
            let mut read = [0; 4];
            daemon.read_exact(&mut read).unwrap();
            assert_eq!(read, text);
        }
    }

    #[test]
    fn traces_are_bounded() {
        let scratch = tempfile::tempdir().unwrap();
        let mut trace = Trace::open(scratch.path().join("in.log")).unwrap();
        for _ in 0..9 {
            trace.write(&vec![b'x'; 1024 * 1024]).unwrap();
        }
        let size = |name: &str| fs::metadata(scratch.path().join(name)).unwrap().len();
        assert_eq!((size("in.log"), size("in.log.1")), (1024 * 1024, TRACE_MAX));
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
    }
}
