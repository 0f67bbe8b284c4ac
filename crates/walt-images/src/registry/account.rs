//! The catalogue an account of the hub keeps of its WalT images: an image `<user>/walt_metadata` without content, whose label
//! `metadata` is base64 of JSON. It exists because reading the labels of all images of all accounts would take hours.
//!
//! `{"walt.user.images": {"<user>/<name>:<tag>": {"labels": {...}}}}`: the names are those on the hub.

use std::collections::BTreeMap;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::architecture::Wanted;
use super::http::Http;
use super::inspect::{self, pull_scope};
use super::manifest::{DOCKER_CONFIG, DOCKER_LAYER_GZIP, DOCKER_MANIFEST};
use super::reference::{Digest, Reference};
use super::session::Session;
use super::{Credentials, FoundImage, RemoteError, upload};

/// What the name of every catalogue ends with.
pub(super) const REPOSITORY_END: &str = "/walt_metadata";
const LABEL: &str = "metadata";
/// Another server may write at the same time: how often we look again whether our words are still there.
const WRITES: usize = 3;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Words {
    #[serde(rename = "walt.user.images", default)]
    images: BTreeMap<String, Entry>,
    /// What we do not know but keep.
    #[serde(flatten)]
    more: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(flatten)]
    more: BTreeMap<String, serde_json::Value>,
}

impl Words {
    /// Missing or unreadable words are none.
    fn of(label: Option<&String>) -> Self {
        let bytes = label.and_then(|text| STANDARD.decode(text).ok());
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    fn found(self) -> Vec<FoundImage> {
        let image = |(name, entry): (String, Entry)| {
            let image = name.parse().ok()?;
            Some(FoundImage { image, labels: entry.labels, created: None })
        };
        self.images
            .into_iter()
            .filter_map(image)
            .filter(|found| !found.models().is_empty())
            .collect()
    }
}

async fn words(
    http: &Http,
    user: &str,
    credentials: Option<&Credentials>,
) -> Result<Words, RemoteError> {
    let image: Reference = format!("{user}{REPOSITORY_END}").parse()?;
    let session = Session::new(http, credentials, vec![pull_scope(image.repository())]);
    match inspect::resolve(&session, &image, &Wanted::any()).await {
        Ok(resolved) => Ok(Words::of(resolved.image.labels.get(LABEL))),
        Err(RemoteError::NotFound { .. }) => Ok(Words::default()),
        Err(error) => Err(error),
    }
}

/// The WalT images an account says it has. Names of other accounts in it are left out: they would pass for theirs.
pub(super) async fn read(
    http: &Http,
    user: &str,
    credentials: Option<&Credentials>,
) -> Result<Vec<FoundImage>, RemoteError> {
    let found = words(http, user, credentials).await?.found();
    let own = |image: &FoundImage| image.image.repository().split('/').next() == Some(user);
    Ok(found.into_iter().filter(own).collect())
}

/// Adds one image.
pub(super) async fn add(
    http: &Http,
    image: &Reference,
    labels: &BTreeMap<String, String>,
    credentials: &Credentials,
) -> Result<(), RemoteError> {
    let user = image.repository().split('/').next().unwrap_or_default();
    let (name, labels) = (image.to_string(), labels.clone());
    for _ in 0..WRITES {
        let mut words = words(http, user, Some(credentials)).await?;
        if words.images.get(&name).is_some_and(|entry| entry.labels == labels) {
            return Ok(());
        }
        words.images.entry(name.clone()).or_default().labels = labels.clone();
        write(http, user, &words, credentials).await?;
    }
    // The last write may have been overtaken as well; the next publication, or a rescan, brings it back.
    Ok(())
}

/// Writes the whole catalogue of an account.
pub(super) async fn replace(
    http: &Http,
    user: &str,
    images: Vec<FoundImage>,
    credentials: &Credentials,
) -> Result<usize, RemoteError> {
    let entry = |found: FoundImage| {
        let entry = Entry { labels: found.labels, more: BTreeMap::new() };
        (found.image.to_string(), entry)
    };
    let mut words = words(http, user, Some(credentials)).await?;
    words.images = images.into_iter().map(entry).collect();
    write(http, user, &words, credentials).await?;
    Ok(words.images.len())
}

async fn write(
    http: &Http,
    user: &str,
    words: &Words,
    credentials: &Credentials,
) -> Result<(), RemoteError> {
    let image: Reference = format!("{user}{REPOSITORY_END}").parse()?;
    let what = image.to_string();
    let text = serde_json::to_vec(words).map_err(|error| http.answer(&what, error.to_string()))?;
    // Some registries refuse an image without layers: this one has an empty archive.
    let tar = [0_u8; 1024];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let layer = gzip.write_all(&tar).and_then(|()| gzip.finish());
    let layer = layer.map_err(|error| http.answer(&what, error.to_string()))?;
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "created": jiff::Timestamp::now().to_string(),
        "config": { "Labels": { LABEL: STANDARD.encode(text) } },
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&tar)] },
        "history": [{ "created_by": "walt" }],
    });
    let config = config.to_string().into_bytes();
    if config.len() as u64 > http.limits.document {
        let limit = http.limits.document;
        return Err(RemoteError::TooLarge { registry: http.label.clone(), what, limit });
    }
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": { "mediaType": DOCKER_CONFIG, "size": config.len(), "digest": Digest::of(&config) },
        "layers": [{ "mediaType": DOCKER_LAYER_GZIP, "size": layer.len(), "digest": Digest::of(&layer) }],
    });
    let session = Session::new(http, Some(credentials), vec![upload::push_scope(&image)]);
    for blob in [layer, config] {
        upload::small_blob(&session, image.repository(), blob).await?;
    }
    upload::manifest(&session, &image, manifest.to_string().into_bytes(), DOCKER_MANIFEST).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn catalogues() {
        let json = r#"{"walt.user.images":{
            "alice/pc:latest":{"labels":{"walt.node.models":"pc-x86-64"},"new":1},
            "alice/plain":{"labels":{}},
            "not a name":{"labels":{"walt.node.models":"pc-x86-64"}}},"other":[1]}"#;
        let words = Words::of(Some(&STANDARD.encode(json)));
        let again = serde_json::to_string(&words).unwrap();
        assert!(again.contains("\"other\":[1]") && again.contains("\"new\":1"), "{again}");
        let found = words.found();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].image.to_string(), "alice/pc:latest");
        for bad in ["", "%%%", "bm90IGpzb24="] {
            assert!(Words::of(Some(&bad.to_owned())).images.is_empty(), "{bad}");
        }
        assert!(Words::of(None).images.is_empty());
    }
}
