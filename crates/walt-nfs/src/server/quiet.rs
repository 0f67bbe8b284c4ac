//! Warnings that the network can cause, at most one per second.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

const PAUSE: Duration = Duration::from_secs(1);

/// Lets one warning pass per second and counts the others.
#[derive(Default)]
pub(super) struct Quiet {
    state: Mutex<Option<(Instant, u64)>>,
}

impl Quiet {
    pub(super) fn warn(&self, message: impl FnOnce() -> String) {
        let mut state = self.state.lock();
        match &mut *state {
            Some((last, dropped)) if last.elapsed() < PAUSE => *dropped += 1,
            other => {
                let dropped = other.map_or(0, |(_, dropped)| dropped);
                *other = Some((Instant::now(), 0));
                drop(state);
                let message = message();
                if dropped == 0 {
                    tracing::warn!("{message}");
                } else {
                    tracing::warn!("{message} (and {dropped} more such events)");
                }
            }
        }
    }
}
