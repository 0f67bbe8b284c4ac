//! Blobs from a registry to files: streamed, resumed after a cut, verified.
//!
//! In the resume directory, `<hex>.part` is a partial download and `<hex>.blob` a verified one. Whoever works on a digest holds
//! a lock on `<hex>.lock`, so that two downloads of one blob follow each other and the second finds it done.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Response, StatusCode};
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::RemoteError;
use super::manifest::Descriptor;
use super::reference::Digest;
use super::session::{Request, Session};

/// A try that gets at least this much further than all before it does not count as failed.
pub(super) const PROGRESS: u64 = 1 << 20;
/// Wait between two looks at a lock that somebody else has.
const LOCK_POLL: Duration = Duration::from_millis(200);
/// Pieces that wait to be written.
const QUEUE: usize = 16;

/// Bytes over all blobs of an image.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// That came now.
    pub downloaded: AtomicU64,
    /// That are there: those that came now, and those of earlier tries.
    pub present: AtomicU64,
}

/// A verified blob, locked while this lives.
#[derive(Debug)]
pub(super) struct Blob {
    pub path: PathBuf,
    lock: PathBuf,
    _held: Arc<OwnedFd>,
}

impl Blob {
    /// It is not needed any more.
    pub fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_file(&self.lock);
    }
}

/// Downloads a blob of a repository, or finds it.
pub(super) async fn fetch(
    session: &Session<'_>,
    repository: &str,
    blob: &Descriptor,
    dir: &Path,
    counters: &Counters,
    moved: &(dyn Fn() + Send + Sync),
) -> Result<Blob, RemoteError> {
    let name = |ending: &str| dir.join(format!("{}.{ending}", blob.digest.hex()));
    let (lock, held) = hold(&name("lock")).await?;
    let held = Arc::new(held);
    let done = Blob { path: name("blob"), lock, _held: held.clone() };
    if std::fs::metadata(&done.path).is_ok_and(|found| found.len() == blob.size) {
        counters.present.fetch_add(blob.size, Ordering::Relaxed);
        moved();
        return Ok(done);
    }
    let part = name("part");
    let mut resumed = download(session, repository, blob, (&part, &held), counters, moved).await;
    if matches!(&resumed, Err(Ended { kept: true, error: RemoteError::WrongDigest { .. } })) {
        // What an earlier try left may be wrong (a power cut): once more, from the start.
        resumed = download(session, repository, blob, (&part, &held), counters, moved).await;
    }
    resumed.map_err(|ended| ended.error)?;
    std::fs::rename(&part, &done.path).map_err(RemoteError::file(&done.path))?;
    Ok(done)
}

/// Waits for the lock of a blob.
async fn hold(path: &Path) -> Result<(PathBuf, OwnedFd), RemoteError> {
    loop {
        let open = std::fs::File::options().create(true).truncate(false).write(true).open(path);
        let file: OwnedFd = open.map_err(RemoteError::file(path))?.into();
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // Its last owner may have removed it between our two steps.
            Ok(()) if same_file(&file, path) => return Ok((path.to_owned(), file)),
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => tokio::time::sleep(LOCK_POLL).await,
            Err(error) => return Err(RemoteError::file(path)(error.into())),
        }
    }
}

fn same_file(file: &OwnedFd, path: &Path) -> bool {
    let (Ok(ours), Ok(there)) = (rustix::fs::fstat(file), rustix::fs::stat(path)) else {
        return false;
    };
    (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)
}

/// Why a download ended.
struct Ended {
    error: RemoteError,
    /// Whether it went on from what an earlier one left.
    kept: bool,
}

/// Brings the whole blob in `part`.
async fn download(
    session: &Session<'_>,
    repository: &str,
    blob: &Descriptor,
    (part, held): (&Path, &Arc<OwnedFd>),
    counters: &Counters,
    moved: &(dyn Fn() + Send + Sync),
) -> Result<(), Ended> {
    let http = session.http;
    let what = format!("layer {}", blob.digest.short());
    let end = |error| Ended { error, kept: false };
    let url = http.url(&format!("v2/{repository}/blobs/{}", blob.digest)).map_err(end)?;
    let mut sink = Sink::open(part, blob.size, held.clone()).await.map_err(end)?;
    let kept = sink.length > 0;
    let end = |error| Ended { error, kept };
    counters.present.fetch_add(sink.length, Ordering::Relaxed);
    moved();
    let mut tries = 1;
    // A registry without Range begins anew each time: what it brings again is no progress.
    let mut best = sink.length;
    while sink.length < blob.size {
        let before = sink.length;
        let range = [(RANGE.as_str(), format!("bytes={before}-"))];
        let request = Request {
            headers: if before > 0 { &range } else { &[] },
            expected: if before > 0 { &[StatusCode::RANGE_NOT_SATISFIABLE] } else { &[] },
            ..Request::get(url.clone(), &what)
        };
        let mut response = session.send(&request).await.map_err(end)?;
        if !goes_on(&response, before) {
            counters.present.fetch_sub(before, Ordering::Relaxed);
            sink.restart().await.map_err(end)?;
            if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
                continue;
            }
        }
        let failure = loop {
            match http.chunk(&mut response).await {
                Ok(Some(chunk)) => {
                    if sink.length + chunk.len() as u64 > blob.size {
                        sink.forget();
                        let (registry, limit) = (http.label.clone(), blob.size);
                        return Err(end(RemoteError::TooLarge { registry, what, limit }));
                    }
                    counters.downloaded.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                    counters.present.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                    sink.write(chunk).await.map_err(end)?;
                    moved();
                }
                Ok(None) => break None,
                Err(failure) => break Some(failure),
            }
        };
        if sink.length == blob.size {
            break;
        }
        if sink.length >= best + PROGRESS {
            best = sink.length;
            tries = 1;
        }
        let cut = RemoteError::Cut {
            registry: http.label.clone(),
            what: what.clone(),
            detail: failure.map_or("it ended too early".to_owned(), |failure| failure.reason()),
        };
        let Some(wait) = http.wait_before_next(tries, None) else {
            sink.keep().await.map_err(end)?;
            return Err(end(cut));
        };
        tracing::debug!(error = %cut, at = sink.length, "resuming");
        tokio::time::sleep(wait).await;
        tries += 1;
    }
    let got = sink.finish().await.map_err(end)?;
    if got != blob.digest {
        let _ = std::fs::remove_file(part);
        let (registry, expected) = (http.label.clone(), blob.digest.clone());
        return Err(end(RemoteError::WrongDigest { registry, what, expected, got }));
    }
    Ok(())
}

/// Whether an answer starts at byte `at`.
fn goes_on(response: &Response, at: u64) -> bool {
    if at == 0 {
        return true;
    }
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    response.status() == StatusCode::PARTIAL_CONTENT
        && range.is_some_and(|range| range.starts_with(&format!("bytes {at}-")))
}

enum Order {
    Write(Bytes),
    Restart,
}

/// A file being written and hashed on a thread of its own.
struct Sink {
    path: PathBuf,
    /// Bytes given to it.
    length: u64,
    orders: Option<mpsc::Sender<Order>>,
    thread: tokio::task::JoinHandle<std::io::Result<Digest>>,
}

impl Sink {
    /// Opens a partial file, reads what it holds already.
    async fn open(path: &Path, most: u64, held: Arc<OwnedFd>) -> Result<Self, RemoteError> {
        let own = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || open_partial(&own, most)).await;
        let (file, hash, length) = joined(opened, path)?;
        let (orders, received) = mpsc::channel(QUEUE);
        // The lock lasts as long as the thread: a download given up may still have pieces to write.
        let thread = tokio::task::spawn_blocking(move || {
            let result = write_all(file, hash, received);
            drop(held);
            result
        });
        Ok(Self { path: path.to_owned(), length, orders: Some(orders), thread })
    }

    async fn order(&mut self, order: Order) -> Result<(), RemoteError> {
        let sent = match &self.orders {
            Some(orders) => orders.send(order).await.is_ok(),
            None => false,
        };
        if sent { Ok(()) } else { self.end().await.map(drop) }
    }

    async fn write(&mut self, chunk: Bytes) -> Result<(), RemoteError> {
        self.length += chunk.len() as u64;
        self.order(Order::Write(chunk)).await
    }

    async fn restart(&mut self) -> Result<(), RemoteError> {
        self.length = 0;
        self.order(Order::Restart).await
    }

    /// Waits until everything is written.
    async fn end(&mut self) -> Result<Digest, RemoteError> {
        self.orders = None;
        joined((&mut self.thread).await, &self.path)
    }

    async fn keep(mut self) -> Result<(), RemoteError> {
        self.end().await.map(drop)
    }

    async fn finish(mut self) -> Result<Digest, RemoteError> {
        self.end().await
    }

    /// Its content is of no use.
    fn forget(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn joined<T>(
    result: Result<std::io::Result<T>, tokio::task::JoinError>,
    path: &Path,
) -> Result<T, RemoteError> {
    result.map_err(std::io::Error::other).and_then(|inner| inner).map_err(RemoteError::file(path))
}

fn open_partial(path: &Path, most: u64) -> std::io::Result<(std::fs::File, Sha256, u64)> {
    let mut file =
        std::fs::File::options().create(true).truncate(false).read(true).write(true).open(path)?;
    if file.metadata()?.len() > most {
        file.set_len(0)?;
    }
    let mut hash = Sha256::new();
    let mut length = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((file, hash, length));
        }
        hash.update(&buffer[..count]);
        length += count as u64;
    }
}

fn write_all(
    mut file: std::fs::File,
    mut hash: Sha256,
    mut orders: mpsc::Receiver<Order>,
) -> std::io::Result<Digest> {
    while let Some(order) = orders.blocking_recv() {
        match order {
            Order::Write(chunk) => {
                file.write_all(&chunk)?;
                hash.update(&chunk);
            }
            Order::Restart => {
                file.set_len(0)?;
                file.seek(SeekFrom::Start(0))?;
                hash = Sha256::new();
            }
        }
    }
    Ok(Digest::from_hash(hash.finalize().as_slice()))
}

/// Removes what downloads left in a resume directory and nobody came back for. Answers how many bytes that was.
pub(super) fn clean(dir: &Path, older_than: Duration) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let mut freed = 0;
    for path in entries.flatten().map(|entry| entry.path()) {
        let ours =
            path.extension().is_some_and(|end| end == "part" || end == "blob" || end == "lock");
        let Ok(found) = std::fs::symlink_metadata(&path) else { continue };
        let age = found.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        if !ours || age.is_none_or(|age| age < older_than) {
            continue;
        }
        // Not one that is in use.
        let lock = path.with_extension("lock");
        let free = std::fs::File::options().create(true).truncate(false).write(true).open(&lock);
        let Ok(free) = free else { continue };
        if flock(&free, FlockOperation::NonBlockingLockExclusive).is_ok() {
            if std::fs::remove_file(&path).is_ok() {
                freed += found.len();
            }
            let _ = std::fs::remove_file(&lock);
        }
    }
    freed
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_file_goes_on_and_starts_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.part");
        let held = Arc::new(hold(&dir.path().join("x.lock")).await.unwrap().1);
        let open = |most| Sink::open(&path, most, held.clone());
        let mut sink = open(10).await.unwrap();
        sink.write(Bytes::from_static(b"hello")).await.unwrap();
        sink.keep().await.unwrap();
        let mut sink = open(10).await.unwrap();
        assert_eq!(sink.length, 5);
        sink.write(Bytes::from_static(b"world")).await.unwrap();
        assert_eq!(sink.finish().await.unwrap(), Digest::of(b"helloworld"));
        let mut sink = open(10).await.unwrap();
        sink.restart().await.unwrap();
        sink.write(Bytes::from_static(b"x")).await.unwrap();
        assert_eq!(sink.finish().await.unwrap(), Digest::of(b"x"));
        assert_eq!(std::fs::read(&path).unwrap(), b"x");
        // Longer than the blob: of no use.
        assert_eq!(open(0).await.unwrap().length, 0);
    }

    #[tokio::test]
    async fn only_old_files_nobody_uses_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, "abc").unwrap();
            path
        };
        let (free, used, other) = (file("a.part"), file("b.part"), file("c.txt"));
        let (_, held) = hold(&dir.path().join("b.lock")).await.unwrap();
        assert_eq!(clean(dir.path(), Duration::from_secs(3600)), 0);
        assert_eq!(clean(dir.path(), Duration::ZERO), 3);
        assert!(!free.exists() && used.exists() && other.exists());
        drop(held);
        clean(dir.path(), Duration::ZERO);
        assert!(!used.exists() && other.exists());
    }
}
