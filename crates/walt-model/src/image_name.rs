//! Names of images.

use crate::{NodeModel, UserName};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The tag meant when none is written.
pub const LATEST: &str = "latest";

/// The word of `walt node boot` that stands for the default image of each node's model.
pub const DEFAULT_KEYWORD: &str = "default";

/// Name of an image in its owner's working set: `<name>` or `<name>:<tag>`. `:latest` is not shown.
///
/// [`FromStr`] holds the rules for names a user types; [`ImageName::existing`] is for names of images
/// that exist already, whoever made them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName {
    name: String,
    tag: String,
}

/// Why a text is not an image name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageNameError {
    /// Breaks the rules of names.
    #[error(
        "Bad name: expected format is <name> or <name>:<tag>.\n\
         Only lower-case letters, digits and dashes are allowed, and '{0}' is not of this form."
    )]
    Malformed(String),
    /// The name `default`.
    #[error("Bad name: 'default' is a reserved keyword.\nPlease choose another name.")]
    Reserved,
    /// Not of the form `<owner>/<name>[:<tag>]`.
    #[error("Bad image name '{0}'; expected <owner>/<name>[:<tag>].")]
    FullName(String),
}

impl FromStr for ImageName {
    type Err = ImageNameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let (name, tag) = text.split_once(':').unwrap_or((text, LATEST));
        let correct = |part: &str| !part.starts_with('-') && part.bytes().all(legal);
        if name.is_empty() || tag.is_empty() || !correct(name) || !correct(tag) || text.len() > 128
        {
            return Err(ImageNameError::Malformed(text.chars().take(160).collect()));
        }
        if name == DEFAULT_KEYWORD {
            return Err(ImageNameError::Reserved);
        }
        Ok(Self { name: name.to_owned(), tag: tag.to_owned() })
    }
}

impl ImageName {
    /// The name of an image that exists: anything the container tools may have stored.
    ///
    /// # Errors
    /// Empty parts, blanks, or characters that could leave a name (`/`, a second `:`).
    pub fn existing(text: &str) -> Result<Self, ImageNameError> {
        let (name, tag) = text.split_once(':').unwrap_or((text, LATEST));
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let correct = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                && part.chars().all(legal)
        };
        if correct(name) && correct(tag) && text.len() <= 255 {
            Ok(Self { name: name.to_owned(), tag: tag.to_owned() })
        } else {
            Err(ImageNameError::Malformed(text.chars().take(160).collect()))
        }
    }

    /// A legal name close to that of a foreign image: lower case, each run of other characters replaced
    /// by one dash.
    ///
    /// # Errors
    /// When nothing legal remains.
    pub fn derived(from: &str) -> Result<Self, ImageNameError> {
        let mut clean = String::new();
        for c in from.chars().flat_map(char::to_lowercase) {
            if c.is_ascii_lowercase() || c.is_ascii_digit() || c == ':' {
                clean.push(c);
            } else if !clean.ends_with('-') {
                clean.push('-');
            }
        }
        clean.parse()
    }

    /// The part before the colon.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tag, `latest` if none was written.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The image of that name in `owner`'s working set.
    pub fn owned_by(self, owner: UserName) -> ImageFullName {
        ImageFullName { owner, name: self }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tag == LATEST {
            f.pad(&self.name)
        } else {
            f.pad(&format!("{}:{}", self.name, self.tag))
        }
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> String {
        name.to_string()
    }
}

impl TryFrom<String> for ImageName {
    type Error = ImageNameError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::existing(&text)
    }
}

/// Full name of an image on the server: `<owner>/<name>:<tag>`, the tag always shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageFullName {
    owner: UserName,
    name: ImageName,
}

impl ImageFullName {
    /// The default image of a model: `waltplatform/<model>-default:latest`.
    pub fn default_of(model: &NodeModel) -> Self {
        let name = ImageName { name: format!("{model}-default"), tag: LATEST.to_owned() };
        Self { owner: UserName::platform(), name }
    }

    /// Who owns it.
    pub fn owner(&self) -> &UserName {
        &self.owner
    }

    /// Its name in the owner's working set.
    pub fn name(&self) -> &ImageName {
        &self.name
    }

    /// Does it belong to the platform? A node that boots it is free.
    pub fn is_platform(&self) -> bool {
        self.owner.is_platform()
    }

    /// `<owner>/<name>[:<tag>]`, without `:latest`, as shown to users.
    pub fn short(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }
}

impl fmt::Display for ImageFullName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}:{}", self.owner, self.name.name, self.name.tag))
    }
}

impl FromStr for ImageFullName {
    type Err = ImageNameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ImageNameError::FullName(text.chars().take(160).collect());
        let (owner, name) = text.split_once('/').ok_or_else(error)?;
        let owner = owner.parse().map_err(|_| error())?;
        let name = ImageName::existing(name).map_err(|_| error())?;
        Ok(Self { owner, name })
    }
}

impl From<ImageFullName> for String {
    fn from(name: ImageFullName) -> String {
        name.to_string()
    }
}

impl TryFrom<String> for ImageFullName {
    type Error = ImageNameError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn typed_names() {
        assert_eq!("a-1:latest".parse::<ImageName>().unwrap().to_string(), "a-1");
        assert_eq!("a:v1".parse::<ImageName>().unwrap().to_string(), "a:v1");
        for bad in ["", "A", "a_b", "a.b", "a:b:c", ":x", "x:", "a/b", "a b"] {
            let error = bad.parse::<ImageName>().unwrap_err().to_string();
            assert!(error.starts_with("Bad name:") && error.lines().count() == 2, "{bad}: {error}");
        }
        assert_eq!("default".parse::<ImageName>(), Err(ImageNameError::Reserved));
        assert_eq!("default:x".parse::<ImageName>(), Err(ImageNameError::Reserved));
    }

    #[test]
    fn existing_and_derived() {
        assert_eq!(ImageName::existing("My_Image:1.0").unwrap().tag(), "1.0");
        assert!(ImageName::existing("../x").is_err());
        assert_eq!(ImageName::derived("My__Image:V.1").unwrap().to_string(), "my-image:v-1");
    }

    #[test]
    fn full_names() {
        let full: ImageFullName = "me/img".parse().unwrap();
        assert_eq!(full.to_string(), "me/img:latest");
        assert_eq!(full.short(), "me/img");
        assert!("me/a/b".parse::<ImageFullName>().is_err());
        assert!("img".parse::<ImageFullName>().is_err());
        let model = "pc-x86-64".parse().unwrap();
        let default = ImageFullName::default_of(&model);
        assert_eq!(default.to_string(), "waltplatform/pc-x86-64-default:latest");
        assert!(default.is_platform());
        let json = serde_json::to_string(&full).unwrap();
        assert_eq!(serde_json::from_str::<ImageFullName>(&json).unwrap(), full);
    }
}
