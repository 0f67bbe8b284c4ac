//! Names of devices, users and checkpoints.

use crate::{DeviceType, Mac};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Gives a checked string newtype its usual conversions.
macro_rules! string_newtype {
    ($type:ident, $error:ty) => {
        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }
        impl TryFrom<String> for $type {
            type Error = $error;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }
        impl PartialEq<str> for $type {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }
        impl PartialEq<&str> for $type {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }
    };
}
pub(crate) use string_newtype;

/// Longest device name: one DNS label (RFC 1035 section 2.3.4).
pub const DEVICE_NAME_MAX: usize = 63;

/// Name of a device (server, node, switch...): a letter, then letters, digits and dashes; 2 to 63
/// characters; case-sensitive. Also the host part of its DNS name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceName(String);

/// Why a text is not a [`DeviceName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "Invalid device name: '{0}'.\n\
     A device name holds letters, digits and dashes, starts with a letter,\n\
     and has 2 to 63 characters."
)]
pub struct DeviceNameError(pub String);

string_newtype!(DeviceName, DeviceNameError);

impl FromStr for DeviceName {
    type Err = DeviceNameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
        let legal = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if starts && legal && (2..=DEVICE_NAME_MAX).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(DeviceNameError(text.chars().take(80).collect()))
        }
    }
}

impl DeviceName {
    /// The name of the server's own device, unless renamed.
    pub const SERVER: &'static str = "walt-server";

    /// Name of the server's own device.
    pub fn server() -> Self {
        Self(Self::SERVER.to_owned())
    }

    /// What remains of a name proposed by a machine (DHCP host name, LLDP): the part before the first
    /// dot, each run of other characters replaced by one dash. `None` if the result is no valid name.
    pub fn sanitized(proposed: &str) -> Option<Self> {
        let label = proposed.split('.').next().unwrap_or_default();
        let mut clean = String::with_capacity(label.len());
        let mut in_run = false;
        for c in label.chars() {
            if c.is_ascii_alphanumeric() || c == '-' {
                clean.push(c);
                in_run = false;
            } else if !in_run {
                clean.push('-');
                in_run = true;
            }
        }
        clean.parse().ok()
    }

    /// A name made from the type and the last three bytes of the MAC (`node-f26782`), followed by `-2`,
    /// `-3`... as long as `taken` says yes.
    pub fn generated(device_type: DeviceType, mac: Mac, taken: impl Fn(&str) -> bool) -> Self {
        let base = if device_type == DeviceType::Server {
            Self::SERVER.to_owned()
        } else {
            format!("{device_type}-{}", mac.suffix())
        };
        let mut name = base.clone();
        let mut n = 2u64;
        while taken(&name) {
            name = format!("{base}-{n}");
            n += 1;
        }
        Self(name)
    }
}

/// Name of a user of the platform, also the owner part of image names: not empty, at most 255 bytes,
/// without `/`, `:`, `,`, blanks nor control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(String);

/// Why a text is not a [`UserName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid user name: {0:?}. A user name is one word without '/', ':' nor ','.")]
pub struct UserNameError(pub String);

string_newtype!(UserName, UserNameError);

impl FromStr for UserName {
    type Err = UserNameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal =
            |c: char| !(c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | ','));
        if !text.is_empty()
            && text.len() <= 255
            && text.chars().all(legal)
            && text != "."
            && text != ".."
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(UserNameError(text.chars().take(80).collect()))
        }
    }
}

impl UserName {
    /// The owner of default images, which is not a person: a node that boots one of them is free.
    pub const PLATFORM: &'static str = "waltplatform";

    /// The owner of default images.
    pub fn platform() -> Self {
        Self(Self::PLATFORM.to_owned())
    }

    /// Is this the owner of default images?
    pub fn is_platform(&self) -> bool {
        self.0 == Self::PLATFORM
    }
}

/// Name of a log checkpoint: a letter or digit, then letters, digits and dashes; 2 to 255 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CheckpointName(String);

/// Why a text is not a [`CheckpointName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "Invalid checkpoint name: '{0}'.\n\
     A checkpoint name holds letters, digits and dashes, starts with a letter or a digit,\n\
     and has at least 2 characters."
)]
pub struct CheckpointNameError(pub String);

string_newtype!(CheckpointName, CheckpointNameError);

impl FromStr for CheckpointName {
    type Err = CheckpointNameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        let legal = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if starts && legal && (2..=255).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(CheckpointNameError(text.chars().take(80).collect()))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn device_names() {
        for good in ["n1", "Node-1", "walt-server", "a-"] {
            assert_eq!(good.parse::<DeviceName>().unwrap().as_str(), good);
        }
        for bad in ["", "n", "1n", "-n", "a_b", "a b", "é1", "a.b", &"x".repeat(64)] {
            assert!(bad.parse::<DeviceName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn proposed_names() {
        assert_eq!(DeviceName::sanitized("Pi 4!!x.local").unwrap(), "Pi-4-x");
        assert_eq!(DeviceName::sanitized("4pi"), None);
        assert_eq!(DeviceName::sanitized(".x"), None);
    }

    #[test]
    fn generated_names() {
        let mac: Mac = "52:54:00:f2:67:82".parse().unwrap();
        let taken = ["node-f26782", "node-f26782-2"];
        assert_eq!(DeviceName::generated(DeviceType::Node, mac, |_| false), "node-f26782");
        let third = DeviceName::generated(DeviceType::Node, mac, |n| taken.contains(&n));
        assert_eq!(third, "node-f26782-3");
    }

    #[test]
    fn users_and_checkpoints() {
        assert!("eduble".parse::<UserName>().is_ok());
        for bad in ["", "a/b", "a b", "..", "a:b"] {
            assert!(bad.parse::<UserName>().is_err(), "{bad}");
        }
        assert!("1a".parse::<CheckpointName>().is_ok());
        for bad in ["", "a", "-1m", "a_b"] {
            assert!(bad.parse::<CheckpointName>().is_err(), "{bad}");
        }
    }
}
