//! Carrying a script out.

use std::collections::BTreeMap;
use std::time::Duration;

use super::line::{Operator, expand, parts, words};
use super::location::Location;

/// What a script can reach, at most.
pub mod limits {
    use std::time::Duration;

    /// Size of one script, in bytes.
    pub const SCRIPT: usize = 64 * 1024;
    /// Scripts in scripts.
    pub const DEPTH: usize = 16;
    /// Scripts loaded, all together.
    pub const SCRIPTS: usize = 100;
    /// Directives carried out.
    pub const DIRECTIVES: usize = 10_000;
    /// Bytes of kernels and initrds fetched, all together: they are kept in memory.
    pub const FETCHED: u64 = 512 * 1024 * 1024;
    /// Variables.
    pub const VARIABLES: usize = 256;
    /// Size of the value of a variable and of a kernel command line, in bytes.
    pub const VALUE: usize = 4096;
    /// All `sleep`s together.
    pub const SLEEP: Duration = Duration::from_secs(20);
}

/// Variables of scripts, by name.
pub type Variables = BTreeMap<String, String>;

/// What the interpreter needs of the world.
pub trait Loader {
    /// A fetched file.
    type File;

    /// Fetches a script of at most [`limits::SCRIPT`] bytes.
    ///
    /// # Errors
    /// Why not.
    fn script(&mut self, from: &Location) -> Result<Vec<u8>, String>;

    /// Fetches a file of at most so many bytes, and says how many it has.
    ///
    /// # Errors
    /// Why not.
    fn file(&mut self, from: &Location, limit: u64) -> Result<(Self::File, u64), String>;

    /// Shows a line of text.
    fn say(&mut self, line: &str);

    /// Waits.
    fn wait(&mut self, time: Duration);
}

/// What is to be booted.
#[derive(Debug, PartialEq, Eq)]
pub struct Boot<F> {
    /// The kernel.
    pub kernel: F,
    /// Its initial RAM disks, to be joined in this order.
    pub initrds: Vec<F>,
    /// The command line of the kernel.
    pub command_line: String,
}

/// Why the scripts led to no boot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// A line failed, and no other way was given.
    #[error("{0}")]
    Failed(String),
    /// All lines were carried out, and none was `boot`.
    #[error("the scripts end without a boot directive")]
    WithoutBoot,
    /// A script asked for a reboot; with the failure before it, if any.
    #[error("a script asked for a reboot{}", .0.as_ref().map(|why| format!(" because {why}")).unwrap_or_default())]
    Reboot(Option<String>),
    /// A line that means nothing here, or goes beyond the limits: with its place.
    #[error("{0}")]
    Refused(String),
}

/// Carries out the script at `start`, and those it chains to, up to its `boot`.
///
/// # Errors
/// See [`Ended`].
pub fn run<L: Loader>(
    loader: &mut L,
    start: &Location,
    variables: Variables,
) -> Result<Boot<L::File>, Ended> {
    let mut interpreter = Interpreter {
        loader,
        variables,
        kernel: None,
        initrds: Vec::new(),
        scripts: 0,
        directives: 0,
        fetched: 0,
        slept: Duration::ZERO,
        last_failure: None,
    };
    match interpreter.script(start, 0) {
        Ok(()) => Err(Ended::WithoutBoot),
        Err(Stop::Failed(why)) => Err(Ended::Failed(why)),
        Err(Stop::Reboot) => Err(Ended::Reboot(interpreter.last_failure)),
        Err(Stop::Refused(why)) => Err(Ended::Refused(why)),
        Err(Stop::Boot) => match interpreter.kernel {
            Some((kernel, command_line)) => {
                Ok(Boot { kernel, initrds: interpreter.initrds, command_line })
            }
            None => Err(Ended::WithoutBoot),
        },
    }
}

/// Why what follows is not carried out.
enum Stop {
    /// The directive failed: `||` may follow.
    Failed(String),
    /// Everything stops: `boot`.
    Boot,
    /// Everything stops: `reboot`.
    Reboot,
    /// Everything stops: not of this language, or too much.
    Refused(String),
}

type Step = Result<(), Stop>;

fn failed<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Failed(why.into()))
}

fn refused<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Refused(why.into()))
}

struct Interpreter<'a, L: Loader> {
    loader: &'a mut L,
    variables: Variables,
    kernel: Option<(L::File, String)>,
    initrds: Vec<L::File>,
    scripts: usize,
    directives: usize,
    fetched: u64,
    slept: Duration,
    last_failure: Option<String>,
}

impl<L: Loader> Interpreter<'_, L> {
    fn script(&mut self, from: &Location, depth: usize) -> Step {
        self.scripts += 1;
        if depth > limits::DEPTH || self.scripts > limits::SCRIPTS {
            return refused(format!("{from}: scripts load each other without end"));
        }
        let text = match self.loader.script(from) {
            Ok(text) if text.len() > limits::SCRIPT => return failed(format!("{from}: too long")),
            Ok(text) => String::from_utf8(text),
            Err(why) => return failed(format!("{from}: {why}")),
        };
        let Ok(text) = text else { return failed(format!("{from}: not a script")) };
        for (number, line) in text.lines().enumerate() {
            self.line(line, from, depth).map_err(|stop| {
                let place = |why| format!("{from}, line {}: {why}", number + 1);
                match stop {
                    Stop::Failed(why) => Stop::Failed(place(why)),
                    Stop::Refused(why) => Stop::Refused(place(why)),
                    stop => stop,
                }
            })?;
        }
        Ok(())
    }

    fn line(&mut self, line: &str, here: &Location, depth: usize) -> Step {
        let mut outcome = Ok(());
        for (operator, part) in parts(line) {
            outcome = match (operator, outcome) {
                (Operator::And, Ok(())) => self.directive(part, here, depth),
                (Operator::Or, Err(Stop::Failed(why))) => {
                    self.loader.say(&why);
                    self.last_failure = Some(why);
                    self.directive(part, here, depth)
                }
                (_, outcome) => outcome,
            };
        }
        outcome
    }

    fn directive(&mut self, part: &str, here: &Location, depth: usize) -> Step {
        self.directives += 1;
        if self.directives > limits::DIRECTIVES {
            return refused("too many directives");
        }
        let Some(words) = words(part) else { return refused("a quote is not closed") };
        let value = |name: &str| self.variables.get(name).map_or("", String::as_str);
        let words: Vec<String> = words.iter().map(|word| expand(word, value)).collect();
        let Some((name, arguments)) = words.split_first() else { return Ok(()) };
        match (name.as_str(), arguments) {
            ("chain" | "initrd" | "kernel" | "boot", [option, ..]) if option.starts_with('-') => {
                refused(format!("the option {option} is not known here"))
            }
            ("set", [variable, value @ ..]) => self.set(variable, value),
            ("echo", text) => {
                self.loader.say(&text.join(" "));
                Ok(())
            }
            ("chain", [url]) => {
                let from = location(here, url)?;
                self.script(&from, depth + 1)
            }
            ("initrd", [url, ..]) => {
                let from = location(here, url)?;
                let file = self.fetch(&from)?;
                self.initrds.push(file);
                Ok(())
            }
            ("kernel", [url, arguments @ ..]) => self.kernel(here, url, arguments),
            ("boot", []) => self.boot(),
            ("boot", [url, arguments @ ..]) => {
                self.kernel(here, url, arguments)?;
                self.boot()
            }
            // Of what was loaded before, nothing is given to the kernel.
            ("imgfree", _) => {
                self.kernel = None;
                self.initrds.clear();
                Ok(())
            }
            ("sleep", [seconds]) => self.sleep(seconds),
            ("reboot", _) => Err(Stop::Reboot),
            ("shell", _) => failed("there is nobody to use a shell"),
            ("set" | "chain" | "initrd" | "kernel" | "sleep", _) => {
                refused(format!("`{name}` with {} words after it", arguments.len()))
            }
            _ => refused(format!(
                "`{name}` is not known here; known are set, echo, chain, initrd, kernel, boot, imgfree, sleep, reboot, shell"
            )),
        }
    }

    fn set(&mut self, variable: &str, value: &[String]) -> Step {
        let value = bounded(value.join(" "))?;
        let is_new = !self.variables.contains_key(variable);
        if variable.len() > limits::VALUE || is_new && self.variables.len() >= limits::VARIABLES {
            return refused("too many variables");
        }
        self.variables.insert(variable.to_owned(), value);
        Ok(())
    }

    fn kernel(&mut self, here: &Location, url: &str, arguments: &[String]) -> Step {
        let command_line = bounded(arguments.join(" "))?;
        let from = location(here, url)?;
        let file = self.fetch(&from)?;
        self.kernel = Some((file, command_line));
        Ok(())
    }

    fn boot(&self) -> Step {
        match self.kernel {
            Some(_) => Err(Stop::Boot),
            None => failed("boot: no kernel was loaded"),
        }
    }

    fn fetch(&mut self, from: &Location) -> Result<L::File, Stop> {
        match self.loader.file(from, limits::FETCHED.saturating_sub(self.fetched)) {
            Ok((file, size)) => {
                self.fetched = self.fetched.saturating_add(size);
                Ok(file)
            }
            Err(why) => failed(format!("{from}: {why}")),
        }
    }

    fn sleep(&mut self, seconds: &str) -> Step {
        let Ok(seconds) = seconds.parse() else {
            return failed(format!("sleep: not a number: {seconds}"));
        };
        let time = Duration::from_secs(seconds).min(limits::SLEEP.saturating_sub(self.slept));
        self.slept += time;
        self.loader.wait(time);
        Ok(())
    }
}

/// What an address means.
fn location(here: &Location, url: &str) -> Result<Location, Stop> {
    here.resolve(url).or_else(|why| failed(format!("{url}: {why}")))
}

fn bounded(text: String) -> Result<String, Stop> {
    if text.len() > limits::VALUE {
        return refused(format!("a text is over {} bytes", limits::VALUE));
    }
    Ok(text)
}
