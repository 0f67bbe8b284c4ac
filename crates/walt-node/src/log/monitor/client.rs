//! `walt-log-monitor <command>...`.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, mkfifoat};
use rustix::termios::{OptionalActions, Termios};

use super::{ROLES, Role, is_monitor, path};
use crate::failure::{Failure, Outcome};
use crate::log::daemon;

/// How long the daemon may take to begin.
const BEGINNING: Duration = Duration::from_secs(15);

/// Longest status told.
const STATUS_MAX: usize = 16;

/// The command. Its exit status is that of what it ran, when the daemon is ours.
pub fn client(arguments: Vec<OsString>) -> Outcome {
    let Some(program) = arguments.first() else { return Err(Failure::Usage(1)) };
    if !exists(program) {
        eprintln!("walt-log-monitor: {}: command not found.", program.to_string_lossy());
        return Ok(127);
    }
    be_recognised(&arguments)?;
    let mut daemon = OpenOptions::new()
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(daemon::FIFO)
        .map_err(|_| {
            Failure::plain(
                "the logs daemon does not run on this node (service walt-logs), and it is what runs the command.",
            )
        })?;
    let pid = std::process::id();
    let fifos = Fifos::make(pid).map_err(|error| Failure::plain(format!("/tmp: {error}")))?;
    let signals =
        SigSet::from_iter([Signal::SIGWINCH, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT]);
    let failed = |error: io::Error| Failure::plain(error.to_string());
    signals.thread_block().map_err(|error| failed(error.into()))?;
    let signals = SignalFd::new(&signals).map_err(|error| failed(error.into()))?;
    let terminal = Terminal::raw();
    let (rows, columns) = window().unwrap_or((24, 80));
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    writeln!(daemon, "MONITOR {pid} {uid} {gid} {rows} {columns}").map_err(failed)?;
    drop(daemon);
    let copied = copy(pid, &signals, &fifos);
    drop(terminal);
    copied.map_err(failed)
}

/// Can it be run? Looked for as a shell does.
fn exists(program: &OsStr) -> bool {
    let runs = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        path.metadata()
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if program.to_string_lossy().contains('/') {
        return runs(Path::new(program));
    }
    let folders = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    std::env::split_paths(&folders).any(|folder| runs(&folder.join(program)))
}

/// Daemons read the command from the third word of our command line on: `<program> walt-log-monitor <command>...`.
fn be_recognised(arguments: &[OsString]) -> Result<(), Failure> {
    if std::env::args_os().nth(1).is_some_and(|word| is_monitor(word.as_encoded_bytes())) {
        return Ok(());
    }
    let mut command = Command::new("/proc/self/exe");
    let error = command.arg0("walt-node").arg("walt-log-monitor").args(arguments).exec();
    Err(Failure::plain(format!("cannot start again: {error}")))
}

/// The FIFOs, removed at the end.
struct Fifos {
    pid: u32,
    control: File,
    status: File,
}

impl Fifos {
    fn make(pid: u32) -> io::Result<Self> {
        for role in ROLES {
            let path = path(role, pid);
            let _ = std::fs::remove_file(&path);
            mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR)?;
        }
        let open = |role, write| {
            let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits() as i32;
            let mut options = OpenOptions::new();
            options.read(true).write(write).custom_flags(flags).open(path(role, pid))
        };
        Ok(Self { pid, control: open(Role::Control, true)?, status: open(Role::Status, false)? })
    }

    /// The exit status, if the daemon told it.
    fn status(&self) -> Option<u8> {
        let mut buffer = [0; STATUS_MAX];
        let n = (&self.status).read(&mut buffer).ok()?;
        std::str::from_utf8(&buffer[..n]).ok()?.trim().parse().ok()
    }
}

impl Drop for Fifos {
    fn drop(&mut self) {
        for role in ROLES {
            let _ = std::fs::remove_file(path(role, self.pid));
        }
    }
}

/// The user's terminal while its keys go to the command.
struct Terminal(Option<Termios>);

impl Terminal {
    fn raw() -> Self {
        let stdin = io::stdin();
        let before = stdin.is_terminal().then(|| rustix::termios::tcgetattr(&stdin).ok()).flatten();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            let _ = rustix::termios::tcsetattr(&stdin, OptionalActions::Now, &raw);
        }
        Self(before)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Drain, before);
        }
    }
}

fn window() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(io::stdin())
        .or_else(|_| rustix::termios::tcgetwinsize(io::stdout()))
        .ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Between the user and the command, to the end of the command. Gives its status.
fn copy(pid: u32, signals: &SignalFd, fifos: &Fifos) -> io::Result<u8> {
    std::thread::spawn(move || {
        // Waits for the daemon.
        let Ok(mut to) = OpenOptions::new().write(true).open(path(Role::Stdin, pid)) else {
            return;
        };
        let mut buffer = [0; 4096];
        let mut from = io::stdin().lock();
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            if to.write_all(&buffer[..n]).is_err() {
                return;
            }
        }
    });
    let mut output = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits() as i32)
        .open(path(Role::Stdout, pid))?;
    let mut screen = io::stdout().lock();
    let mut buffer = [0; 8192];
    let mut begun = false;
    let limit = Instant::now() + BEGINNING;
    loop {
        match output.read(&mut buffer) {
            // Nobody writes: not yet, or no longer.
            Ok(0) if begun => return Ok(fifos.status().unwrap_or(0)),
            Ok(0) if Instant::now() > limit => {
                return Err(io::Error::other(
                    "the logs daemon did not start the command (its messages say why: journalctl -u walt-logs).",
                ));
            }
            Ok(0) => std::thread::sleep(Duration::from_millis(20)),
            Ok(n) => {
                begun = true;
                screen.write_all(&buffer[..n])?;
                screen.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                begun = true;
                let mut polled =
                    [PollFd::new(&output, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
                match poll(&mut polled, None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
                let signalled = polled[1].revents().contains(PollFlags::IN);
                let signal = if signalled { signals.read_signal()? } else { None };
                if let Some(signal) = signal {
                    if signal.ssi_signo != Signal::SIGWINCH as u32 {
                        return Ok(128u8.saturating_add(signal.ssi_signo.min(64) as u8));
                    }
                    if let Some((rows, columns)) = window() {
                        let _ = writeln!(&fifos.control, "SIZE {rows} {columns}");
                    }
                }
            }
            Err(error) => return Err(error),
        }
    }
}
