//! Manifests, indexes and configurations of images (OCI image specification 1.1; Docker image manifest version 2, schema 2).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::architecture::Architecture;
use super::reference::Digest;

/// Media types we can read.
pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1";
/// Compressed layers, as manifests call them.
pub(super) const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(super) const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
pub(super) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// All of them, for the header `Accept`.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

/// A layer as some registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Compressed {
    pub digest: Digest,
    pub size: u64,
}

/// Something stored by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Descriptor {
    #[serde(rename = "mediaType", default)]
    pub media_type: String,
    pub size: u64,
    pub digest: Digest,
    /// What we do not read but give back.
    #[serde(flatten)]
    pub more: BTreeMap<String, serde_json::Value>,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    #[serde(rename = "schemaVersion")]
    pub schema_version: u32,
    #[serde(rename = "mediaType", default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    /// What we do not read but give back.
    #[serde(flatten)]
    pub more: BTreeMap<String, serde_json::Value>,
}

impl Manifest {
    /// Its media type, said or deduced.
    pub fn media_type(&self) -> &str {
        match self.media_type.as_str() {
            "" if self.config.media_type == DOCKER_CONFIG => DOCKER_MANIFEST,
            "" => OCI_MANIFEST,
            said => said,
        }
    }

    /// The manifest of an image in the format of another manifest (`like`), with its annotations.
    pub fn written(like: &Self, config: &[u8], layers: Vec<Compressed>) -> Self {
        let docker = like.media_type() == DOCKER_MANIFEST;
        let (media_type, config_type, layer_type) = if docker {
            (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER_GZIP)
        } else {
            (OCI_MANIFEST, OCI_CONFIG, OCI_LAYER_GZIP)
        };
        let descriptor = |media_type: &str, digest, size| Descriptor {
            media_type: media_type.to_owned(),
            size,
            digest,
            more: BTreeMap::new(),
        };
        let annotations = like.more.iter().filter(|(key, _)| !docker && *key == "annotations");
        Self {
            schema_version: 2,
            media_type: media_type.to_owned(),
            config: descriptor(config_type, Digest::of(config), config.len() as u64),
            layers: layers
                .into_iter()
                .map(|layer| descriptor(layer_type, layer.digest, layer.size))
                .collect(),
            more: annotations.map(|(key, value)| (key.clone(), value.clone())).collect(),
        }
    }

    /// Bytes of its layers, compressed as they are.
    pub fn size(&self) -> u64 {
        self.layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.size))
    }
}

/// One image of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offered {
    pub architecture: Architecture,
    pub digest: Digest,
}

/// What a name of a registry stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Document {
    Manifest(Box<Manifest>),
    Index(Vec<Offered>),
}

impl Document {
    /// Reads a document. `content_type` is what the registry says it is: used when the document does not say it itself.
    pub fn parse(bytes: &[u8], content_type: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(rename = "schemaVersion", default)]
            schema_version: u32,
            #[serde(rename = "mediaType", default)]
            media_type: String,
            #[serde(default)]
            manifests: Option<serde::de::IgnoredAny>,
            #[serde(default)]
            layers: Option<serde::de::IgnoredAny>,
        }
        let head: Head = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if head.schema_version == 1 || content_type.starts_with(DOCKER_SCHEMA1) {
            return Err(
                "it is in a format of before 2017 (schema 1), push it again with a recent tool"
                    .to_owned(),
            );
        }
        if head.manifests.is_some() && head.layers.is_some() {
            return Err("it is an index and an image at the same time".to_owned());
        }
        let said = if head.media_type.is_empty() {
            content_type.split(';').next().unwrap_or_default().trim()
        } else {
            head.media_type.as_str()
        };
        let is_index = match said {
            OCI_INDEX | DOCKER_LIST => true,
            OCI_MANIFEST | DOCKER_MANIFEST => false,
            _ => head.manifests.is_some(),
        };
        if is_index { Self::index(bytes) } else { Self::manifest(bytes) }
    }

    fn index(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Index {
            manifests: Vec<Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            #[serde(rename = "mediaType", default)]
            media_type: String,
            digest: Digest,
            platform: Option<Words>,
        }
        #[derive(Deserialize)]
        struct Words {
            architecture: String,
            #[serde(default)]
            os: String,
            #[serde(default)]
            variant: String,
        }
        let index: Index = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let image = |entry: Entry| {
            let words = entry.platform?;
            let is_image = matches!(entry.media_type.as_str(), OCI_MANIFEST | DOCKER_MANIFEST);
            let architecture = Architecture::new(words.architecture, Some(&words.variant));
            (is_image && words.os == "linux")
                .then_some(Offered { architecture, digest: entry.digest })
        };
        Ok(Self::Index(index.manifests.into_iter().filter_map(image).collect()))
    }

    fn manifest(bytes: &[u8]) -> Result<Self, String> {
        let manifest: Manifest =
            serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if manifest.schema_version != 2 {
            return Err(format!("schema version {} is not known", manifest.schema_version));
        }
        Ok(Self::Manifest(Box::new(manifest)))
    }
}

/// What we need of an image's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Configuration {
    pub architecture: Architecture,
    pub labels: BTreeMap<String, String>,
    /// Seconds since 1970.
    pub created: Option<i64>,
    /// Digests of the layers once uncompressed, the lowest first.
    pub diff_ids: Vec<Digest>,
}

impl Configuration {
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct File {
            #[serde(default)]
            architecture: String,
            #[serde(default)]
            variant: String,
            #[serde(default)]
            os: String,
            created: Option<String>,
            config: Option<Run>,
            rootfs: RootFs,
        }
        #[derive(Deserialize)]
        struct Run {
            #[serde(rename = "Labels")]
            labels: Option<BTreeMap<String, String>>,
        }
        #[derive(Deserialize)]
        struct RootFs {
            #[serde(default)]
            diff_ids: Vec<Digest>,
        }
        let file: File = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if !matches!(file.os.as_str(), "" | "linux") {
            return Err(format!("it is for {:?}, not for Linux", file.os));
        }
        let created = file.created.and_then(|text| text.parse::<jiff::Timestamp>().ok());
        Ok(Self {
            architecture: Architecture::new(file.architecture, Some(&file.variant)),
            labels: file.config.and_then(|run| run.labels).unwrap_or_default(),
            created: created.map(jiff::Timestamp::as_second),
            diff_ids: file.rootfs.diff_ids,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn documents() {
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{DOCKER_CONFIG}","size":2,"digest":"{A}"}},
            "layers":[{{"mediaType":"x","size":5,"digest":"{A}","urls":["http://x"]}}],"annotations":{{"a":"b"}}}}"#
        );
        let Document::Manifest(parsed) = Document::parse(manifest.as_bytes(), "").unwrap() else {
            panic!("not a manifest")
        };
        assert_eq!((parsed.size(), parsed.media_type()), (5, DOCKER_MANIFEST));
        let written = serde_json::to_string(&parsed).unwrap();
        assert!(written.contains("annotations") && written.contains("urls"), "{written}");
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[
            {{"mediaType":"{OCI_MANIFEST}","size":1,"digest":"{A}","platform":{{"os":"linux","architecture":"arm","variant":"v7"}}}},
            {{"mediaType":"{OCI_MANIFEST}","size":1,"digest":"{A}","platform":{{"os":"unknown","architecture":"unknown"}}}},
            {{"mediaType":"{OCI_INDEX}","size":1,"digest":"{A}","platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#
        );
        let Document::Index(offered) = Document::parse(index.as_bytes(), OCI_INDEX).unwrap() else {
            panic!("not an index")
        };
        assert_eq!(offered.len(), 1);
        assert_eq!(offered[0].architecture.to_string(), "arm/v7");
        for (bad, why) in [
            (r#"{"schemaVersion":1}"#, "schema 1"),
            (r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#, "same time"),
            (r#"{"schemaVersion":2}"#, "missing field"),
            (
                r#"{"schemaVersion":3,"config":{"size":1,"digest":"sha256:1"},"layers":[]}"#,
                "digest",
            ),
            ("[]", "invalid type"),
            ("", "EOF"),
        ] {
            let error = Document::parse(bad.as_bytes(), "").unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn configurations() {
        let text = format!(
            r#"{{"architecture":"arm64","variant":"v8","os":"linux","created":"2024-01-02T03:04:05.678Z",
            "config":{{"Labels":{{"a":"b"}}}},"rootfs":{{"type":"layers","diff_ids":["{A}"]}}}}"#
        );
        let parsed = Configuration::parse(text.as_bytes()).unwrap();
        assert_eq!(parsed.created, Some(1_704_164_645));
        assert_eq!((parsed.labels["a"].as_str(), parsed.diff_ids.len()), ("b", 1));
        let bare = r#"{"config":{"Labels":null},"rootfs":{"type":"layers","diff_ids":[]}}"#;
        assert!(Configuration::parse(bare.as_bytes()).unwrap().labels.is_empty());
        assert!(Configuration::parse(br#"{"os":"windows","rootfs":{}}"#).is_err());
    }
}
