//! How the swap program and the server talk: lines on a Unix socket that the program listens on.
//!
//! | the server says first | then |
//! | --- | --- |
//! | `answer` | the program says which build it is; from then on it asks and the server answers |
//! | `retire` | the program ends once no node has swap space |
//! | `end` | the program ends now |
//!
//! Questions: `owner <ip>`, answered by `<mac> <boot_ms>` or `-`; `exists <mac>`, answered by `yes` or `no`.

use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;
use walt_model::Mac;

use super::{Owner, Owners};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// How long a server that is away is waited for.
const AWAY: Duration = Duration::from_secs(15);

/// Longest line.
const LINE_MAX: u64 = 256;

/// Where the socket is.
pub(super) fn socket(run_dir: &Path) -> PathBuf {
    run_dir.join("swap.sock")
}

/// Which build of the server this process is: a program of another build is replaced when it is free.
pub(super) fn build() -> String {
    let Ok(file) = std::fs::metadata("/proc/self/exe") else { return "unknown".to_owned() };
    format!("{}-{}-{}-{}", file.dev(), file.ino(), file.mtime(), file.mtime_nsec())
}

/// A line, without its end; an error at the end of the connection.
pub(super) async fn read_line(stream: &mut BufStream<UnixStream>) -> io::Result<String> {
    let mut line = String::new();
    let read = (&mut *stream).take(LINE_MAX).read_line(&mut line).await?;
    if read == 0 || !line.ends_with('\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    line.pop();
    Ok(line)
}

/// Sends a line.
pub(super) async fn write_line(stream: &mut BufStream<UnixStream>, line: &str) -> io::Result<()> {
    stream.write_all(line.as_bytes()).await?;
    stream.write_all(b"\n").await?;
    stream.flush().await
}

/// The program's end: the server, when it is there.
#[derive(Debug, Default)]
pub(super) struct Link {
    server: Mutex<Option<BufStream<UnixStream>>>,
    arrived: Notify,
}

impl Link {
    /// A server is there; the one before is gone.
    pub(super) async fn set(&self, stream: BufStream<UnixStream>) {
        *self.server.lock().await = Some(stream);
        self.arrived.notify_waiters();
    }

    /// Asks; waits for a server that is away.
    async fn ask(&self, question: &str) -> io::Result<String> {
        let asking = async {
            loop {
                let arrived = self.arrived.notified();
                if let Some(answer) = self.ask_now(question).await {
                    return answer;
                }
                arrived.await;
            }
        };
        timeout(AWAY, asking).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))
    }

    async fn ask_now(&self, question: &str) -> Option<String> {
        let mut server = self.server.lock().await;
        let stream = server.as_mut()?;
        let exchange = async {
            write_line(stream, question).await?;
            read_line(stream).await
        };
        match timeout(ANSWER, exchange).await {
            Ok(Ok(answer)) => Some(answer),
            // A late answer must not pass for the next one.
            _ => {
                *server = None;
                None
            }
        }
    }
}

impl Owners for Link {
    fn owner(&self, ip: Ipv4Addr) -> BoxFuture<'_, Result<Option<Owner>, String>> {
        Box::pin(async move {
            let answer = self.ask(&format!("owner {ip}")).await;
            let answer = answer.map_err(|_| "the server is away".to_owned())?;
            Ok(parse_owner(&answer))
        })
    }

    fn exists(&self, mac: Mac) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            self.ask_now(&format!("exists {mac}")).await.is_none_or(|answer| answer != "no")
        })
    }
}

fn parse_owner(answer: &str) -> Option<Owner> {
    let (mac, boot_ms) = answer.split_once(' ')?;
    Some(Owner { mac: mac.parse().ok()?, boot_ms: boot_ms.parse().ok()? })
}

/// The server's answer to a question.
pub(super) async fn answer(owners: &dyn Owners, question: &str) -> String {
    match question.split_once(' ') {
        Some(("owner", ip)) => {
            let owner = match ip.parse() {
                Ok(ip) => owners.owner(ip).await.ok().flatten(),
                Err(_) => None,
            };
            owner.map_or("-".to_owned(), |owner| format!("{} {}", owner.mac, owner.boot_ms))
        }
        Some(("exists", mac)) => match mac.parse() {
            Ok(mac) if !owners.exists(mac).await => "no".to_owned(),
            _ => "yes".to_owned(),
        },
        _ => "?".to_owned(),
    }
}
