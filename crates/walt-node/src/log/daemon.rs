//! `walt-logs-daemon`: takes the log lines of the node's programs, keeps them, and sends them.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use walt_proto::lines::LineSplitter;
use walt_proto::spooled::Date;

use super::fifo::{self, FifoLine};
use super::local::{self, Programs};
use super::server::Server;
use super::spool::SharedSpool;
use super::{clock, link, monitor};
use crate::failure::{Failure, Outcome};

/// Where the injected tools write.
pub const FIFO: &str = "/var/lib/walt/logs.fifo";

/// Where lines are kept.
const SPOOL: &str = "/run/walt-node/spool";

/// Most bytes kept, in MiB.
const SPOOL_MIB: u64 = 16;

/// How long a daemon that stops goes on taking and sending what is there.
const LAST_WORDS: Duration = Duration::from_secs(2);

struct Options {
    fifo: PathBuf,
    socket: PathBuf,
    spool: PathBuf,
    spool_mib: u64,
    server: Server,
}

fn options(arguments: Vec<OsString>) -> Result<Options, Failure> {
    let mut options = Options {
        fifo: FIFO.into(),
        socket: local::SOCKET.into(),
        spool: SPOOL.into(),
        spool_mib: SPOOL_MIB,
        server: Server::default(),
    };
    let mut words = arguments.into_iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or(Failure::Usage(2))?;
        let text = || value.to_str().ok_or(Failure::Usage(2));
        match word.to_str() {
            Some("--fifo") => options.fifo = value.into(),
            Some("--socket") => options.socket = value.into(),
            Some("--spool") => options.spool = value.into(),
            Some("--spool-size") => {
                let mib = text()?.parse().ok().filter(|mib| (1..=65_536).contains(mib));
                options.spool_mib = mib.ok_or(Failure::Usage(2))?;
            }
            Some("--server") => {
                options.server = Server::parse(text()?).ok_or(Failure::Usage(2))?;
            }
            _ => return Err(Failure::Usage(2)),
        }
    }
    Ok(options)
}

/// The command.
pub fn run(arguments: Vec<OsString>) -> Outcome {
    let options = options(arguments)?;
    // Threads inherit the mask: these signals come to the wait below.
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    signals.thread_block().map_err(|error| Failure::plain(format!("signals: {error}")))?;

    let spool = SharedSpool::open(&options.spool, options.spool_mib << 20)
        .map_err(|error| Failure::plain(format!("spool {}: {error}", options.spool.display())))?;
    let spool = Arc::new(spool);
    let programs = Arc::new(Programs::default());
    let listener = local::listen(&options.socket)
        .map_err(|error| Failure::plain(format!("socket {}: {error}", options.socket.display())))?;
    let fifo = make_fifo(&options.fifo)
        .map_err(|error| Failure::plain(format!("FIFO {}: {error}", options.fifo.display())))?;
    let last_words = fifo.try_clone().map_err(|error| Failure::plain(error.to_string()))?;

    let sender = {
        let (spool, server) = (Arc::clone(&spool), options.server);
        std::thread::spawn(move || link::run(&spool, &server))
    };
    {
        let (spool, programs) = (Arc::clone(&spool), Arc::clone(&programs));
        std::thread::spawn(move || local::serve(&listener, &spool, &programs));
    }
    {
        let spool = Arc::clone(&spool);
        std::thread::spawn(move || read_fifo(fifo, &spool));
    }

    let _ = signals.wait();
    // From here on nobody begins to write: programs find no FIFO and no socket.
    let _ = fs::remove_file(&options.fifo);
    let _ = fs::remove_file(&options.socket);
    let end = Instant::now() + LAST_WORDS;
    while !(programs.stop() && is_empty(&last_words)) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    spool.stop();
    while !sender.is_finished() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(0)
}

/// Makes the FIFO and opens both of its ends: writers come and go, and never wait for a reader.
fn make_fifo(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::from_raw_mode(0o666)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let fifo = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
    if !fifo.metadata()?.file_type().is_fifo() {
        return Err(io::Error::other("there is something else at this place; remove it"));
    }
    fifo.set_permissions(fs::Permissions::from_mode(0o666))?;
    Ok(fifo)
}

fn is_empty(fifo: &File) -> bool {
    rustix::io::ioctl_fionread(fifo).is_ok_and(|bytes| bytes == 0)
}

fn read_fifo(mut fifo: File, spool: &Arc<SharedSpool>) {
    let mut lines = LineSplitter::new(fifo::LINE_MAX);
    let mut buffer = [0; 8192];
    let mut refused = Refused::default();
    loop {
        match fifo.read(&mut buffer) {
            Ok(n) if n > 0 => lines.feed(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => {
                eprintln!("the FIFO can no longer be read");
                return;
            }
        }
        let arrival = clock::now();
        while let Some(line) = lines.next_line() {
            let done = match fifo::parse(&line) {
                Ok(None) => Ok(()),
                Ok(Some(FifoLine::Log { date, stream, text })) => {
                    let date = Date::Given(date.unwrap_or(arrival));
                    spool.put(&stream, date, &text).map_err(|error| error.to_string())
                }
                Ok(Some(FifoLine::Monitor(request))) => {
                    monitor::serve(request, spool).map_err(|error| error.to_string())
                }
                Err(why) => Err(why.to_owned()),
            };
            if let Err(why) = done {
                refused.say(&why);
            }
        }
    }
}

/// Tells of refused lines, not more often than every ten seconds.
#[derive(Default)]
struct Refused {
    last: Option<Instant>,
    count: u64,
}

impl Refused {
    fn say(&mut self, why: &str) {
        self.count += 1;
        if self.last.is_none_or(|last| last.elapsed() > Duration::from_secs(10)) {
            eprintln!("{} line(s) of the FIFO refused, the last one: {why}", self.count);
            (self.last, self.count) = (Some(Instant::now()), 0);
        }
    }
}
