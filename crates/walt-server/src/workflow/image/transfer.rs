//! Transfers with registries and what the user is told of them.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use walt_images::registry::{Stage, Transfer};

use crate::workflow::Progress;

/// Time between two amounts told, at least.
const PACE: Duration = Duration::from_millis(200);

/// Tells the steps of a transfer at a pace people and pipes can follow.
pub struct Pace<'a> {
    progress: &'a dyn Progress,
    last: Mutex<Option<(Stage, Instant)>>,
}

impl<'a> Pace<'a> {
    /// Tells them to `progress`.
    pub fn new(progress: &'a dyn Progress) -> Self {
        Self { progress, last: Mutex::new(None) }
    }

    /// A step.
    pub fn note(&self, transfer: Transfer) {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let same_stage = last.filter(|(stage, _)| *stage == transfer.stage);
        let complete = transfer.total == Some(transfer.done);
        if same_stage.is_some_and(|(_, at)| !complete && now.duration_since(at) < PACE) {
            return;
        }
        *last = Some((transfer.stage, now));
        let what = transfer.stage.words();
        match transfer.stage {
            Stage::Downloading | Stage::Uploading => {
                self.progress.amount(what, transfer.done, transfer.total);
            }
            Stage::Storing | Stage::Exporting => self.progress.label(what),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Progress for Heard {
        fn label(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }

        fn amount(&self, what: &str, done: u64, _: Option<u64>) {
            self.0.lock().unwrap().push(format!("{what} {done}"));
        }
    }

    #[test]
    fn not_everything_is_told_but_the_ends_are() {
        let heard = Heard::default();
        let pace = Pace::new(&heard);
        for done in 0..1000 {
            pace.note(Transfer { stage: Stage::Downloading, done, total: Some(1000) });
        }
        pace.note(Transfer { stage: Stage::Downloading, done: 1000, total: Some(1000) });
        pace.note(Transfer { stage: Stage::Storing, done: 0, total: None });
        let heard = heard.0.lock().unwrap();
        assert_eq!(heard[0], "Downloading 0");
        assert_eq!(heard[heard.len() - 2..], ["Downloading 1000", "Storing"]);
        assert!(heard.len() < 100, "{heard:?}");
    }
}
