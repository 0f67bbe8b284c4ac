//! What a test run did, how long each part took, and what failed.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::command;
use crate::progress::{Step, seconds};

/// What was run, how long it took, and why it failed if it did.
#[derive(Default)]
pub struct Report {
    /// Names and durations of what passed.
    pub done: Vec<(String, Duration)>,
    /// Names of what failed, and why.
    pub failed: Vec<(String, String)>,
    /// Names of what passed only when it was run again, and why it failed the first time.
    pub unsteady: Vec<(String, String)>,
}

impl Report {
    /// Runs one test and notes how it went. The error is an interruption: go no further.
    pub fn run(&mut self, name: &str, test: impl FnOnce() -> Result<()>) -> Result<()> {
        self.note(Step::start(name), name, test)
    }

    /// The same for a test that runs beside others.
    pub fn run_beside(&mut self, name: &str, test: impl FnOnce() -> Result<()>) -> Result<()> {
        self.note(Step::beside(name), name, test)
    }

    /// Adds what another report says.
    pub fn merge(&mut self, other: Report) {
        self.done.extend(other.done);
        self.failed.extend(other.failed);
        self.unsteady.extend(other.unsteady);
    }

    /// A failed test is run again: if it passes now, it is reported as unsteady instead.
    pub fn again(&mut self, name: &str, test: impl FnOnce() -> Result<()>) -> Result<()> {
        let Some(at) = self.failed.iter().position(|(failed, _)| failed == name) else {
            return Ok(());
        };
        let first = self.failed.remove(at);
        let failures = self.failed.len();
        self.note(Step::start(format!("{name}, once more")), name, test)?;
        if self.failed.len() == failures {
            self.unsteady.push(first);
        }
        Ok(())
    }

    fn note(&mut self, step: Step, name: &str, test: impl FnOnce() -> Result<()>) -> Result<()> {
        let started = Instant::now();
        match test() {
            Ok(()) => {
                self.done.push((name.to_owned(), started.elapsed()));
                step.done("ok");
            }
            Err(error) => {
                println!("\n ✘ {name} [{}]\n{error:#}\n", seconds(started.elapsed()));
                self.failed.push((name.to_owned(), format!("{error:#}")));
            }
        }
        command::go_on()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_the_second_time_is_unsteady() {
        let mut report = Report::default();
        report.run("a", || anyhow::bail!("once")).unwrap();
        report.run("b", || anyhow::bail!("always")).unwrap();
        report.run("c", || Ok(())).unwrap();
        report.again("a", || Ok(())).unwrap();
        report.again("b", || anyhow::bail!("always")).unwrap();
        report.again("c", || panic!("it did not fail")).unwrap();
        let names =
            |of: &[(String, String)]| of.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(
            (names(&report.failed), names(&report.unsteady)),
            (vec!["b".into()], vec!["a".into()])
        );
        assert_eq!(report.done.len(), 2);
    }
}
