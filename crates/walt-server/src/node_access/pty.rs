//! A pseudo-terminal for a program of the server (ssh) of which the other end is a WebSocket.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Stdio;

use nix::pty::{OpenptyResult, Winsize, openpty};
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};

/// The master side of a pseudo-terminal.
#[derive(Debug)]
pub struct PtyMaster {
    fd: AsyncFd<OwnedFd>,
}

/// Columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
}

impl From<Size> for Winsize {
    fn from(size: Size) -> Self {
        Self { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 }
    }
}

/// Starts `command` in a new session of which a new pseudo-terminal is the controlling terminal.
pub fn spawn(mut command: Command, size: Size) -> io::Result<(Child, PtyMaster)> {
    let OpenptyResult { master, slave } = openpty(Some(&Winsize::from(size)), None)?;
    command
        .stdin(Stdio::from(slave.try_clone()?))
        .stdout(Stdio::from(slave.try_clone()?))
        .stderr(Stdio::from(slave));
    // SAFETY: between fork and exec, only setsid(2) and ioctl(2) are called: both are
    // async-signal-safe and neither allocates.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            if libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let child = command.spawn()?;
    // The command still holds its copies of the slave side: drop them, or the end would never be seen.
    drop(command);
    rustix::io::ioctl_fionbio(&master, true)?;
    rustix::io::fcntl_setfd(&master, rustix::io::FdFlags::CLOEXEC)?;
    // SAFETY: the descriptor is owned by the value given away here, which is never replaced or closed
    // before the AsyncFd itself is dropped.
    let fd = unsafe { AsyncFd::register(master)? };
    Ok((child, PtyMaster { fd }))
}

impl PtyMaster {
    /// Reads what the program wrote; 0 at its end (a terminal without slave gives EIO).
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.fd.readable().await?;
            let read = ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut *buffer)?));
            match read {
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Ok(0),
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    /// Writes some of `bytes` as typed by the user; gives how many. Nothing is written when this is
    /// dropped before its end.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.fd.writable().await?;
            if let Ok(written) = ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
                return written;
            }
        }
    }

    /// Writes all of `bytes` as typed by the user.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            bytes = &bytes[self.write(bytes).await?..];
        }
        Ok(())
    }

    /// Tells the program that its terminal has another size.
    pub fn resize(&self, size: Size) -> io::Result<()> {
        let size = Winsize::from(size);
        // SAFETY: TIOCSWINSZ reads one `struct winsize`, which `size` is, and keeps no pointer to it.
        let done = unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        if done < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn all_of(pty: &PtyMaster) -> String {
        let mut text = Vec::new();
        let mut buffer = [0; 256];
        loop {
            match pty.read(&mut buffer).await.unwrap() {
                0 => return String::from_utf8(text).unwrap(),
                n => text.extend_from_slice(&buffer[..n]),
            }
        }
    }

    #[tokio::test]
    async fn a_program_sees_a_terminal_of_the_given_size() {
        let mut command = Command::new("sh");
        command.args(["-c", "tty >/dev/null && stty size"]);
        let (mut child, pty) = spawn(command, Size { cols: 91, rows: 17 }).unwrap();
        assert_eq!(all_of(&pty).await.trim(), "17 91");
        assert!(child.wait().await.unwrap().success());
    }

    #[tokio::test]
    async fn keys_and_resizes_get_there() {
        let mut command = Command::new("sh");
        command.args(["-c", "read line; stty size; echo got $line"]);
        let (_child, pty) = spawn(command, Size { cols: 80, rows: 24 }).unwrap();
        pty.resize(Size { cols: 100, rows: 40 }).unwrap();
        pty.write_all(b"hello\r").await.unwrap();
        let text = all_of(&pty).await;
        assert!(text.contains("40 100"), "{text}");
        assert!(text.contains("got hello"), "{text}");
    }
}
