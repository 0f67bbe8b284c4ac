//! The one way to run a subprocess: argument vectors only, a deadline, a bound on what is read,
//! stderr kept for the error message, and the process killed when its caller goes away.

pub mod live;
mod spawner;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// Most bytes of standard output kept; the rest is read and dropped.
const OUTPUT_LIMIT: usize = 64 << 20;
/// Most bytes of standard error kept.
const STDERR_LIMIT: usize = 64 << 10;

/// A subprocess to run.
#[derive(Debug, Clone)]
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    current_dir: Option<PathBuf>,
    input: Option<Vec<u8>>,
    deadline: Duration,
    cancel: CancellationToken,
    /// Killed with the server.
    bound: bool,
}

/// What a subprocess answered.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output (at most 64 MiB).
    pub stdout: Vec<u8>,
    /// Standard error (at most 64 KiB).
    pub stderr: String,
}

/// Why a subprocess gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The program could not be started.
    #[error("cannot start `{command}`: {source}; is {program} installed?")]
    Start {
        /// Program name.
        program: String,
        /// The command line.
        command: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It ended with a failure.
    #[error("`{command}` failed ({status}): {stderr}")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// Its last words.
        stderr: String,
    },
    /// It was killed because it took too long.
    #[error("`{command}` did not end in {seconds} s and was killed: {stderr}")]
    Deadline {
        /// The command line.
        command: String,
        /// The deadline, in seconds.
        seconds: u64,
        /// What it had said.
        stderr: String,
    },
    /// It was killed because the server stops.
    #[error("`{command}` was stopped")]
    Cancelled {
        /// The command line.
        command: String,
    },
    /// Its answer could not be read.
    #[error("cannot read the answer of `{command}`: {source}")]
    Read {
        /// The command line.
        command: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Command {
    /// A command with a deadline of 60 s.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            envs: Vec::new(),
            current_dir: None,
            input: None,
            deadline: Duration::from_secs(60),
            cancel: CancellationToken::new(),
            bound: false,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.envs.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets its working directory.
    #[must_use]
    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.current_dir = Some(dir.into());
        self
    }

    /// Gives it these bytes as standard input (default: nothing).
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Kills it after this time.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Kills it when this token is cancelled.
    #[must_use]
    pub fn cancel(mut self, cancel: &CancellationToken) -> Self {
        self.cancel = cancel.clone();
        self
    }

    /// Has it killed when the server is, by whatever: what it does would be in the way of the next one. Processes that it
    /// starts are not.
    #[must_use]
    pub fn bound(mut self) -> Self {
        self.bound = true;
        self
    }

    /// The command line as a person would type it (arguments with spaces quoted), for messages.
    pub fn words(&self) -> String {
        let mut words = self.program.to_string_lossy().into_owned();
        for arg in &self.args {
            let arg = arg.to_string_lossy();
            words.push(' ');
            if arg.is_empty() || arg.contains([' ', '\'', '"', '\n']) {
                words.push_str(&format!("{arg:?}"));
            } else {
                words.push_str(&arg);
            }
        }
        words
    }

    /// The same as a command whose input, output and end its caller looks after (a terminal's). It is killed when that
    /// is dropped; deadline and token have no effect on it.
    pub fn into_tokio(self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.args).envs(self.envs).kill_on_drop(true);
        if let Some(dir) = &self.current_dir {
            command.current_dir(dir);
        }
        command
    }

    /// Program and arguments.
    fn started_as(&self) -> tokio::process::Command {
        if !self.bound {
            let mut command = tokio::process::Command::new(&self.program);
            command.args(&self.args);
            return command;
        }
        let mut command = tokio::process::Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program).args(&self.args);
        command
    }

    async fn spawned(
        &self,
        mut command: tokio::process::Command,
    ) -> std::io::Result<tokio::process::Child> {
        match self.bound {
            true => spawner::spawn(command).await,
            false => command.spawn(),
        }
    }

    /// Runs it; a failure status is an error.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn run(self) -> Result<Finished, CommandError> {
        let words = self.words();
        let finished = self.run_any().await?;
        if finished.status.success() {
            Ok(finished)
        } else {
            Err(CommandError::Failed {
                command: words,
                status: finished.status,
                stderr: finished.stderr.trim().to_owned(),
            })
        }
    }

    /// Runs it; whatever its status, the answer is given.
    ///
    /// # Errors
    /// See [`CommandError`], except `Failed`.
    pub async fn run_any(self) -> Result<Finished, CommandError> {
        let words = self.words();
        let mut command = self.started_as();
        command
            .envs(self.envs.iter().map(|(name, value)| (name, value)))
            .stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(dir) = &self.current_dir {
            command.current_dir(dir);
        }
        let mut child = self.spawned(command).await.map_err(|source| CommandError::Start {
            program: self.program.to_string_lossy().into_owned(),
            command: words.clone(),
            source,
        })?;
        let stdin = child.stdin.take();
        let mut stdout = Vec::new();
        let mut stderr = Vec::new();
        let outcome = {
            let feed = async {
                if let (Some(mut stdin), Some(input)) = (stdin, &self.input) {
                    // A program may end without reading everything: not an error by itself.
                    let _ = stdin.write_all(input).await;
                }
            };
            let out = read_bounded(child.stdout.take(), &mut stdout, OUTPUT_LIMIT);
            let err = read_bounded(child.stderr.take(), &mut stderr, STDERR_LIMIT);
            tokio::select! {
                (_, out, err) = async { tokio::join!(feed, out, err) } => out.and(err).map_err(Stop::Read),
                () = tokio::time::sleep(self.deadline) => Err(Stop::Deadline),
                () = self.cancel.cancelled() => Err(Stop::Cancelled),
            }
        };
        let outcome = match outcome {
            Ok(()) => tokio::select! {
                status = child.wait() => status.map_err(Stop::Read),
                () = tokio::time::sleep(self.deadline) => Err(Stop::Deadline),
                () = self.cancel.cancelled() => Err(Stop::Cancelled),
            },
            Err(stop) => Err(stop),
        };
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        match outcome {
            Ok(status) => Ok(Finished { status, stdout, stderr }),
            Err(stop) => {
                let _ = child.kill().await;
                Err(match stop {
                    Stop::Read(source) => CommandError::Read { command: words, source },
                    Stop::Cancelled => CommandError::Cancelled { command: words },
                    Stop::Deadline => CommandError::Deadline {
                        command: words,
                        seconds: self.deadline.as_secs(),
                        stderr: stderr.trim().to_owned(),
                    },
                })
            }
        }
    }
}

enum Stop {
    Read(std::io::Error),
    Deadline,
    Cancelled,
}

async fn read_bounded(
    from: Option<impl AsyncRead + Unpin>,
    into: &mut Vec<u8>,
    limit: usize,
) -> std::io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    let mut chunk = vec![0; 32 << 10];
    loop {
        let count = from.read(&mut chunk).await?;
        if count == 0 {
            return Ok(());
        }
        let keep = count.min(limit.saturating_sub(into.len()));
        into.extend_from_slice(&chunk[..keep]);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn output_errors_and_deadline() {
        let finished = Command::new("cat").input("hello").run().await.unwrap();
        assert_eq!(finished.stdout, b"hello");
        let error = Command::new("ls").arg("/no such dir").run().await.unwrap_err().to_string();
        assert!(error.contains("`ls \"/no such dir\"` failed"), "{error}");
        assert!(error.contains("No such file"), "{error}");
        let before = std::time::Instant::now();
        let error = Command::new("sleep")
            .arg("30")
            .deadline(Duration::from_millis(100))
            .run()
            .await
            .unwrap_err();
        assert!(matches!(error, CommandError::Deadline { .. }), "{error}");
        assert!(before.elapsed() < Duration::from_secs(5));
        let error = Command::new("no-such-program-at-all").run().await.unwrap_err().to_string();
        assert!(error.contains("is no-such-program-at-all installed?"), "{error}");
    }

    #[tokio::test]
    async fn cancelled() {
        let cancel = CancellationToken::new();
        cancel.cancel();
        let error = Command::new("sleep").arg("30").cancel(&cancel).run().await.unwrap_err();
        assert!(matches!(error, CommandError::Cancelled { .. }), "{error}");
    }
}
