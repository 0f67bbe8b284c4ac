//! What a device is and how it is doing.

use crate::Mac;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// What kind of device this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceType {
    /// The WalT server itself; exactly one.
    Server,
    /// Boots WalT images.
    Node,
    /// A network switch.
    Switch,
    /// Anything else, or not identified yet.
    Unknown,
}

impl DeviceType {
    /// The word stored and displayed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Node => "node",
            Self::Switch => "switch",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for DeviceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for DeviceType {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Server, Self::Node, Self::Switch, Self::Unknown]
            .into_iter()
            .find(|t| t.as_str() == text)
            .ok_or_else(|| UnknownWord { what: "device type", word: text.to_owned() })
    }
}

/// A word that is none of those expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{word}' is not a {what}.")]
pub struct UnknownWord {
    /// What was expected.
    pub what: &'static str,
    /// What was found.
    pub word: String,
}

/// Model of a node (`pc-x86-64`, `rpi-4-b`...). There is no list of known ones; a model selects the
/// default image `waltplatform/<model>-default` and the directory `/boot/<model>` of images, so it is
/// one safe path component: letters, digits, `.`, `_`, `-`, starting with a letter or digit, up to 64.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeModel(String);

/// Why a text is not a [`NodeModel`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid node model: {0:?}.")]
pub struct NodeModelError(pub String);

crate::names::string_newtype!(NodeModel, NodeModelError);

impl FromStr for NodeModel {
    type Err = NodeModelError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if starts && text.len() <= 64 && text.bytes().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NodeModelError(text.chars().take(80).collect()))
        }
    }
}

/// Models of the SD cards whose loader says its model without `walt.node.` before it.
const OLD_CARD_MODELS: [&str; 5] = ["rpi-b", "rpi-b-plus", "rpi-2-b", "rpi-3-b", "rpi-3-b-plus"];

/// What a device says it is, from its DHCP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its type.
    pub device_type: DeviceType,
    /// Its model, when it is a node.
    pub model: Option<NodeModel>,
}

impl Identity {
    /// Identifies a device: user class (option 77) then vendor class (option 60) of the form
    /// `walt.node.<model>` is a node; so is a Raspberry Pi whose vendor class is its model alone, as that
    /// of SD cards of 2016 to 2019; a Netgear MAC is a switch; anything else is unknown.
    pub fn of(vendor_class: &str, user_class: &str, mac: Mac) -> Self {
        let old_card = || {
            let known = mac.is_raspberry_pi() && OLD_CARD_MODELS.contains(&vendor_class);
            known.then_some(vendor_class)
        };
        let model = [user_class, vendor_class]
            .iter()
            .find_map(|class| class.strip_prefix("walt.node."))
            .or_else(old_card)
            .and_then(|model| model.parse().ok());
        let device_type = match model {
            Some(_) => DeviceType::Node,
            None if mac.is_netgear() => DeviceType::Switch,
            None => DeviceType::Unknown,
        };
        Self { device_type, model }
    }
}

/// Whether a device can go out of the platform network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum NetSetup {
    /// Platform network only, no default gateway.
    #[default]
    Lan,
    /// The server routes and translates addresses for it.
    Nat,
}

impl fmt::Display for NetSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Lan => "LAN",
            Self::Nat => "NAT",
        })
    }
}

impl FromStr for NetSetup {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "LAN" => Ok(Self::Lan),
            "NAT" => Ok(Self::Nat),
            _ => Err(UnknownWord { what: "network setup (LAN or NAT)", word: text.to_owned() }),
        }
    }
}

/// Whether the operating system of a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeStatus {
    /// The node holds its bootup notification connection.
    Booted,
    /// Not booted: booting, stopped, or in trouble.
    Down,
    /// Switched off by the server to save power.
    Powersave,
}

impl NodeStatus {
    /// The cell of column `booted` in `walt node show`.
    pub fn booted_cell(self) -> &'static str {
        match self {
            Self::Booted => "yes",
            Self::Down => "NO",
            Self::Powersave => "no (powersave)",
        }
    }

    /// Is it booted?
    pub fn is_booted(self) -> bool {
        self == Self::Booted
    }
}

/// Why a node went down, as written in the platform log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DownCause {
    /// `walt node reboot`.
    RebootRequested,
    /// It was given another image.
    ImageChange,
    /// `walt node acquire`.
    Acquire,
    /// `walt node release`.
    Release,
    /// It did not boot in time.
    BootupTimeout,
    /// Switched off to save power.
    Powersave,
    /// Its connection was lost.
    Unknown,
}

impl fmt::Display for DownCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::RebootRequested => "reboot requested",
            Self::ImageChange => "image change",
            Self::Acquire => "acquire",
            Self::Release => "release",
            Self::BootupTimeout => "bootup timeout",
            Self::Powersave => "powersave",
            Self::Unknown => "unknown",
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn identification() {
        let mac: Mac = "52:54:00:00:00:01".parse().unwrap();
        let netgear: Mac = "28:c6:8e:00:00:01".parse().unwrap();
        let pc = Identity::of("walt.node.rpi-4-b", "walt.node.pc-x86-64", mac);
        assert_eq!(pc.model.unwrap(), "pc-x86-64");
        let pi = Identity::of("walt.node.rpi-4-b", "", mac);
        assert_eq!(pi.model.unwrap(), "rpi-4-b");
        assert_eq!(Identity::of("", "", netgear).device_type, DeviceType::Switch);
        assert_eq!(Identity::of("walt.node.rpi-4-b", "", netgear).device_type, DeviceType::Node);
        let old: Mac = "b8:27:eb:00:00:01".parse().unwrap();
        assert_eq!(Identity::of("rpi-3-b", "", old).model.unwrap(), "rpi-3-b");
        for (class, mac) in [("rpi-3-b", mac), ("rpi-4-b", old), ("", old), ("rpi-3-b2", old)] {
            assert_eq!(Identity::of(class, "", mac).model, None, "{class} {mac}");
        }
        assert_eq!(Identity::of("walt.node.", "", mac).device_type, DeviceType::Unknown);
        assert_eq!(Identity::of("walt.node.../../etc", "", mac).device_type, DeviceType::Unknown);
    }

    #[test]
    fn words() {
        assert_eq!("switch".parse::<DeviceType>().unwrap(), DeviceType::Switch);
        assert!("router".parse::<DeviceType>().is_err());
        assert_eq!(NodeStatus::Powersave.booted_cell(), "no (powersave)");
    }
}
