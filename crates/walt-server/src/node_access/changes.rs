//! What changed on a node, asked of the node itself.
//!
//! The script is ours and goes with each question: nothing of it need be in the image, and its version is always that of
//! this server. What comes back is not trusted.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use tokio::task::JoinHandle;
use walt_images::changes::{Moment, parse_moment};

use super::{Ssh, SshError};

const SCRIPT: &str = include_str!("changes.sh");
/// Limit on a question with a short answer.
const ANSWER: Duration = Duration::from_secs(120);
/// Most bytes of an answer: names of all files of an image.
const MAX_ANSWER: u64 = 256 << 20;
/// Most bytes of what it says on its standard error.
const MAX_ERRORS: u64 = 64 << 10;
/// Status of tar when a file changed while it was read.
const SOME_CHANGED: i32 = 1;

/// What a node says about the way it booted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct About {
    /// Id of the image, as the server wrote it in the root.
    pub image: String,
    /// When it was ready: what is older was made by its boot. None when all changes count.
    pub since: Option<Moment>,
    /// Whether its tar tells extended attributes and times of change.
    pub good_tar: bool,
    /// Bytes of its changes, about.
    pub bytes: u64,
    /// Bytes below `/local`, when that is on its disk.
    pub local: Option<u64>,
    /// Paths its boot removed.
    pub removed_by_boot: HashSet<Vec<u8>>,
}

/// The streams a node can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Changes of its root.
    Changes,
    /// Files of `/local`.
    Local,
}

/// Asks a node how it booted.
///
/// # Errors
/// It does not answer, or something unexpected.
pub async fn about(ssh: &Ssh, ip: Ipv4Addr) -> Result<About, SshError> {
    let answer = ask(ssh, ip, "about").await?;
    read_about(&answer).ok_or_else(|| SshError::Failed {
        ip,
        status: 0,
        stderr: "its answer is not understood".into(),
    })
}

/// Times of last change of its changed files, in seconds.
///
/// # Errors
/// It does not answer.
pub async fn times(ssh: &Ssh, ip: Ipv4Addr) -> Result<HashMap<Vec<u8>, i64>, SshError> {
    Ok(read_times(&ask(ssh, ip, "times").await?))
}

/// What its changed directories show.
///
/// # Errors
/// It does not answer.
pub async fn names(
    ssh: &Ssh,
    ip: Ipv4Addr,
) -> Result<HashMap<Vec<u8>, HashSet<Vec<u8>>>, SshError> {
    Ok(read_names(&ask(ssh, ip, "names").await?))
}

/// A node that sends something.
#[derive(Debug)]
pub struct Sending {
    child: Child,
    errors: JoinHandle<Vec<u8>>,
    ip: Ipv4Addr,
}

/// Starts sending a tar.
///
/// # Errors
/// ssh cannot be started.
pub async fn send(ssh: &Ssh, ip: Ipv4Addr, part: Part) -> Result<Sending, SshError> {
    let what = match part {
        Part::Changes => "changes",
        Part::Local => "local",
    };
    Sending::start(ssh, ip, what).await
}

impl Sending {
    async fn start(ssh: &Ssh, ip: Ipv4Addr, what: &str) -> Result<Self, SshError> {
        let remote = format!("/bin/busybox sh -s -- {what}");
        let mut command = ssh.command(ip, false, Some(&remote));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(SshError::Start)?;
        if let Some(mut stdin) = child.stdin.take() {
            // It fits in the pipe. A node that is not there is told by the status.
            let _ = stdin.write_all(SCRIPT.as_bytes()).await;
        }
        let stderr = child.stderr.take();
        let errors = tokio::spawn(async move {
            let mut said = Vec::new();
            if let Some(mut stderr) = stderr {
                let _ = (&mut stderr).take(MAX_ERRORS).read_to_end(&mut said).await;
                // What is beyond is read and dropped: the node must not wait for a reader.
                let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
            }
            said
        });
        Ok(Self { child, errors, ip })
    }

    /// What it sends, to be read by a thread.
    ///
    /// # Errors
    /// It was taken already.
    pub fn output(&mut self) -> Result<File, SshError> {
        let pipe = self.child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe);
        let pipe = pipe.map_err(|kind| SshError::Start(kind.into()))?;
        Ok(File::from(pipe.into_owned_fd().map_err(SshError::Start)?))
    }

    /// How it ended, once its output is read. True when some files changed meanwhile.
    ///
    /// # Errors
    /// The node was lost; its tar failed.
    pub async fn ended(mut self) -> Result<bool, SshError> {
        let status = self.child.wait().await.map_err(SshError::Start)?;
        let said = self.errors.await.unwrap_or_default();
        let stderr = String::from_utf8_lossy(&said).trim().to_owned();
        let ip = self.ip;
        match status.code() {
            Some(0) => Ok(false),
            Some(SOME_CHANGED) => Ok(true),
            Some(255) | None => Err(SshError::Unreachable { ip, why: stderr }),
            Some(status) => Err(SshError::Failed { ip, status, stderr }),
        }
    }
}

async fn ask(ssh: &Ssh, ip: Ipv4Addr, what: &str) -> Result<Vec<u8>, SshError> {
    let asked = async {
        let mut sending = Sending::start(ssh, ip, what).await?;
        let mut answer = Vec::new();
        if let Some(stdout) = sending.child.stdout.take() {
            let _ = stdout.take(MAX_ANSWER).read_to_end(&mut answer).await;
        }
        sending.ended().await?;
        Ok(answer)
    };
    tokio::time::timeout(ANSWER, asked).await.map_err(|_| SshError::Timeout { ip })?
}

fn lines(answer: &[u8]) -> impl Iterator<Item = &[u8]> {
    answer.split(|&byte| byte == b'\n')
}

/// A path as `find .` prints it.
fn path(text: &[u8]) -> Vec<u8> {
    text.strip_prefix(b"./").unwrap_or(text).to_vec()
}

fn read_about(answer: &[u8]) -> Option<About> {
    let mut about = About::default();
    let mut mode = None;
    let mut lines = lines(answer);
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        let (key, value) = std::str::from_utf8(line).ok()?.split_once('=')?;
        match key {
            "mode" => mode = Some(value),
            "image" => value.clone_into(&mut about.image),
            "since" => about.since = Some(parse_moment(value)?),
            "tar" => about.good_tar = value == "gnu",
            "bytes" => about.bytes = value.parse().ok()?,
            "local" => about.local = Some(value.parse().ok()?),
            _ => {}
        }
    }
    // Without a date, everything counts: only where that is meant.
    if about.since.is_none() != (mode? == "hybrid-persistent") {
        return None;
    }
    about.removed_by_boot = lines.filter(|line| !line.is_empty()).map(path).collect();
    Some(about)
}

fn read_times(answer: &[u8]) -> HashMap<Vec<u8>, i64> {
    let times = lines(answer).filter_map(|line| {
        let blank = line.iter().position(|&byte| byte == b' ')?;
        let seconds = std::str::from_utf8(&line[..blank]).ok()?.parse().ok()?;
        Some((path(&line[blank + 1..]), seconds))
    });
    times.collect()
}

fn read_names(answer: &[u8]) -> HashMap<Vec<u8>, HashSet<Vec<u8>>> {
    let mut names: HashMap<Vec<u8>, HashSet<Vec<u8>>> = HashMap::new();
    let mut directory = None;
    for line in lines(answer) {
        if let Some(name) = line.strip_prefix(b"D ") {
            let name = path(name);
            names.entry(name.clone()).or_default();
            directory = Some(name);
        } else if let Some(name) = line.strip_prefix(b"N ")
            && let Some(directory) = &directory
        {
            names.entry(directory.clone()).or_default().insert(name.to_vec());
        }
    }
    names
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let text = b"mode=network\nimage=abc\nsince=12.50\ntar=gnu\nbytes=4096\n\n./etc/x\n./a b\n";
        let about = read_about(text).unwrap();
        assert_eq!(about.since, Some((12, 500_000_000)));
        assert!(about.good_tar && about.local.is_none());
        assert!(about.removed_by_boot.contains(&b"a b"[..]));
        let persistent =
            read_about(b"mode=hybrid-persistent\nimage=abc\nbytes=1\nlocal=7\n\n").unwrap();
        assert_eq!((persistent.since, persistent.local), (None, Some(7)));
        for wrong in
            ["", "mode=network\nimage=a\nbytes=1\n\n", "mode\n\n", "mode=network\nsince=x\n\n"]
        {
            assert!(read_about(wrong.as_bytes()).is_none(), "{wrong}");
        }
        assert_eq!(read_times(b"12 ./a b\nx ./c\n\n")[&b"a b"[..]], 12);
        let names = read_names(b"N lost\nD ./etc\nN a\nN b c\nD ./empty\n");
        assert_eq!(names[&b"etc"[..]].len(), 2);
        assert!(names[&b"empty"[..]].is_empty());
    }

    #[test]
    fn the_script_fits_in_a_pipe() {
        assert!(SCRIPT.len() < 16 << 10);
    }
}
