//! Commands whose words are passed on while they run, and that leave no process behind.

use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use super::{Command, CommandError};

/// Longest text passed on at once when no line ends, in bytes.
const LONGEST: usize = 8 << 10;
/// Last bytes of standard error kept for the error message.
const KEPT: usize = 4 << 10;

/// What a command says, whole lines as far as possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// On standard output.
    Out(String),
    /// On standard error.
    Err(String),
}

impl Command {
    /// Runs it in a process namespace of its own: when it is killed, or this server is, all it started is killed too.
    /// To be called last.
    #[must_use]
    pub fn apart(mut self) -> Self {
        let wrapper = ["--pid", "--fork", "--kill-child", "--mount-proc", "--"];
        let program = std::mem::replace(&mut self.program, "unshare".into());
        let mut args: Vec<_> = wrapper.iter().map(Into::into).collect();
        args.push(program);
        args.append(&mut self.args);
        self.args = args;
        self.bound()
    }

    /// Runs it and passes on what it says; when nobody listens any more, the rest is dropped and it goes on.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn run_told(self, told: &mpsc::Sender<Said>) -> Result<(), CommandError> {
        let words = self.words();
        let mut command = self.started_as();
        command
            .envs(self.envs.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
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
        let mut last = Vec::new();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let talk = async {
            let mut nothing = Vec::new();
            tokio::join!(
                pass_on(stdout, told, Said::Out, &mut nothing),
                pass_on(stderr, told, Said::Err, &mut last)
            );
        };
        let status = tokio::select! {
            status = async { talk.await; child.wait().await } => Some(status),
            () = tokio::time::sleep(self.deadline) => None,
            () = self.cancel.cancelled() => {
                let _ = child.kill().await;
                return Err(CommandError::Cancelled { command: words });
            }
        };
        let stderr = String::from_utf8_lossy(&last).trim().to_owned();
        match status {
            Some(Ok(status)) if status.success() => Ok(()),
            Some(Ok(status)) => Err(CommandError::Failed { command: words, status, stderr }),
            Some(Err(source)) => Err(CommandError::Read { command: words, source }),
            None => {
                let _ = child.kill().await;
                let seconds = self.deadline.as_secs();
                Err(CommandError::Deadline { command: words, seconds, stderr })
            }
        }
    }
}

async fn pass_on(
    from: Option<impl AsyncRead + Unpin>,
    told: &mpsc::Sender<Said>,
    word: fn(String) -> Said,
    last: &mut Vec<u8>,
) {
    let Some(mut from) = from else { return };
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = from.read(&mut chunk).await.unwrap_or(0);
        text.extend_from_slice(&chunk[..count]);
        let end = match text.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => at + 1,
            None if count == 0 || text.len() > LONGEST => text.len(),
            None => 0,
        };
        if end > 0 {
            let said: Vec<u8> = text.drain(..end).collect();
            last.extend_from_slice(&said);
            last.drain(..last.len().saturating_sub(KEPT));
            let _ = told.send(word(String::from_utf8_lossy(&said).into_owned())).await;
        }
        if count == 0 && text.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn told(command: Command) -> (Vec<Said>, Result<(), CommandError>) {
        let (sender, mut receiver) = mpsc::channel(1000);
        let result = command.run_told(&sender).await;
        drop(sender);
        let mut said = Vec::new();
        while let Some(one) = receiver.recv().await {
            said.push(one);
        }
        (said, result)
    }

    #[tokio::test]
    async fn what_it_says() {
        let (said, result) =
            told(Command::new("sh").args(["-c", "echo a; printf b; echo c >&2"])).await;
        result.unwrap();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said.contains(&Said::Out("b".into())) && said.contains(&Said::Err("c\n".into())));
        let (_, result) = told(Command::new("sh").args(["-c", "echo no >&2; exit 3"])).await;
        assert!(matches!(result, Err(CommandError::Failed { stderr, .. }) if stderr == "no"));
    }

    #[tokio::test]
    async fn a_deadline() {
        let command =
            Command::new("sh").args(["-c", "sleep 60"]).deadline(Duration::from_millis(200));
        let (_, result) = told(command).await;
        assert!(matches!(result, Err(CommandError::Deadline { .. })));
    }
}
