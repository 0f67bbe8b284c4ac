//! Signals: one thread waits for them, so that what they trigger is ordinary code.

use super::{raw, spinner};
use nix::sys::signal::{SigSet, Signal};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

static RESIZED: Mutex<Option<OwnedFd>> = Mutex::new(None);
static UNFINISHED: Mutex<Option<PathBuf>> = Mutex::new(None);
static ON_INTERRUPT: Mutex<Option<OnInterrupt>> = Mutex::new(None);

/// Done at ctrl-C instead of the usual end; gives the exit status.
pub type OnInterrupt = Box<dyn FnOnce() -> u8 + Send>;

/// Must be called before any other thread is started: these signals are blocked in all threads but this one.
pub fn watch() {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGWINCH] {
        set.add(signal);
    }
    if set.thread_block().is_err() {
        return;
    }
    let waiter = move || {
        loop {
            match set.wait() {
                Ok(Signal::SIGWINCH) => resized(),
                Ok(Signal::SIGINT) => interrupted(),
                Ok(_) => {
                    clean();
                    std::process::exit(143);
                }
                Err(_) => {}
            }
        }
    };
    // Without this thread ctrl-C would do nothing: better to keep the system's own treatment.
    if std::thread::Builder::new().name("signals".into()).spawn(waiter).is_err() {
        let _ = set.thread_unblock();
    }
}

/// ctrl-C: empty line, `Aborted.`, status 1.
fn interrupted() -> ! {
    clean();
    let other = ON_INTERRUPT.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(other) = other {
        std::process::exit(other().into());
    }
    let _ = writeln!(std::io::stdout());
    let _ = writeln!(std::io::stderr(), "Aborted.");
    std::process::exit(1);
}

fn clean() {
    spinner::erase();
    raw::restore();
    remove_unfinished();
}

/// Removes what [`set_unfinished`] named, if anything.
pub fn remove_unfinished() {
    if let Some(path) = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = match std::fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
            _ => std::fs::remove_file(path),
        };
    }
}

/// A file or directory to remove when the command is interrupted; `None` when it is complete.
pub fn set_unfinished(path: Option<PathBuf>) {
    *UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner) = path;
}

/// What ctrl-C does from now on; `None`: the usual.
pub fn on_interrupt(action: Option<OnInterrupt>) {
    *ON_INTERRUPT.lock().unwrap_or_else(PoisonError::into_inner) = action;
}

fn resized() {
    if let Some(pipe) = RESIZED.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
        let _ = rustix::io::write(pipe, b"r");
    }
}

/// Becomes readable at each change of the terminal's size.
pub struct Resizes(OwnedFd);

impl Resizes {
    /// Starts to listen.
    ///
    /// # Errors
    /// When no pipe can be made.
    pub fn new() -> std::io::Result<Self> {
        let flags = rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK;
        let (reader, writer) = rustix::pipe::pipe_with(flags)?;
        *RESIZED.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        Ok(Self(reader))
    }

    /// What to poll.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Forgets the changes seen so far.
    pub fn clear(&self) {
        let mut bytes = [0; 64];
        while rustix::io::read(&self.0, &mut bytes).is_ok_and(|count| count > 0) {}
    }
}
