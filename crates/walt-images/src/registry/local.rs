//! What the store has already, and how an image comes into it or out of it (skopeo's `dir:` format and OCI layouts: files named by digest).

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::RemoteError;
use super::manifest::{Compressed, Descriptor, Document, Manifest};
use super::reference::Digest;
use crate::command::Command;
use crate::podman::{Podman, READ_DEADLINE};
use crate::{ImageId, catalogue};

/// Largest index of layers read, in bytes.
const INDEX_MAX: u64 = 256 << 20;
/// Deadline of a copy between the store and a directory: a slow disk and 100 GB.
const COPY_DEADLINE: Duration = Duration::from_secs(3 * 3600);
/// How containers/storage writes "gzip" in its index of layers.
const GZIP: u32 = 2;

/// The layers of the store.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// By digest of the uncompressed archive: forms it was downloaded in (gzip only).
    compressed: HashMap<Digest, Vec<Compressed>>,
    /// Digests of the compressed forms, however compressed.
    known: HashSet<Digest>,
}

impl Layers {
    /// Reads the store's index of layers. What cannot be read is as if it were not there: it is downloaded.
    pub async fn of(podman: &Podman) -> Self {
        let path = podman.graph_root().join("overlay-layers/layers.json");
        let read = tokio::task::spawn_blocking(move || {
            let small = std::fs::metadata(&path).is_ok_and(|found| found.len() <= INDEX_MAX);
            let bytes = small.then(|| std::fs::read(&path).ok()).flatten()?;
            Some(Self::parse(&bytes))
        });
        read.await.ok().flatten().unwrap_or_default()
    }

    fn parse(bytes: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Layer {
            #[serde(rename = "compressed-diff-digest")]
            digest: Option<String>,
            #[serde(rename = "compressed-size", default)]
            size: u64,
            #[serde(rename = "diff-digest")]
            diff_id: Option<String>,
            #[serde(default)]
            compression: u32,
            #[serde(default)]
            flags: serde_json::Map<String, serde_json::Value>,
        }
        let mut layers = Self::default();
        for layer in serde_json::from_slice::<Vec<Layer>>(bytes).unwrap_or_default() {
            let digest = |text: Option<String>| text.and_then(|text| text.parse::<Digest>().ok());
            let Some(diff_id) = digest(layer.diff_id) else { continue };
            if layer.flags.contains_key("incomplete") {
                continue;
            }
            let forms = layers.compressed.entry(diff_id.clone()).or_default();
            if let Some(digest) = digest(layer.digest)
                && digest != diff_id
            {
                let form = Compressed { digest: digest.clone(), size: layer.size };
                if layer.compression == GZIP && form.size > 0 && !forms.contains(&form) {
                    forms.push(form);
                }
                layers.known.insert(digest);
            }
        }
        layers
    }

    /// Whether the store surely has this layer of a manifest.
    pub fn has(&self, digest: &Digest) -> bool {
        self.known.contains(digest) || self.compressed.contains_key(digest)
    }

    /// Whether the store has the content of this layer, perhaps compressed otherwise.
    pub fn has_content(&self, diff_id: &Digest) -> bool {
        self.compressed.contains_key(diff_id)
    }

    /// Compressed forms of a layer that registries may have.
    pub fn forms(&self, diff_id: &Digest) -> &[Compressed] {
        self.compressed.get(diff_id).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Writes what a `dir:` needs beside the blobs.
pub(super) fn lay_out(
    dir: &Path,
    manifest: &[u8],
    config: &Descriptor,
    config_bytes: &[u8],
) -> Result<(), RemoteError> {
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        std::fs::write(&path, bytes).map_err(RemoteError::file(path))
    };
    write("version", b"Directory Transport Version: 1.1\n")?;
    write("manifest.json", manifest)?;
    write(config.digest.hex(), config_bytes)
}

/// Gives an image to the store under a name. `source` is in skopeo's words.
pub(super) async fn import(
    podman: &Podman,
    source: &str,
    tag: &str,
    work_dir: &Path,
) -> Result<ImageId, RemoteError> {
    skopeo(work_dir)
        .args(["copy", "--quiet", source])
        .arg(format!("{}{tag}", podman.skopeo_prefix()))
        .deadline(COPY_DEADLINE)
        .run()
        .await?;
    let answer =
        podman.run(&["image", "inspect", "--format", "{{.Id}}", tag], READ_DEADLINE).await?;
    let text = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    text.parse().map_err(|error: catalogue::CatalogueError| RemoteError::Answer {
        registry: "the image store".to_owned(),
        what: tag.to_owned(),
        problem: error.to_string(),
    })
}

/// An image of the store as it is in there.
#[derive(Debug)]
pub(super) struct Stored {
    pub manifest: Manifest,
    /// Byte for byte: its digest is the image's id.
    pub config: Vec<u8>,
}

/// Reads the manifest and the configuration of an image of the store.
pub(super) async fn read(
    podman: &Podman,
    id: &ImageId,
    work_dir: &Path,
) -> Result<Stored, RemoteError> {
    let problem = |problem: String| RemoteError::Answer {
        registry: "the image store".to_owned(),
        what: id.short().to_owned(),
        problem,
    };
    let source = format!("{}@{id}", podman.skopeo_prefix());
    let raw = |more: &'static [&'static str]| {
        skopeo(work_dir).args(["inspect", "--raw"]).args(more).arg(&source).run()
    };
    let config = raw(&["--config"]).await?.stdout;
    if Digest::of(&config) != Digest::of_id(id) {
        return Err(problem("its configuration is not the one its id names".to_owned()));
    }
    match Document::parse(&raw(&[]).await?.stdout, "").map_err(problem)? {
        Document::Manifest(manifest) => Ok(Stored { manifest: *manifest, config }),
        Document::Index(_) => Err(problem("an index".to_owned())),
    }
}

/// The file of a blob in an OCI layout (OCI image specification, `image-layout.md`).
pub(super) fn blob_file(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join("blobs/sha256").join(digest.hex())
}

/// Writes an image of the store in an OCI layout, its layers compressed. Answers its layers, the lowest first. Files that are
/// there under the digest of an uncompressed layer count as that layer done: it keeps that digest in the answer.
pub(super) async fn export(
    podman: &Podman,
    id: &ImageId,
    dir: &Path,
    work_dir: &Path,
) -> Result<Vec<Compressed>, RemoteError> {
    skopeo(work_dir)
        .args(["copy", "--quiet"])
        .arg(format!("{}@{id}", podman.skopeo_prefix()))
        .arg(format!("oci:{}:image", dir.display()))
        .deadline(COPY_DEADLINE)
        .run()
        .await?;
    #[derive(Deserialize)]
    struct Index {
        manifests: Vec<Descriptor>,
    }
    let path = dir.join("index.json");
    let bytes = std::fs::read(&path).map_err(RemoteError::file(&path))?;
    let wrong = |problem: String| RemoteError::file(&path)(std::io::Error::other(problem));
    let index: Result<Index, _> = serde_json::from_slice(&bytes);
    let first = index.map(|index| index.manifests.into_iter().next());
    let Ok(Some(first)) = first else { return Err(wrong("no manifest in it".to_owned())) };
    let file = blob_file(dir, &first.digest);
    let bytes = std::fs::read(&file).map_err(RemoteError::file(&file))?;
    match Document::parse(&bytes, "").map_err(wrong)? {
        Document::Manifest(manifest) => {
            let layer = |layer: Descriptor| Compressed { digest: layer.digest, size: layer.size };
            Ok(manifest.layers.into_iter().map(layer).collect())
        }
        Document::Index(_) => {
            Err(RemoteError::file(&file)(std::io::Error::other("an index, not an image")))
        }
    }
}

/// What it copies was verified by us, or is our own: signatures are nobody's business here.
fn skopeo(work_dir: &Path) -> Command {
    Command::new("skopeo").bound().arg("--insecure-policy").arg("--tmpdir").arg(work_dir)
}

/// Bytes free for us on the file system of a directory.
pub(super) fn free_bytes(dir: &Path) -> Result<u64, RemoteError> {
    let found = rustix::fs::statvfs(dir).map_err(|error| RemoteError::file(dir)(error.into()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn layers() {
        let digest = |letter: &str| format!("sha256:{}", letter.repeat(64));
        let (a, b, c, d) = (digest("a"), digest("b"), digest("c"), digest("d"));
        let text = format!(
            r#"[{{"id":"1","compressed-diff-digest":"{a}","compressed-size":7,"diff-digest":"{b}","diff-size":9,"compression":2}},
            {{"id":"2","compressed-diff-digest":"{c}","diff-digest":"{c}","compression":0}},
            {{"id":"3","compressed-diff-digest":"{d}","diff-digest":"{d}","flags":{{"incomplete":true}}}},
            {{"id":"4"}}]"#
        );
        let layers = Layers::parse(text.as_bytes());
        let digest = |text: &String| text.parse::<Digest>().unwrap();
        assert!(layers.has(&digest(&a)) && layers.has(&digest(&b)) && layers.has(&digest(&c)));
        assert!(!layers.has(&digest(&d)));
        assert_eq!(layers.forms(&digest(&b)), [Compressed { digest: digest(&a), size: 7 }]);
        assert!(layers.forms(&digest(&c)).is_empty() && layers.has_content(&digest(&c)));
        assert!(Layers::parse(b"nonsense").known.is_empty());
    }
}
