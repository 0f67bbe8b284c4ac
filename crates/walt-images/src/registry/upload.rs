//! Blobs and manifests to a registry.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::Stream;
use reqwest::header::{LOCATION, RANGE};
use reqwest::{Body, Method, Response, StatusCode, Url};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::RemoteError;
use super::blob::PROGRESS;
use super::reference::{Digest, Reference};
use super::session::{Request, Session};

/// Bytes read from the disk at once.
const CHUNK: usize = 128 << 10;

/// Rights needed to write a repository.
pub(super) fn push_scope(image: &Reference) -> String {
    format!("repository:{}:pull,push", image.repository())
}

/// A blob to upload.
#[derive(Debug)]
pub(super) struct Upload<'u> {
    pub digest: &'u Digest,
    pub path: PathBuf,
    pub size: u64,
}

/// Whether a repository has a blob, and of which size.
pub(super) async fn has(
    session: &Session<'_>,
    repository: &str,
    digest: &Digest,
) -> Result<Option<u64>, RemoteError> {
    let http = session.http;
    let what = format!("layer {}", digest.short());
    let request = Request {
        expected: &[StatusCode::NOT_FOUND],
        ..Request::new(Method::HEAD, http.url(&format!("v2/{repository}/blobs/{digest}"))?, &what)
    };
    let response = session.send(&request).await?;
    if response.status() == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let length = response.headers().get(reqwest::header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse().ok());
    // A registry that does not say the size is believed to have the blob: the manifest's check comes last anyway.
    Ok(Some(length.unwrap_or(0)))
}

/// Asks the registry to take a blob from another of its repositories. True when it did.
pub(super) async fn mount(
    session: &Session<'_>,
    repository: &str,
    digest: &Digest,
    from: &str,
) -> Result<bool, RemoteError> {
    let http = session.http;
    let what = format!("layer {}", digest.short());
    let url = http.url(&format!("v2/{repository}/blobs/uploads/?mount={digest}&from={from}"))?;
    let request = Request {
        headers: &[("content-length", "0".to_owned())],
        ..Request::new(Method::POST, url, &what)
    };
    let response = session.send(&request).await?;
    if response.status() == StatusCode::CREATED {
        return Ok(true);
    }
    // It opened an upload instead, which nobody will use.
    if let Ok(location) = location(session, &response, &what) {
        let cancel = Request { tries: Some(1), ..Request::new(Method::DELETE, location, &what) };
        let _ = session.send(&cancel).await;
    }
    Ok(false)
}

/// Uploads a blob from its file. `sent` counts its bytes, `moved` is called when they change.
pub(super) async fn blob(
    session: &Session<'_>,
    repository: &str,
    upload: &Upload<'_>,
    moved: &Arc<dyn Fn(i64) + Send + Sync>,
) -> Result<(), RemoteError> {
    let http = session.http;
    let what = format!("layer {}", upload.digest.short());
    let mut url = open(session, repository, &what).await?;
    let (mut done, mut best) = (0, 0);
    let mut tries = 1;
    while done < upload.size {
        let sent = Arc::new(AtomicU64::new(0));
        let body = || {
            let (path, sent, moved) = (upload.path.clone(), sent.clone(), moved.clone());
            Body::wrap_stream(pieces(path, done, sent, moved))
        };
        let mut headers = vec![
            ("content-type", "application/octet-stream".to_owned()),
            ("content-length", (upload.size - done).to_string()),
        ];
        if done > 0 {
            headers.push(("content-range", format!("{done}-{}", upload.size - 1)));
        }
        let request = Request {
            headers: &headers,
            body: Some(&body),
            sent: Some(&*sent),
            tries: Some(1),
            ..Request::new(Method::PATCH, url.clone(), &what)
        };
        let error = match session.send(&request).await {
            Ok(response) => {
                url = location(session, &response, &what)?;
                break;
            }
            Err(error) => error,
        };
        // What was counted may not have arrived.
        let counted = sent.load(Ordering::Relaxed);
        let passes = matches!(
            error,
            RemoteError::Cut { .. }
                | RemoteError::Unreachable { .. }
                | RemoteError::Fault { .. }
                | RemoteError::TooManyRequests { .. }
        );
        let asked = match &error {
            RemoteError::TooManyRequests { wait, .. } => *wait,
            _ => None,
        };
        let Some(wait) = http.wait_before_next(tries, asked).filter(|_| passes) else {
            return Err(error);
        };
        tracing::debug!(%error, "resuming an upload");
        tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
        tries += 1;
        let before = done;
        match arrived(session, &url, &what).await {
            Some((there, next)) if there <= upload.size => {
                done = there;
                url = next;
            }
            _ => {
                url = open(session, repository, &what).await?;
                done = 0;
            }
        }
        if done >= best + PROGRESS {
            best = done;
            tries = 1;
        }
        moved(signed(done) - signed(before + counted));
    }
    close(session, url, upload.digest, &what).await
}

/// Uploads a few bytes, unless they are there.
pub(super) async fn small_blob(
    session: &Session<'_>,
    repository: &str,
    bytes: Vec<u8>,
) -> Result<(), RemoteError> {
    let digest = Digest::of(&bytes);
    let what = format!("blob {}", digest.short());
    if has(session, repository, &digest).await?.is_some() {
        return Ok(());
    }
    let url = open(session, repository, &what).await?;
    let bytes = bytes::Bytes::from(bytes);
    let body = || Body::from(bytes.clone());
    let request = Request {
        headers: &[("content-type", "application/octet-stream".to_owned())],
        body: Some(&body),
        ..Request::new(Method::PATCH, url, &what)
    };
    let response = session.send(&request).await?;
    close(session, location(session, &response, &what)?, &digest, &what).await
}

/// Writes a manifest under its tag: from here on the name means the new image.
pub(super) async fn manifest(
    session: &Session<'_>,
    image: &Reference,
    bytes: Vec<u8>,
    media_type: &str,
) -> Result<Digest, RemoteError> {
    let http = session.http;
    let what = format!("the manifest of {image}");
    let expected = Digest::of(&bytes);
    let path = format!("v2/{}/manifests/{}", image.repository(), image.version_word());
    let bytes = bytes::Bytes::from(bytes);
    let body = || Body::from(bytes.clone());
    let request = Request {
        headers: &[("content-type", media_type.to_owned())],
        body: Some(&body),
        ..Request::new(Method::PUT, http.url(&path)?, &what)
    };
    let response = session.send(&request).await?;
    let said = response.headers().get("docker-content-digest");
    let said = said.and_then(|value| value.to_str().ok()?.parse::<Digest>().ok());
    match said {
        Some(got) if got != expected => {
            Err(RemoteError::WrongDigest { registry: http.label.clone(), what, expected, got })
        }
        _ => Ok(expected),
    }
}

/// Opens an upload: its address.
async fn open(session: &Session<'_>, repository: &str, what: &str) -> Result<Url, RemoteError> {
    let request = Request {
        headers: &[("content-length", "0".to_owned())],
        ..Request::new(
            Method::POST,
            session.http.url(&format!("v2/{repository}/blobs/uploads/"))?,
            what,
        )
    };
    let response = session.send(&request).await?;
    location(session, &response, what)
}

/// Ends an upload: the registry verifies it.
async fn close(
    session: &Session<'_>,
    mut url: Url,
    digest: &Digest,
    what: &str,
) -> Result<(), RemoteError> {
    url.query_pairs_mut().append_pair("digest", digest.as_str());
    let request = Request {
        headers: &[("content-length", "0".to_owned())],
        ..Request::new(Method::PUT, url, what)
    };
    session.send(&request).await.map(drop)
}

/// How many bytes of an upload arrived, and where it goes on; `None` when the registry forgot it.
async fn arrived(session: &Session<'_>, url: &Url, what: &str) -> Option<(u64, Url)> {
    let response = session.send(&Request::get(url.clone(), what)).await.ok()?;
    let next = location(session, &response, what).unwrap_or_else(|_| url.clone());
    let range = response.headers().get(RANGE)?.to_str().ok()?;
    let last: u64 = range.trim_start_matches("bytes=").strip_prefix("0-")?.parse().ok()?;
    // `0-0` is written for nothing as well as for one byte: from the start, then.
    Some((if last == 0 { 0 } else { last + 1 }, next))
}

fn location(session: &Session<'_>, response: &Response, what: &str) -> Result<Url, RemoteError> {
    let given = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let given = given.ok_or_else(|| session.http.answer(what, "no address to upload to"))?;
    session.http.given_url(response.url(), given, what)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The bytes of a file from a position on.
fn pieces(
    path: PathBuf,
    from: u64,
    sent: Arc<AtomicU64>,
    moved: Arc<dyn Fn(i64) + Send + Sync>,
) -> impl Stream<Item = io::Result<Vec<u8>>> + Send {
    futures_util::stream::try_unfold(None, move |file| {
        let (path, sent, moved) = (path.clone(), sent.clone(), moved.clone());
        async move {
            let mut file = match file {
                Some(file) => file,
                None => opened(&path, from).await?,
            };
            let mut piece = Vec::with_capacity(CHUNK);
            (&mut file).take(CHUNK as u64).read_to_end(&mut piece).await?;
            if piece.is_empty() {
                return Ok(None);
            }
            sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
            moved(signed(piece.len() as u64));
            Ok(Some((piece, Some(file))))
        }
    })
}

async fn opened(path: &Path, from: u64) -> io::Result<tokio::fs::File> {
    let mut file = tokio::fs::File::open(path).await?;
    file.seek(io::SeekFrom::Start(from)).await?;
    Ok(file)
}
