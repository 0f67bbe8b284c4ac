//! The busy indicator: `<label>... \` on the current line while the server works.

use std::io::{IsTerminal, Write, stderr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Label when the command has no better one.
const LABEL: &str = "Server is working";

/// Time between two pictures. Short calls end before the first one.
const PERIOD: Duration = Duration::from_millis(100);

#[derive(Default)]
struct State {
    label: String,
    shown: bool,
    over: bool,
    /// Columns drawn on the current line.
    drawn: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static CURRENT: Mutex<Option<Arc<Shared>>> = Mutex::new(None);
static DEFAULT_LABEL: Mutex<&'static str> = Mutex::new(LABEL);

/// Label of the spinners of this command.
pub fn set_default_label(label: &'static str) {
    *DEFAULT_LABEL.lock().unwrap_or_else(PoisonError::into_inner) = label;
}

/// Erases the spinner for good, from wherever (end of the process).
pub fn erase() {
    if let Some(shared) = CURRENT.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
        let mut state = shared.lock();
        state.over = true;
        wipe(&mut state);
    }
}

/// A spinner, on a terminal only. It disappears with this value.
pub struct Spinner(Option<Arc<Shared>>);

impl Spinner {
    /// Starts one.
    pub fn start() -> Self {
        if !super::is_interactive() || !stderr().is_terminal() {
            return Self(None);
        }
        let shared = Arc::new(Shared::default());
        {
            let mut state = shared.lock();
            let label = *DEFAULT_LABEL.lock().unwrap_or_else(PoisonError::into_inner);
            state.label = label.to_owned();
            state.shown = true;
        }
        *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&shared));
        let turning = Arc::clone(&shared);
        let _ = std::thread::Builder::new().name("spinner".into()).spawn(move || turn(&turning));
        Self(Some(shared))
    }

    /// No spinner at all.
    pub fn none() -> Self {
        Self(None)
    }

    /// Whether there is one to see.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Changes its label.
    pub fn set_label(&self, label: &str) {
        if let Some(shared) = &self.0 {
            let mut state = shared.lock();
            wipe(&mut state);
            state.label = label.chars().filter(|c| !c.is_control()).take(200).collect();
        }
    }

    /// Takes it off the screen before something is written.
    pub fn hide(&self) {
        if let Some(shared) = &self.0 {
            let mut state = shared.lock();
            state.shown = false;
            wipe(&mut state);
        }
    }

    /// Shows it (again).
    pub fn show(&self) {
        if let Some(shared) = &self.0 {
            shared.lock().shown = true;
        }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            let mut state = shared.lock();
            state.over = true;
            wipe(&mut state);
            shared.changed.notify_all();
        }
    }
}

fn turn(shared: &Shared) {
    let mut pictures = ['\\', '|', '/', '-'].iter().cycle();
    let mut state = shared.lock();
    loop {
        state = match shared.changed.wait_timeout(state, PERIOD) {
            Ok((state, _)) => state,
            Err(poisoned) => poisoned.into_inner().0,
        };
        if state.over {
            return;
        }
        if state.shown {
            let picture = pictures.next().copied().unwrap_or('-');
            let (columns, _) = super::size();
            let room = usize::from(columns).saturating_sub(6).max(10);
            let label: String = state.label.chars().take(room).collect();
            let text = format!("{label}... {picture}");
            let _ = write!(stderr(), "\r{text}");
            state.drawn = text.chars().count();
        }
    }
}

fn wipe(state: &mut State) {
    if state.drawn > 0 {
        let _ = write!(stderr(), "\r{}\r", " ".repeat(state.drawn));
        state.drawn = 0;
    }
}
