//! Log lines about hostile or broken input, rate-limited so that the network cannot fill the journal.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lets one line through every `PERIOD` and counts the others.
#[derive(Debug)]
pub(crate) struct Quiet {
    last: Mutex<Option<Instant>>,
    kept_back: AtomicU64,
}

const PERIOD: Duration = Duration::from_secs(10);

impl Quiet {
    pub(crate) const fn new() -> Self {
        Self { last: Mutex::new(None), kept_back: AtomicU64::new(0) }
    }

    /// `Some(n)` when a line may be written now; `n` lines were kept back since the previous one.
    pub(crate) fn may_speak(&self) -> Option<u64> {
        let now = Instant::now();
        let mut last = self.last.lock();
        if last.is_some_and(|last| now.duration_since(last) < PERIOD) {
            self.kept_back.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        *last = Some(now);
        Some(self.kept_back.swap(0, Ordering::Relaxed))
    }

    /// Writes a warning about something received, or counts it.
    pub(crate) fn warn(
        &self,
        service: &'static str,
        peer: impl std::fmt::Display,
        what: impl std::fmt::Display,
    ) {
        if let Some(kept_back) = self.may_speak() {
            tracing::warn!(service, %peer, kept_back, "{what}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_of_a_burst_speaks() {
        let quiet = Quiet::new();
        assert_eq!(quiet.may_speak(), Some(0));
        assert_eq!(quiet.may_speak(), None);
        assert_eq!(quiet.may_speak(), None);
        *quiet.last.lock() = None;
        assert_eq!(quiet.may_speak(), Some(2));
    }
}
