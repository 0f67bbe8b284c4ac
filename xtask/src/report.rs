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
