//! The docker daemon of this machine, through its API (Docker Engine API v1.24 and later; podman's service speaks it too).

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::http::{Failure, Http};
use super::local;
use super::reference::Reference;
use super::settings::{Limits, Settings};
use super::{FoundImage, OnTransfer, Pulled, RemoteError, Stage, Transfer, Workplace};
use crate::catalogue::LABEL_MODELS;
use crate::registry::Digest;

const LABEL: &str = "docker";
/// The label of the filter, percent-encoded JSON: `{"label":["walt.node.models"]}`.
const FILTERS: &str = "%7B%22label%22%3A%5B%22walt.node.models%22%5D%7D";
/// Bytes left free on the disk.
const RESERVE: u64 = 256 << 20;
/// Progress is told every so many bytes.
const STEP: u64 = 1 << 20;

/// The docker daemon of this machine, if there is one.
#[derive(Debug, Clone)]
pub struct DockerDaemon {
    http: Http,
}

impl DockerDaemon {
    /// The daemon behind a socket (`/run/docker.sock`). `None` when there is no such socket: no docker here.
    pub fn at(socket: impl Into<PathBuf>, settings: &Settings) -> Option<Self> {
        let socket = socket.into();
        if !socket.exists() {
            return None;
        }
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().unix_socket(socket).build().ok()?;
        let base = Url::parse("http://docker/").ok()?;
        let limits = Limits { tries: 1, ..settings.limits.clone() };
        let label = LABEL.to_owned();
        Some(Self { http: Http { client, base, label, may_log_in: false, limits } })
    }

    /// Its WalT images that have a name `<user>/<name>:<tag>`.
    ///
    /// # Errors
    /// It does not answer properly.
    pub async fn search(&self) -> Result<Vec<FoundImage>, RemoteError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Image {
            repo_tags: Option<Vec<String>>,
            labels: Option<BTreeMap<String, String>>,
            #[serde(default)]
            created: i64,
        }
        let path = format!("images/json?filters={FILTERS}");
        let images: Vec<Image> = self.json(&path, "its list of images").await?;
        let mut found = Vec::new();
        for image in images {
            let labels = image.labels.unwrap_or_default();
            for tag in image.repo_tags.unwrap_or_default() {
                // The daemon shows `docker.io/` or not, as it likes.
                let name = tag.strip_prefix("docker.io/").unwrap_or(&tag);
                let created = Some(image.created);
                match name.parse::<Reference>() {
                    Ok(image) if image.repository().split('/').count() == 2 => {
                        found.push(FoundImage { image, labels: labels.clone(), created });
                    }
                    _ => {}
                }
            }
        }
        found.retain(|image| !image.models().is_empty());
        Ok(found)
    }

    /// What a name stands for.
    ///
    /// # Errors
    /// Not found; the daemon does not answer properly.
    pub async fn inspect(&self, image: &Reference) -> Result<FoundImage, RemoteError> {
        Ok(self.look(image).await?.0)
    }

    /// The image, and its size.
    async fn look(&self, image: &Reference) -> Result<(FoundImage, u64), RemoteError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Details {
            config: Option<Run>,
            #[serde(default)]
            created: String,
            #[serde(default)]
            size: u64,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Run {
            labels: Option<BTreeMap<String, String>>,
        }
        let details: Details =
            self.json(&format!("images/{image}/json"), &image.to_string()).await?;
        let created = details.created.parse::<jiff::Timestamp>().ok();
        let found = FoundImage {
            image: image.clone(),
            labels: details.config.and_then(|run| run.labels).unwrap_or_default(),
            created: created.map(jiff::Timestamp::as_second),
        };
        Ok((found, details.size))
    }

    /// Copies an image into the store. It must be a WalT image.
    ///
    /// # Errors
    /// Any of [`RemoteError`]; the store then holds nothing new.
    pub async fn pull(
        &self,
        image: &Reference,
        place: &Workplace<'_>,
        progress: OnTransfer<'_>,
    ) -> Result<Pulled, RemoteError> {
        let (found, size) = self.look(image).await?;
        if !found.labels.contains_key(LABEL_MODELS) || found.models().is_empty() {
            return Err(RemoteError::NotWalt { image: image.to_string() });
        }
        let what = image.to_string();
        let mut response = self.get(&format!("images/{image}/get"), &what).await?;
        let path = place.work_dir.join("docker.tar");
        let mut file = std::fs::File::create(&path).map_err(RemoteError::file(&path))?;
        let free = local::free_bytes(place.work_dir)?.saturating_sub(RESERVE);
        let (mut done, mut told) = (0, 0);
        let total = (size > 0).then_some(size);
        loop {
            let chunk = self.http.chunk(&mut response).await;
            let Some(chunk) = chunk.map_err(|failure| self.http.failed(&failure, &what))? else {
                break;
            };
            done += chunk.len() as u64;
            if done > free {
                return Err(RemoteError::NoRoom { needed: done >> 20, free: free >> 20 });
            }
            file.write_all(&chunk).map_err(RemoteError::file(&path))?;
            if done - told >= STEP {
                told = done;
                let total = total.map(|total| total.max(done));
                progress(Transfer { stage: Stage::Downloading, done, total });
            }
        }
        drop(file);
        progress(Transfer { stage: Stage::Storing, done: 0, total: None });
        let source = format!("docker-archive:{}", path.display());
        let id = local::import(place.podman, &source, place.tag, place.work_dir).await?;
        let _ = std::fs::remove_file(&path);
        Ok(Pulled { digest: Digest::of_id(&id), id, downloaded: done, reused: 0 })
    }

    async fn get(&self, path: &str, what: &str) -> Result<Response, RemoteError> {
        let send = self.http.client.get(self.http.url(path)?).send();
        let sent = match tokio::time::timeout(self.http.limits.stall, send).await {
            Ok(sent) => sent.map_err(Failure::Http),
            Err(_) => Err(Failure::Stalled),
        };
        let response = sent.map_err(|failure| self.http.failed(&failure, what))?;
        match response.status() {
            StatusCode::OK => Ok(response),
            _ => Err(self.http.refusal(response, what, None).await),
        }
    }

    async fn json<T: DeserializeOwned>(&self, path: &str, what: &str) -> Result<T, RemoteError> {
        let response = self.get(path, what).await?;
        let bytes = self.http.document(response, self.http.limits.document, what).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.http.answer(what, error.to_string()))
    }
}
