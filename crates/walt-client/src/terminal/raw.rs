//! Raw mode, restored in every case: end of scope, error, panic, signal.

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::stdin;
use std::sync::{Mutex, Once, PoisonError};

static SAVED: Mutex<Option<Termios>> = Mutex::new(None);
static PANIC_HOOK: Once = Once::new();

/// Raw mode lasts as long as this value.
#[must_use]
pub struct RawMode(());

impl RawMode {
    /// Puts the terminal of standard input in raw mode: every key goes to the program, unprocessed, without echo.
    ///
    /// # Errors
    /// When standard input is not a terminal.
    pub fn enter() -> std::io::Result<Self> {
        PANIC_HOOK.call_once(|| {
            let previous = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                previous(panic);
            }));
        });
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        tcsetattr(stdin(), OptionalActions::Drain, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Nothing typed is shown as long as this value lasts.
#[must_use]
pub struct Quiet(());

impl Quiet {
    /// Switches the echo off, where standard input is a terminal that has one.
    pub fn enter() -> Self {
        if let Ok(before) = tcgetattr(stdin()) {
            let mut quiet = before.clone();
            quiet.local_modes.remove(LocalModes::ECHO);
            *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
            let _ = tcsetattr(stdin(), OptionalActions::Drain, &quiet);
        }
        Self(())
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal its former mode back, if it was changed.
pub fn restore() {
    if let Some(before) = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &before);
    }
}
