//! An image with one layer more.
//!
//! A layer that is a tar on the disk, and the configuration and list of layers of the image below, with the new one
//! added, make a directory that skopeo copies into the store. The layers below are in the store already: they are
//! only named. So the new image shares them, whatever its form (OCI or docker) is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::catalogue::{ImageId, MAX_LAYERS};
use crate::changes::Layer;
use crate::podman::{Podman, PodmanError, READ_DEADLINE};

/// Limit on the unpacking of a layer.
const COPY_DEADLINE: Duration = Duration::from_secs(3600);
/// Media type of lists of layers in OCI images.
const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of lists of layers in docker images.
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Why an image could not get a layer.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The container tools did not work.
    #[error(transparent)]
    Podman(#[from] PodmanError),
    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The image below is of an unknown form.
    #[error("image {image} cannot get a layer: {why}")]
    Form {
        /// The image.
        image: String,
        /// What is wrong with it.
        why: String,
    },
    /// It has as many layers as an image may have.
    #[error(
        "image {0} has {MAX_LAYERS} layers, which is the most an image can have; `walt image squash` makes one of them"
    )]
    Full(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(default)]
    media_type: Option<String>,
    layers: Vec<Blob>,
}

#[derive(Deserialize)]
struct Blob {
    digest: String,
    size: u64,
}

/// What is said of a layer in the history of its image.
#[derive(Debug, Clone)]
pub struct Note {
    /// What made it, as a command line.
    pub by: String,
    /// When.
    pub at: jiff::Timestamp,
}

/// Puts `layer` on `image` and gives the result the name `tag` (`localhost/walt/op:..`); `dir` is an empty directory on
/// the disk of the layer, which is moved there.
///
/// # Errors
/// See [`StackError`]. Nothing has the name then.
pub async fn add_layer(
    podman: &Podman,
    image: &ImageId,
    layer: &Layer,
    note: &Note,
    dir: &Path,
    tag: &str,
) -> Result<ImageId, StackError> {
    let form =
        |why: &str| StackError::Form { image: image.short().to_owned(), why: why.to_owned() };
    let store = format!("{}@{image}", podman.skopeo_prefix());
    let raw = podman.skopeo().args(["inspect", "--raw", &store]);
    let raw = raw.deadline(READ_DEADLINE).run().await.map_err(PodmanError::from)?.stdout;
    let manifest: Manifest =
        serde_json::from_slice(&raw).map_err(|error| form(&format!("its manifest: {error}")))?;
    let config = podman.skopeo().args(["inspect", "--config", "--raw", &store]);
    let config = config.deadline(READ_DEADLINE).run().await.map_err(PodmanError::from)?.stdout;
    let config: Value = serde_json::from_slice(&config)
        .map_err(|error| form(&format!("its configuration: {error}")))?;
    let Value::Object(config) = config else { return Err(form("its configuration is no object")) };
    let made = stacked(config, &manifest, layer, note).map_err(|why| match why {
        Wrong::Full => StackError::Full(image.short().to_owned()),
        Wrong::Form(why) => form(why),
    })?;

    let write = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        std::fs::write(&path, bytes).map_err(|source| StackError::Write { path, source })
    };
    write("version", b"Directory Transport Version: 1.1\n")?;
    write("manifest.json", &made.manifest)?;
    write(made.id.as_str(), &made.config)?;
    let path = dir.join(&layer.digest);
    std::fs::rename(&layer.path, &path).map_err(|source| StackError::Write { path, source })?;

    let from = format!("dir:{}", dir.display());
    let to = format!("{}{tag}", podman.skopeo_prefix());
    let copy = podman.skopeo().args(["copy", "--quiet", &from, &to]);
    copy.deadline(COPY_DEADLINE).run().await.map_err(PodmanError::from)?;
    Ok(made.id)
}

struct Made {
    id: ImageId,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

enum Wrong {
    Full,
    Form(&'static str),
}

/// Configuration and manifest of the new image.
fn stacked(
    mut config: Map<String, Value>,
    manifest: &Manifest,
    layer: &Layer,
    note: &Note,
) -> Result<Made, Wrong> {
    let docker = match manifest.media_type.as_deref() {
        Some(DOCKER) => true,
        Some(OCI) | None => false,
        Some(_) => return Err(Wrong::Form("its manifest is of an unknown kind")),
    };
    let digest = format!("sha256:{}", layer.digest);
    let ids = config.get_mut("rootfs").and_then(|root| root.get_mut("diff_ids"));
    let Some(Value::Array(ids)) = ids else { return Err(Wrong::Form("it lists no layers")) };
    if ids.len() >= MAX_LAYERS {
        return Err(Wrong::Full);
    }
    // Layers below are named by what they are unpacked: so they are found in the store, however they came.
    let below: Vec<String> = ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect();
    ids.push(json!(digest));
    let now = note.at.to_string();
    config.insert("created".into(), json!(now));
    let history = config.entry("history").or_insert_with(|| json!([]));
    let step = json!({"created": now, "created_by": note.by});
    match history {
        Value::Array(history) => history.push(step),
        other => *other = json!([step]),
    }
    // What docker notes of the container an image was made of is not true of this one.
    for old in ["container", "container_config", "parent", "id"] {
        config.remove(old);
    }
    let config = serde_json::to_vec(&config).map_err(|_| Wrong::Form("its configuration"))?;
    let id = hex::encode(Sha256::digest(&config));
    let (layer_type, config_type, kind) = match docker {
        true => (
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.container.image.v1+json",
            DOCKER,
        ),
        false => (
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.config.v1+json",
            OCI,
        ),
    };
    let size_of = |digest: &str| {
        manifest.layers.iter().find(|blob| blob.digest == digest).map_or(0, |blob| blob.size)
    };
    let mut layers: Vec<Value> = below
        .iter()
        .map(|digest| json!({"mediaType": layer_type, "digest": digest, "size": size_of(digest)}))
        .collect();
    layers.push(json!({"mediaType": layer_type, "digest": digest, "size": layer.size}));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "config": {"mediaType": config_type, "digest": format!("sha256:{id}"), "size": config.len()},
        "layers": layers,
    });
    let manifest = serde_json::to_vec(&manifest).map_err(|_| Wrong::Form("its manifest"))?;
    let id = id.parse().map_err(|_| Wrong::Form("its id"))?;
    Ok(Made { id, config, manifest })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn layer() -> Layer {
        Layer { path: "/x".into(), digest: "cd".repeat(32), size: 7 }
    }

    fn made(config: Value, kind: Option<&str>) -> Result<Made, Wrong> {
        let manifest = Manifest {
            media_type: kind.map(str::to_owned),
            layers: vec![Blob { digest: "sha256:aa".into(), size: 5 }],
        };
        let Value::Object(config) = config else { panic!() };
        let note = Note { by: "walt node save n1 x".into(), at: jiff::Timestamp::UNIX_EPOCH };
        stacked(config, &manifest, &layer(), &note)
    }

    #[test]
    fn the_configuration_is_kept_and_gets_a_step() {
        let config = json!({
            "config": {"Labels": {"walt.node.models": "pc"}, "Healthcheck": {"Test": ["x"]}},
            "container_config": {},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:aa", "sha256:bb"]},
            "history": [{"created_by": "a"}],
        });
        let made = made(config, Some(DOCKER)).unwrap_or_else(|_| panic!());
        let config: Value = serde_json::from_slice(&made.config).unwrap();
        assert_eq!(config["config"]["Healthcheck"]["Test"][0], "x");
        assert_eq!(config["rootfs"]["diff_ids"][2], format!("sha256:{}", "cd".repeat(32)));
        assert_eq!(config["history"][1]["created_by"], "walt node save n1 x");
        assert_eq!(config["created"], "1970-01-01T00:00:00Z");
        assert!(config.get("container_config").is_none());
        let manifest: Value = serde_json::from_slice(&made.manifest).unwrap();
        assert_eq!(manifest["mediaType"], DOCKER);
        assert_eq!(manifest["config"]["digest"], format!("sha256:{}", made.id));
        let sizes: Vec<_> = manifest["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|layer| layer["size"].as_u64())
            .collect();
        assert_eq!(sizes, [Some(5), Some(0), Some(7)]);
    }

    #[test]
    fn what_cannot_get_a_layer() {
        let layers = |count: usize| json!({"rootfs": {"diff_ids": vec!["sha256:aa"; count]}});
        assert!(matches!(made(layers(MAX_LAYERS), None), Err(Wrong::Full)));
        assert!(made(layers(MAX_LAYERS - 1), Some(OCI)).is_ok());
        assert!(matches!(made(layers(1), Some("x")), Err(Wrong::Form(_))));
        assert!(matches!(made(json!({}), None), Err(Wrong::Form(_))));
    }
}
