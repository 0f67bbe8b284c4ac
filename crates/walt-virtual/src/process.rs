//! Which process is this node's QEMU, and no other.
//!
//! A process id alone is not an identity: it is used again. A process is known by its id, its start
//! time and the boot of the machine, and from then on by a pidfd, which never means another one.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;

/// What tells a process from any other there ever was on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Process id.
    pub pid: u32,
    /// Start time, in clock ticks since boot (proc_pid_stat(5), field 22).
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

impl Identity {
    /// Of a process that runs now.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(pid: u32) -> io::Result<Self> {
        let (start_time, state) = stat(pid)?;
        if state == b'Z' || state == b'X' {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the process has ended"));
        }
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(Self { pid, start_time, boot_id })
    }
}

/// Start time and state letter of a process.
fn stat(pid: u32) -> io::Result<(u64, u8)> {
    let text = std::fs::read(format!("/proc/{pid}/stat"))?;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "unreadable /proc/PID/stat");
    // The name, in parentheses, may hold anything: what follows the last one counts.
    let after = text.iter().rposition(|&b| b == b')').ok_or_else(bad)?;
    let text = String::from_utf8_lossy(&text[after + 1..]).into_owned();
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let state = fields.first().and_then(|field| field.bytes().next()).ok_or_else(bad)?;
    let start = fields.get(19).and_then(|field| field.parse().ok()).ok_or_else(bad)?;
    Ok((start, state))
}

/// A process that cannot be mistaken for another, ours or adopted.
#[derive(Debug)]
pub struct Process {
    identity: Identity,
    fd: AsyncFd<OwnedFd>,
}

impl Process {
    /// Takes hold of the process with this identity.
    ///
    /// # Errors
    /// It ended (another process may have its id now).
    pub fn hold(identity: &Identity) -> io::Result<Self> {
        let gone = || io::Error::new(io::ErrorKind::NotFound, "the process has ended");
        let raw = i32::try_from(identity.pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        let fd = rustix::process::pidfd_open(raw, PidfdFlags::NONBLOCK)?;
        // Held first, compared then: the id cannot change owner in between.
        if Identity::of(identity.pid)? != *identity {
            return Err(gone());
        }
        // SAFETY: an OwnedFd names the same open descriptor as long as it lives, which is as long as
        // the registration.
        let fd = unsafe { AsyncFd::register_with_interest(fd, tokio::io::Interest::READABLE)? };
        Ok(Self { identity: identity.clone(), fd })
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Waits for its end.
    pub async fn ended(&self) {
        // An error would mean that the descriptor is unusable: as good as an end.
        let _ = self.fd.readable().await;
    }

    /// Sends a signal; a process that ended gets none.
    pub fn signal(&self, signal: Signal) {
        let _ = rustix::process::pidfd_send_signal(self.fd.get_ref(), signal);
    }

    /// Asks it to end, and kills it after `patience`. False if it survives even that for 10 s.
    pub async fn end(&self, patience: Duration) -> bool {
        if !patience.is_zero() {
            self.signal(Signal::TERM);
            if tokio::time::timeout(patience, self.ended()).await.is_ok() {
                return true;
            }
        }
        self.signal(Signal::KILL);
        tokio::time::timeout(Duration::from_secs(10), self.ended()).await.is_ok()
    }
}

/// The QEMU that was started with this pid file, if it runs: for a server killed before it could
/// note what it had started.
pub fn by_pid_file(pid_file: &Path) -> Option<Identity> {
    let pid = std::fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    let identity = Identity::of(pid).ok()?;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let wanted = pid_file.to_string_lossy();
    let mut words = line.split(|&b| b == 0);
    let is_qemu = words.next()?.windows(5).any(|word| word == b"qemu-");
    (is_qemu && words.any(|word| word == wanted.as_bytes())).then_some(identity)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_process_is_known_by_more_than_its_id() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let identity = Identity::of(child.id()).unwrap();
        let recycled = Identity { start_time: identity.start_time + 1, ..identity.clone() };
        assert!(Process::hold(&recycled).is_err());
        let process = Process::hold(&identity).unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), process.ended()).await.is_err());
        assert!(process.end(Duration::from_secs(5)).await);
        // Not yet waited for: a zombie is no process any more.
        assert!(Identity::of(identity.pid).is_err());
        child.wait().unwrap();
        assert!(Process::hold(&identity).is_err());
    }

    #[test]
    fn a_pid_file_of_another_program_is_nothing() {
        let dir = std::env::temp_dir().join(format!("walt-pid-{}", std::process::id()));
        std::fs::write(&dir, std::process::id().to_string()).unwrap();
        assert_eq!(by_pid_file(&dir), None);
        std::fs::remove_file(&dir).unwrap();
    }
}
