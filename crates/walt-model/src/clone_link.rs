//! Clone links: where an image can be taken from.

use crate::ImageFullName;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// `<location>:<user>/<image>[:<tag>]`; the location is `walt`, `docker`, `hub` or the label of a
/// registry of `server.conf`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CloneLink {
    /// Where: `walt`, `docker`, or a registry label. Whether such a registry exists is the server's to say.
    pub location: String,
    /// What.
    pub image: ImageFullName,
}

/// Why a text is not a [`CloneLink`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "Invalid clone link '{0}'; expected [walt|docker|hub|...]:<user>/<image_name>[:<tag>].\n(tip: walt image search)"
)]
pub struct CloneLinkError(pub String);

impl FromStr for CloneLink {
    type Err = CloneLinkError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || CloneLinkError(text.chars().take(160).collect());
        let (location, image) = text.split_once(':').ok_or_else(error)?;
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if location.is_empty() || !location.bytes().all(legal) {
            return Err(error());
        }
        let image = image.parse().map_err(|_| error())?;
        Ok(Self { location: location.to_owned(), image })
    }
}

impl fmt::Display for CloneLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.location, self.image.short()))
    }
}

impl From<CloneLink> for String {
    fn from(link: CloneLink) -> String {
        link.to_string()
    }
}

impl TryFrom<String> for CloneLink {
    type Error = CloneLinkError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        let link: CloneLink = "walt:waltplatform/pc-x86-64-default".parse().unwrap();
        assert_eq!(link.location, "walt");
        assert_eq!(link.image.name().tag(), "latest");
        assert_eq!(link.to_string(), "walt:waltplatform/pc-x86-64-default");
        for bad in ["", "walt:", "walt:a", ":a/b", "a/b", "a/b:c", "hub:a/b/c"] {
            assert!(bad.parse::<CloneLink>().is_err(), "{bad}");
        }
    }
}
