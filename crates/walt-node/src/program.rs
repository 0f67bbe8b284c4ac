//! Other programs, and a private place for files: each wait is bounded.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The program of that name, where PATH says and where administrators' programs are.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|path| path.is_absolute() && path.is_file())
}

/// Runs a program to its end.
///
/// # Errors
/// It failed (with what it said), or did not end in time and was killed.
pub fn run(program: &Path, words: &[OsString], limit: Duration) -> Result<(), String> {
    let shown = program.file_name().unwrap_or_default().to_string_lossy();
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start {shown}: {error}"))?;
    let end = Instant::now() + limit;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{shown} did not end within {} s", limit.as_secs()));
            }
        }
    };
    if status.success() {
        return Ok(());
    }
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(2000).read_to_end(&mut said);
    }
    let said = String::from_utf8_lossy(&said);
    Err(format!("{shown} ended with {status}: {}", said.trim().replace('\n', "; ")))
}

/// Writes what is in memory to the disks and servers it belongs to, and waits for that so long at most.
pub fn sync(limit: Duration) {
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        rustix::fs::sync();
        let _ = done.send(());
    });
    let _ = wait.recv_timeout(limit);
}

/// A folder nobody else can look into, removed with its files at the end.
pub struct Folder(PathBuf);

impl Folder {
    /// A new one, its name beginning so.
    pub fn new(name: &str) -> io::Result<Self> {
        let path = nix::unistd::mkdtemp(&std::env::temp_dir().join(format!("{name}.XXXXXX")))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn programs() {
        let sh = find("sh").unwrap();
        let run = |text: &str, limit| run(&sh, &["-c".into(), text.into()], limit);
        let long = Duration::from_secs(60);
        assert_eq!(run("exit 0", long), Ok(()));
        let why = run("echo one >&2; echo two >&2; exit 3", long).unwrap_err();
        assert!(why.contains("one; two") && why.contains('3'), "{why}");
        assert!(
            run("exec sleep 100", Duration::from_millis(100)).unwrap_err().contains("did not end")
        );
        assert_eq!(find("no-such-program-anywhere"), None);
    }

    #[test]
    fn folders_go() {
        let folder = Folder::new("walt-test").unwrap();
        let path = folder.path().to_owned();
        std::fs::write(path.join("file"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
