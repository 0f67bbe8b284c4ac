//! Who asks for a command to be run, from what the kernel says of it.
//!
//! Anybody may write on the FIFO, and the daemon is root: nothing of a request is believed. The process it names must
//! be a `walt-log-monitor` of the user it names, and the FIFOs must belong to that user.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{CWD, Mode, OFlags, openat, readlinkat};

use super::{Request, is_monitor};

/// Most bytes of arguments or environment.
const MAX: u64 = 4 << 20;

/// A process that asks.
pub struct Asker {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its further groups.
    pub groups: Vec<u32>,
    /// The command, with its arguments.
    pub command: Vec<OsString>,
    /// Its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Where it is.
    pub folder: OsString,
}

/// Looks at the process of a request.
///
/// # Errors
/// It may not ask this.
pub fn look(request: Request) -> io::Result<Asker> {
    // All is read through one descriptor: the number cannot become another process meanwhile.
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let process = openat(CWD, format!("/proc/{}", request.pid), flags, Mode::empty())
        .map_err(|_| refused("no such process"))?;
    let status = read(&process, "status")?;
    let (uids, gids, groups) = identity(&String::from_utf8_lossy(&status));
    if uids.len() != 4 || uids.iter().any(|uid| *uid != request.uid) {
        return Err(refused("the process is not of that user"));
    }
    let gid = *gids.first().ok_or_else(|| refused("the process has no group"))?;
    let words = split(&read(&process, "cmdline")?);
    // `<shell> <...>/walt-log-monitor <command>...`, or our own program in the place of the shell.
    if !words.get(1).is_some_and(|word| is_monitor(word.as_bytes())) || words.len() < 3 {
        return Err(refused("the process is no walt-log-monitor"));
    }
    let environment = split(&read(&process, "environ")?)
        .into_iter()
        .filter_map(|entry| {
            let bytes = entry.as_bytes();
            let at = bytes.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
            Some((
                OsStr::from_bytes(&bytes[..at]).into(),
                OsStr::from_bytes(&bytes[at + 1..]).into(),
            ))
        })
        .collect();
    let folder = readlinkat(&process, "cwd", Vec::new())?;
    Ok(Asker {
        uid: request.uid,
        gid,
        groups,
        command: words[2..].to_vec(),
        environment,
        folder: OsString::from_vec(folder.into_bytes()),
    })
}

fn refused(why: &str) -> io::Error {
    io::Error::other(format!("MONITOR refused: {why}"))
}

fn read(process: &OwnedFd, name: &str) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = File::from(openat(process.as_fd(), name, flags, Mode::empty())?);
    let mut content = Vec::new();
    file.take(MAX).read_to_end(&mut content)?;
    Ok(content)
}

/// Users (real, effective, saved, of files), groups likewise, and further groups.
fn identity(status: &str) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_default()
            .split_ascii_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect()
    };
    (field("Uid:"), field("Gid:"), field("Groups:"))
}

fn split(content: &[u8]) -> Vec<OsString> {
    let content = content.strip_suffix(b"\0").unwrap_or(content);
    content.split(|byte| *byte == 0).map(|word| OsStr::from_bytes(word).into()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};

    /// A process that calls itself this way, until its input ends.
    fn process(second: &str) -> Child {
        let mut command = Command::new("/bin/sh");
        let script = "read -r line";
        let child = command.arg0("bash").args(["-c", script, "sh"]).env_clear();
        let child = child.env("A", "b=c").stdin(Stdio::piped());
        // `sh -c script` has the form `<shell> <second> <command>`: what is looked at is the second word.
        if second == "-c" {
            return child.spawn().unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let tool = folder.path().join(second);
        std::fs::write(&tool, "echo ready; read -r line\n").unwrap();
        let mut child = Command::new("/bin/sh")
            .arg(&tool)
            .args(["sleep", "7 s"])
            .env_clear()
            .env("A", "b=c")
            .current_dir("/usr")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        child
    }

    fn asked(pid: u32, uid: u32) -> io::Result<Asker> {
        look(Request { pid, uid, gid: 0, rows: 24, columns: 80 })
    }

    #[test]
    fn the_kernel_says_who_asks_what() {
        let uid = rustix::process::getuid().as_raw();
        let mut child = process("walt-log-monitor");
        let asker = asked(child.id(), uid).unwrap();
        assert_eq!(asker.command, ["sleep", "7 s"]);
        assert_eq!(asker.gid, rustix::process::getgid().as_raw());
        assert_eq!(asker.folder, "/usr");
        assert!(asker.environment.contains(&("A".into(), "b=c".into())));
        assert!(asked(child.id(), uid + 1).is_err(), "another user");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(asked(child.id(), uid).is_err(), "no process");
        let mut other = process("-c");
        assert!(asked(other.id(), uid).is_err(), "another program");
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn a_set_user_id_program_may_not_ask() {
        let (uids, gids, groups) =
            identity("Name:\tx\nUid:\t5\t0\t0\t0\nGid:\t7\t7\t7\t7\nGroups:\t7 8 \n");
        assert_eq!((uids, gids, groups), (vec![5, 0, 0, 0], vec![7; 4], vec![7, 8]));
    }
}
