//! What a name of a registry stands for: index, manifest, configuration.

use reqwest::header::CONTENT_TYPE;

use super::architecture::Wanted;
use super::http::Http;
use super::manifest::{ACCEPT, Configuration, Descriptor, Document, Manifest};
use super::reference::{Digest, Reference, Version};
use super::session::{Request, Session};
use super::{RemoteError, RemoteImage};
use crate::ImageId;

/// An image resolved down to one manifest and its configuration, both verified.
#[derive(Debug)]
pub(super) struct Resolved {
    pub image: RemoteImage,
    pub manifest: Manifest,
    /// The manifest, byte for byte.
    pub manifest_bytes: Vec<u8>,
    /// The configuration, byte for byte.
    pub config_bytes: Vec<u8>,
    pub config: Configuration,
}

/// Rights needed to read a repository.
pub(super) fn pull_scope(repository: &str) -> String {
    format!("repository:{repository}:pull")
}

/// Resolves a name.
pub(super) async fn resolve(
    session: &Session<'_>,
    reference: &Reference,
    wanted: &Wanted,
) -> Result<Resolved, RemoteError> {
    let http = session.http;
    let (bytes, digest, document) = document(session, reference).await?;
    let (manifest, manifest_bytes, digest, mut available) = match document {
        Document::Manifest(manifest) => (*manifest, bytes, digest, Vec::new()),
        Document::Index(offered) => {
            let available: Vec<_> =
                offered.iter().map(|image| image.architecture.clone()).collect();
            let Some(chosen) = wanted.choose(&available) else {
                return Err(wrong_architecture(reference, wanted, &available));
            };
            let reference = reference.at(&offered[chosen].digest);
            let (bytes, digest, document) = self::document(session, &reference).await?;
            let Document::Manifest(manifest) = document else {
                return Err(http.answer(&reference.to_string(), "an index inside an index"));
            };
            (*manifest, bytes, digest, available)
        }
    };
    let what = format!("the manifest of {reference}");
    check(http, &manifest, &what)?;
    let config_bytes = config(session, reference, &manifest.config).await?;
    let config = Configuration::parse(&config_bytes)
        .map_err(|problem| http.answer(&format!("the configuration of {reference}"), problem))?;
    if config.diff_ids.len() != manifest.layers.len() {
        let problem = format!(
            "{} layers, but the configuration has {}",
            manifest.layers.len(),
            config.diff_ids.len()
        );
        return Err(http.answer(&what, problem));
    }
    if available.is_empty() {
        available.push(config.architecture.clone());
    }
    let id: ImageId = manifest
        .config
        .digest
        .as_str()
        .parse()
        .map_err(|_| http.answer(&what, "its configuration has no digest"))?;
    let image = RemoteImage {
        digest,
        id,
        labels: config.labels.clone(),
        created: config.created,
        size: manifest.size(),
        layers: manifest.layers.len(),
        architecture: config.architecture.clone(),
        available,
    };
    Ok(Resolved { image, manifest, manifest_bytes, config_bytes, config })
}

/// That there is nothing for the architectures wanted.
pub(super) fn wrong_architecture(
    reference: &Reference,
    wanted: &Wanted,
    available: &[super::Architecture],
) -> RemoteError {
    let mut words: Vec<String> = available.iter().take(20).map(ToString::to_string).collect();
    words.dedup();
    let available = if words.is_empty() { "nothing known".to_owned() } else { words.join(", ") };
    RemoteError::WrongArchitecture {
        image: reference.to_string(),
        wanted: wanted.to_string(),
        available,
    }
}

fn check(http: &Http, manifest: &Manifest, what: &str) -> Result<(), RemoteError> {
    if manifest.layers.len() > http.limits.layers {
        let problem =
            format!("{} layers, the most is {}", manifest.layers.len(), http.limits.layers);
        return Err(http.answer(what, problem));
    }
    Ok(())
}

/// One document of a repository, verified: its bytes, digest and meaning.
async fn document(
    session: &Session<'_>,
    reference: &Reference,
) -> Result<(Vec<u8>, Digest, Document), RemoteError> {
    let http = session.http;
    let what = reference.to_string();
    let path = format!("v2/{}/manifests/{}", reference.repository(), reference.version_word());
    let request = Request {
        headers: &[("accept", ACCEPT.to_owned())],
        ..Request::get(http.url(&path)?, &what)
    };
    let response = session.send(&request).await?;
    let header = |name: &str| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let content_type = header(CONTENT_TYPE.as_str());
    let announced = header("docker-content-digest");
    let bytes =
        http.document(response, http.limits.document, &format!("the manifest of {what}")).await?;
    let got = Digest::of(&bytes);
    let expected = match reference.version() {
        Version::Digest(digest) => Some(digest.clone()),
        Version::Tag(_) => announced.parse().ok(),
    };
    if let Some(expected) = expected.filter(|expected| *expected != got) {
        let what = format!("the manifest of {what}");
        return Err(RemoteError::WrongDigest { registry: http.label.clone(), what, expected, got });
    }
    let document = Document::parse(&bytes, &content_type)
        .map_err(|problem| http.answer(&format!("the manifest of {what}"), problem))?;
    Ok((bytes, got, document))
}

/// The configuration of an image, verified.
async fn config(
    session: &Session<'_>,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<Vec<u8>, RemoteError> {
    let http = session.http;
    let what = format!("the configuration of {reference}");
    if descriptor.size > http.limits.document {
        let limit = http.limits.document;
        return Err(RemoteError::TooLarge { registry: http.label.clone(), what, limit });
    }
    let path = format!("v2/{}/blobs/{}", reference.repository(), descriptor.digest);
    let response = session.send(&Request::get(http.url(&path)?, &what)).await?;
    let bytes = http.document(response, descriptor.size, &what).await?;
    let got = Digest::of(&bytes);
    if got != descriptor.digest {
        let (registry, expected) = (http.label.clone(), descriptor.digest.clone());
        return Err(RemoteError::WrongDigest { registry, what, expected, got });
    }
    Ok(bytes)
}
