//! Names of images on a registry.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::RemoteError;

/// Longest repository name (distribution specification, and Docker's own limit).
const REPOSITORY_MAX: usize = 255;
/// Longest tag (distribution specification).
const TAG_MAX: usize = 128;

/// `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(Arc<str>);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hash(Sha256::digest(bytes).as_slice())
    }

    /// From the 32 bytes of a finished hash.
    pub(super) fn from_hash(hash: &[u8]) -> Self {
        Self(format!("sha256:{}", hex::encode(hash)).into())
    }

    /// The digest of the configuration of an image of the store: its id.
    pub(super) fn of_id(id: &crate::ImageId) -> Self {
        Self(format!("sha256:{id}").into())
    }

    /// With its `sha256:`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 digits: also the name of its file.
    pub fn hex(&self) -> &str {
        &self.0[7..]
    }

    /// `sha256:` and the first 12 digits, for messages.
    pub fn short(&self) -> &str {
        &self.0[..19]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("sha256:").unwrap_or_default();
        if digits.len() == 64 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(Self(text.into()));
        }
        let shown: String = text.chars().take(80).collect();
        Err(format!("'{shown}' is not a sha256 digest"))
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

/// Which image of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Version {
    /// The one that has this tag now.
    Tag(String),
    /// The one whose manifest has this digest.
    Digest(Digest),
}

/// An image on a registry: `<repository>:<tag>` or `<repository>@sha256:...`, without the registry's host.
///
/// The repository of a WalT image is `<user>/<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    repository: String,
    version: Version,
}

impl Reference {
    /// An image by its repository and tag.
    ///
    /// # Errors
    /// [`RemoteError::BadName`].
    pub fn tagged(repository: &str, tag: &str) -> Result<Self, RemoteError> {
        let legal = tag.len() <= TAG_MAX
            && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !is_repository(repository) || !legal {
            return Err(bad_name(&format!("{repository}:{tag}")));
        }
        Ok(Self { repository: repository.to_owned(), version: Version::Tag(tag.to_owned()) })
    }

    /// The repository.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Which image of it.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// What stands for the version in paths of the API.
    pub(super) fn version_word(&self) -> &str {
        match &self.version {
            Version::Tag(tag) => tag,
            Version::Digest(digest) => digest.as_str(),
        }
    }

    /// The same repository, another version.
    pub(super) fn at(&self, digest: &Digest) -> Self {
        Self { repository: self.repository.clone(), version: Version::Digest(digest.clone()) }
    }
}

impl FromStr for Reference {
    type Err = RemoteError;

    fn from_str(text: &str) -> Result<Self, RemoteError> {
        if let Some((repository, digest)) = text.split_once('@') {
            let digest = digest.parse().map_err(|_| bad_name(text))?;
            if !is_repository(repository) {
                return Err(bad_name(text));
            }
            return Ok(Self {
                repository: repository.to_owned(),
                version: Version::Digest(digest),
            });
        }
        let (repository, tag) = text.split_once(':').unwrap_or((text, "latest"));
        Self::tagged(repository, tag)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Version::Tag(tag) => write!(f, "{}:{tag}", self.repository),
            Version::Digest(digest) => write!(f, "{}@{digest}", self.repository),
        }
    }
}

fn bad_name(text: &str) -> RemoteError {
    RemoteError::BadName { name: text.chars().take(160).collect() }
}

/// `[a-z0-9]+([._-]+[a-z0-9]+)*` parts with `/` between them (distribution specification).
pub(super) fn is_repository(text: &str) -> bool {
    let part = |part: &str| {
        let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        part.starts_with(edge)
            && part.ends_with(edge)
            && part.chars().all(|c| edge(c) || matches!(c, '.' | '_' | '-'))
            && !part.contains("..")
    };
    text.len() <= REPOSITORY_MAX && text.split('/').all(part)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn references() {
        let plain: Reference = "alice/pc".parse().unwrap();
        assert_eq!(plain.to_string(), "alice/pc:latest");
        let digest = Digest::of(b"");
        assert_eq!(digest.short(), "sha256:e3b0c44298fc");
        let exact: Reference = format!("a/b-c_d@{digest}").parse().unwrap();
        assert_eq!((exact.repository(), exact.version_word()), ("a/b-c_d", digest.as_str()));
        for bad in [
            "",
            "A/b",
            "a/../b",
            "a//b",
            "a/b:",
            "a/b:-x",
            "/a",
            "a/",
            "a b",
            "a/b@sha256:12",
            "a/b?x=y",
            "a/b:x/y",
            "a/b#",
            "a/%2e%2e/b",
            "..",
            "a/..",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }
}
