//! A small HTTP server whose answers a test writes, and images made by hand for it.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use walt_images::registry::Digest;

/// A request as far as tests look at it.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// Path and query.
    pub path: String,
    pub headers: HashMap<String, String>,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Bytes of the body after which the connection is cut.
    pub cut: Option<usize>,
    /// No length is said, and the body is repeated until the client goes away.
    pub endless: bool,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), cut: None, endless: false }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

type Handler = dyn Fn(&Asked) -> Answer + Send + Sync;

pub struct Server {
    pub port: u16,
    /// All that was asked so far.
    pub asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub async fn new(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (shared, handler) = (asked.clone(), Arc::new(handler) as Arc<Handler>);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, handler.clone(), shared.clone()));
            }
        });
        Self { port, asked, task }
    }

    pub fn count(&self, start: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| asked.path.starts_with(start)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    stream: TcpStream,
    handler: Arc<Handler>,
    all: Arc<Mutex<Vec<Asked>>>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let mut words = line.split_whitespace();
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.ok()?;
            let Some((name, value)) = line.trim().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let asked = Asked { method, path, headers };
        let answer = handler(&asked);
        let head_only = asked.method == "HEAD";
        all.lock().unwrap().push(asked);
        let mut head = format!("HTTP/1.1 {} -\r\n", answer.status);
        for (name, value) in &answer.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !answer.endless {
            head += &format!("content-length: {}\r\n", answer.body.len());
        }
        head += "\r\n";
        stream.write_all(head.as_bytes()).await.ok()?;
        if head_only {
            continue;
        }
        if answer.endless {
            loop {
                stream.write_all(&answer.body).await.ok()?;
            }
        }
        let end = answer.cut.unwrap_or(answer.body.len());
        stream.write_all(&answer.body[..end]).await.ok()?;
        stream.flush().await.ok()?;
        answer.cut.is_none().then_some(())?;
    }
}

/// An image made by hand: everything a registry would answer for `x/img:latest`.
#[derive(Debug, Clone)]
pub struct Made {
    pub blobs: HashMap<String, Vec<u8>>,
    pub manifest: Vec<u8>,
    pub layer: Digest,
}

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl Made {
    /// With one layer: this tar archive.
    pub fn of(tar: &[u8], labels: serde_json::Value) -> Self {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(tar).unwrap();
        let layer = gzip.finish().unwrap();
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": { "Labels": labels },
            "rootfs": { "type": "layers", "diff_ids": [Digest::of(tar)] },
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json",
                "size": config.len(), "digest": Digest::of(&config) },
            "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "size": layer.len(), "digest": Digest::of(&layer) }],
        });
        let digest = Digest::of(&layer);
        let blobs = [config, layer].map(|blob| (Digest::of(&blob).to_string(), blob)).into();
        Self { blobs, manifest: manifest.to_string().into_bytes(), layer: digest }
    }

    /// An ordinary one: a file of `size` bytes that do not compress.
    pub fn ordinary(size: usize) -> Self {
        let mut tar = tar::Builder::new(Vec::new());
        let content = crate::support::noise(size);
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, "file", content.as_slice()).unwrap();
        Self::of(&tar.into_inner().unwrap(), json!({ "walt.node.models": "pc-x86-64" }))
    }

    /// With an entry of this name, whatever it is.
    pub fn with_entry(name: &[u8]) -> Self {
        Self::after(&[], name)
    }

    /// The same after these blocks of the archive.
    pub fn after(blocks: &[u8], name: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
        header.set_size(0);
        header.set_mode(0o644);
        header.set_cksum();
        let mut tar = [blocks, header.as_bytes()].concat();
        tar.extend([0; 1024]);
        Self::of(&tar, json!({ "walt.node.models": "pc-x86-64" }))
    }

    /// What an honest registry answers.
    pub fn answer(&self, asked: &Asked) -> Answer {
        let last = asked.path.rsplit('/').next().unwrap_or_default();
        if asked.path.contains("/manifests/") {
            return Answer::new(200, self.manifest.clone()).with("content-type", MANIFEST);
        }
        let Some(blob) = self.blobs.get(last) else { return Answer::new(404, "") };
        let from =
            asked.header("range").strip_prefix("bytes=").and_then(|text| text.strip_suffix('-'));
        match from.and_then(|text| text.parse::<usize>().ok()) {
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", blob.len() - 1, blob.len());
                Answer::new(206, &blob[from..]).with("content-range", &range)
            }
            None => Answer::new(200, blob.clone()),
        }
    }
}
