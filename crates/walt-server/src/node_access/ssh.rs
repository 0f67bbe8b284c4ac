//! OpenSSH's client as a subprocess, with exactly the options a node needs.
//!
//! All nodes have the host key the platform imposes on their images, so one `known_hosts` line under
//! the alias `walt.node` is enough, and a changed key is an error, never a question.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// Host name under which the host key of all nodes is known.
pub const HOST_KEY_ALIAS: &str = "walt.node";

/// Longest time one short command (a test of a path) may take.
const SHORT: Duration = Duration::from_secs(20);
/// Most bytes kept of what it says.
const MAX_OUTPUT: u64 = 64 * 1024;

/// How to reach nodes: with which key, trusting which host key.
#[derive(Clone, Debug)]
pub struct Ssh {
    key: PathBuf,
    known_hosts: PathBuf,
}

/// Why a command could not be run on a node.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// The ssh client itself cannot be used.
    #[error("cannot start ssh: {0} (is the package openssh-client installed?)")]
    Start(#[source] std::io::Error),
    /// The node could not be reached, or the connection was lost.
    #[error("the node at {ip} could not be reached: {why}")]
    Unreachable {
        /// Its address.
        ip: Ipv4Addr,
        /// What ssh said.
        why: String,
    },
    /// The command ran and failed.
    #[error("the command failed on the node at {ip} (status {status}): {stderr}")]
    Failed {
        /// Its address.
        ip: Ipv4Addr,
        /// Exit status.
        status: i32,
        /// What it wrote on its standard error.
        stderr: String,
    },
    /// No answer in time.
    #[error("no answer of the node at {ip} within {} s", SHORT.as_secs())]
    Timeout {
        /// Its address.
        ip: Ipv4Addr,
    },
}

impl Ssh {
    /// Uses the private key `key` and trusts the host key of `known_hosts`.
    pub fn new(key: impl Into<PathBuf>, known_hosts: impl Into<PathBuf>) -> Self {
        Self { key: key.into(), known_hosts: known_hosts.into() }
    }

    /// `ssh root@ip remote`, to be completed with its standard streams. `remote` is given to the
    /// shell of the node as it is: quote what is not ours ([`super::quote`]). Without it: a login shell.
    pub fn command(&self, ip: Ipv4Addr, tty: bool, remote: Option<&str>) -> Command {
        let mut command = Command::new("ssh");
        command.arg("-F").arg("/dev/null").arg("-i").arg(&self.key);
        for option in [
            "IdentitiesOnly=yes".to_owned(),
            "IdentityAgent=none".to_owned(),
            "PreferredAuthentications=publickey".to_owned(),
            "BatchMode=yes".to_owned(),
            format!("UserKnownHostsFile={}", self.known_hosts.display()),
            "GlobalKnownHostsFile=/dev/null".to_owned(),
            format!("HostKeyAlias={HOST_KEY_ALIAS}"),
            "StrictHostKeyChecking=yes".to_owned(),
            "CheckHostIP=no".to_owned(),
            "UpdateHostKeys=no".to_owned(),
            "ConnectTimeout=10".to_owned(),
            "ServerAliveInterval=5".to_owned(),
            "ClearAllForwardings=yes".to_owned(),
            "SendEnv=-*".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        if tty {
            command.arg("-tt");
        } else {
            // No escape character either: bytes of a pipe must pass untouched.
            command.arg("-T").arg("-e").arg("none");
        }
        command.arg("-l").arg("root").arg(ip.to_string());
        if let Some(remote) = remote {
            command.arg("--").arg(remote);
        }
        command.kill_on_drop(true);
        end_with_server(&mut command);
        command.env_remove("SSH_AUTH_SOCK");
        command
    }

    /// Runs a short command and gives its standard output.
    pub async fn short(&self, ip: Ipv4Addr, remote: &str) -> Result<String, SshError> {
        let mut command = self.command(ip, false, Some(remote));
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let ran = async {
            let mut child = command.spawn()?;
            let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
            let (stdout, stderr) = tokio::join!(bounded(stdout), bounded(stderr));
            Ok((child.wait().await?, stdout, stderr))
        };
        let (status, stdout, stderr) = tokio::time::timeout(SHORT, ran)
            .await
            .map_err(|_| SshError::Timeout { ip })?
            .map_err(SshError::Start)?;
        let stderr = stderr.trim().to_owned();
        match status.code() {
            Some(0) => Ok(stdout),
            Some(255) => Err(SshError::Unreachable { ip, why: stderr }),
            status => Err(SshError::Failed { ip, status: status.unwrap_or(-1), stderr }),
        }
    }
}

/// Has the program hang up when the server dies, however it dies: nobody would read it any more. (The
/// parent is the thread that starts it: one of the runtime, which ends with the server.)
fn end_with_server(command: &mut Command) {
    // SAFETY: between fork and exec, only prctl(2) is called: it is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGHUP) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// The beginning of what a program says: a hostile node says as much as it likes. The rest is refused.
async fn bounded(output: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(output) = output {
        let _ = output.take(MAX_OUTPUT).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remote_line_is_one_argument_after_the_options() {
        let ssh = Ssh::new("/k", "/h");
        let command = ssh.command(Ipv4Addr::new(10, 0, 0, 2), false, Some("-x 'a b'; id"));
        let args: Vec<_> =
            command.as_std().get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
        assert_eq!(args[args.len() - 3..], ["10.0.0.2", "--", "-x 'a b'; id"]);
        assert!(args.contains(&"HostKeyAlias=walt.node".to_owned()));
        assert!(args.contains(&"UserKnownHostsFile=/h".to_owned()));
    }
}
