//! A command in a terminal of its own, as the user who asked.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::unistd::{Gid, Uid, chdir, geteuid, setgid, setgroups, setuid};
use rustix::termios::{LocalModes, OptionalActions, Winsize};

use super::asker::Asker;

/// Starts the command; gives also the daemon's end of its terminal.
///
/// # Errors
/// It cannot be started, or not as this user.
pub fn start(asker: &Asker, rows: u16, columns: u16) -> io::Result<(Child, OwnedFd)> {
    let pty = nix::pty::openpty(None, None)?;
    resize(&pty.master, rows, columns)?;
    let mut modes = rustix::termios::tcgetattr(&pty.slave)?;
    modes.local_modes.remove(LocalModes::ECHOCTL);
    rustix::termios::tcsetattr(&pty.slave, OptionalActions::Now, &modes)?;
    let Some((program, arguments)) = asker.command.split_first() else {
        return Err(io::Error::other("no command"));
    };
    let slave = || pty.slave.try_clone().map(Stdio::from);
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(asker.environment.iter().cloned());
    command.stdin(slave()?).stdout(slave()?).stderr(slave()?);
    let (uid, gid) = (Uid::from_raw(asker.uid), Gid::from_raw(asker.gid));
    let groups: Vec<Gid> = asker.groups.iter().copied().map(Gid::from_raw).collect();
    let folder = CString::new(asker.folder.as_bytes())?;
    let privileged = geteuid().is_root();
    if !privileged && uid != geteuid() {
        return Err(io::Error::other("this daemon cannot become another user"));
    }
    // SAFETY: between fork and exec only system calls are made, on values prepared before.
    unsafe {
        command.pre_exec(move || {
            rustix::process::setsid()?;
            rustix::process::ioctl_tiocsctty(BorrowedFd::borrow_raw(0))?;
            if privileged {
                setgroups(&groups)?;
                setgid(gid)?;
                setuid(uid)?;
            }
            // As this user: a folder that is closed to it stays so.
            if chdir(folder.as_c_str()).is_err() {
                chdir(c"/")?;
            }
            Ok(())
        });
    }
    let child = command.spawn()?;
    Ok((child, pty.master))
}

/// Gives the terminal another size.
///
/// # Errors
/// It is no terminal.
pub fn resize(terminal: impl AsFd, rows: u16, columns: u16) -> io::Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}
