//! How a long task shows that it goes on: one live line on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// A named step whose duration is told when it ends.
pub struct Step {
    name: String,
    started: Instant,
    live: bool,
    shown: String,
}

impl Step {
    /// Announces the step.
    pub fn start(name: impl Into<String>) -> Step {
        let step = Step {
            name: name.into(),
            started: Instant::now(),
            live: std::io::stdout().is_terminal(),
            shown: String::new(),
        };
        if step.live {
            print!("   {} ...", step.name);
        } else {
            println!("   {} ...", step.name);
        }
        flush();
        step
    }

    /// Announces a step that runs beside others: no line of the terminal is its own.
    pub fn beside(name: impl Into<String>) -> Step {
        let name = name.into();
        println!("   {name} ...");
        Step { name, started: Instant::now(), live: false, shown: String::new() }
    }

    /// Since when it runs.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Says what it is at; the line is rewritten on a terminal and printed once elsewhere.
    pub fn at(&mut self, detail: &str) {
        if self.live {
            print!("\r\x1b[K   {} ... {detail} ({})", self.name, seconds(self.elapsed()));
            flush();
        } else if detail != self.shown {
            println!("     {detail} ({})", seconds(self.elapsed()));
        }
        detail.clone_into(&mut self.shown);
    }

    /// Ends it well.
    pub fn done(self, result: &str) {
        let clear = if self.live { "\r\x1b[K" } else { "" };
        println!("{clear} ✔ {} {} [{}]", self.name, result, seconds(self.elapsed()));
    }
}

fn flush() {
    // A closed terminal must not stop the tear-down.
    drop(std::io::stdout().flush());
}

/// `12.3 s`.
pub fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
