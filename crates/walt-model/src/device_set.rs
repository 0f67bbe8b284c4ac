//! Sets of devices as users write them: `my-nodes,n3,server`.

use crate::{DeviceName, DeviceType, UserName};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// What must be known of a device to tell which sets it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Its name.
    pub name: DeviceName,
    /// Its type.
    pub device_type: DeviceType,
    /// For a node, the owner of the image it boots; [`UserName::platform`] when the node is free.
    pub owner: Option<UserName>,
    /// For a switch, may it be asked for its neighbours (setting `lldp.explore`)?
    pub explorable: bool,
}

impl DeviceFacts {
    /// Is it a node of that user?
    pub fn is_owned_by(&self, user: &UserName) -> bool {
        self.device_type == DeviceType::Node && self.owner.as_ref() == Some(user)
    }

    /// Is it a node that boots an image of the platform?
    pub fn is_free(&self) -> bool {
        self.device_type == DeviceType::Node
            && self.owner.as_ref().is_some_and(UserName::is_platform)
    }
}

/// One element of a set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SetElement {
    /// Nodes of the caller.
    MyNodes,
    /// Nodes that boot the default image of their model.
    FreeNodes,
    /// All nodes.
    AllNodes,
    /// All switches.
    AllSwitches,
    /// Switches that may be asked for their neighbours.
    ExplorableSwitches,
    /// Everything, server included.
    AllDevices,
    /// The WalT server.
    Server,
    /// The device of that name.
    Device(String),
}

const KEYWORDS: [(&str, SetElement); 7] = [
    ("my-nodes", SetElement::MyNodes),
    ("free-nodes", SetElement::FreeNodes),
    ("all-nodes", SetElement::AllNodes),
    ("all-switches", SetElement::AllSwitches),
    ("explorable-switches", SetElement::ExplorableSwitches),
    ("all-devices", SetElement::AllDevices),
    ("server", SetElement::Server),
];

impl SetElement {
    fn of(text: &str) -> Self {
        let keyword = KEYWORDS.iter().find(|(word, _)| *word == text);
        keyword.map_or_else(|| Self::Device(text.to_owned()), |(_, element)| element.clone())
    }

    fn selects(&self, facts: &DeviceFacts, caller: &UserName) -> bool {
        let is = |device_type| facts.device_type == device_type;
        match self {
            Self::MyNodes => facts.is_owned_by(caller),
            Self::FreeNodes => facts.is_free(),
            Self::AllNodes => is(DeviceType::Node),
            Self::AllSwitches => is(DeviceType::Switch),
            Self::ExplorableSwitches => is(DeviceType::Switch) && facts.explorable,
            Self::AllDevices => true,
            Self::Server => is(DeviceType::Server),
            Self::Device(name) => facts.name.as_str() == name,
        }
    }
}

/// A comma-separated set of device names and keywords, as typed; see [`SetElement`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct DeviceSet {
    text: String,
    elements: Vec<SetElement>,
}

/// Why a set selects nothing usable. The message is what the user reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceSetError {
    /// A name that no device has.
    #[error("No device with name '{0}' found.")]
    UnknownName(String),
    /// No device matches.
    #[error("No matching device: '{0}' selects nothing now.\n(tip: walt help show node-ownership)")]
    Empty(String),
    /// A device that is no node, where only nodes make sense.
    #[error("{name} is not a node, it is {}.", with_article(*.device_type))]
    NotANode {
        /// The device.
        name: DeviceName,
        /// What it is.
        device_type: DeviceType,
    },
    /// A device outside the set a command works on.
    #[error("Invalid value '{set}'; allowed devices belong to '{allowed}'")]
    NotAllowed {
        /// What was asked.
        set: String,
        /// What is allowed.
        allowed: String,
    },
}

fn with_article(device_type: DeviceType) -> &'static str {
    match device_type {
        DeviceType::Server => "a server",
        DeviceType::Node => "a node",
        DeviceType::Switch => "a switch",
        DeviceType::Unknown => "an unknown device",
    }
}

impl DeviceSet {
    /// Reads a set. Never fails: an element that is no keyword is a name, looked up later.
    pub fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            elements: text.split(',').map(|e| SetElement::of(e.trim())).collect(),
        }
    }

    /// The elements, in the order typed.
    pub fn elements(&self) -> &[SetElement] {
        &self.elements
    }

    /// The devices of the set among `devices`, without duplicates, in name order. Pure: resolve once,
    /// before anything is changed, since changing images alters `my-nodes` and `free-nodes`.
    ///
    /// # Errors
    /// [`DeviceSetError::UnknownName`] for the first unknown name, [`DeviceSetError::Empty`].
    pub fn resolve<'a>(
        &self,
        devices: &'a [DeviceFacts],
        caller: &UserName,
    ) -> Result<Vec<&'a DeviceFacts>, DeviceSetError> {
        let mut names = BTreeSet::new();
        for element in &self.elements {
            let before = names.len();
            names.extend(devices.iter().filter(|d| element.selects(d, caller)).map(|d| &d.name));
            if let SetElement::Device(name) = element
                && names.len() == before
                && !devices.iter().any(|d| d.name.as_str() == name)
            {
                return Err(DeviceSetError::UnknownName(name.clone()));
            }
        }
        if names.is_empty() {
            return Err(DeviceSetError::Empty(self.text.clone()));
        }
        let mut selected: Vec<&DeviceFacts> =
            devices.iter().filter(|d| names.contains(&d.name)).collect();
        selected.sort_by(|a, b| a.name.cmp(&b.name));
        selected.dedup_by(|a, b| a.name == b.name);
        Ok(selected)
    }

    /// Same as [`DeviceSet::resolve`], where only nodes make sense.
    ///
    /// # Errors
    /// The same, and [`DeviceSetError::NotANode`].
    pub fn resolve_nodes<'a>(
        &self,
        devices: &'a [DeviceFacts],
        caller: &UserName,
    ) -> Result<Vec<&'a DeviceFacts>, DeviceSetError> {
        let selected = self.resolve(devices, caller)?;
        match selected.iter().find(|d| d.device_type != DeviceType::Node) {
            Some(other) => Err(DeviceSetError::NotANode {
                name: other.name.clone(),
                device_type: other.device_type,
            }),
            None => Ok(selected),
        }
    }

    /// Same as [`DeviceSet::resolve`], where only devices of `allowed` make sense (`server,all-nodes`...).
    ///
    /// # Errors
    /// The same, and [`DeviceSetError::NotAllowed`].
    pub fn resolve_within<'a>(
        &self,
        devices: &'a [DeviceFacts],
        caller: &UserName,
        allowed: &DeviceSet,
    ) -> Result<Vec<&'a DeviceFacts>, DeviceSetError> {
        let selected = self.resolve(devices, caller)?;
        let fits = |d: &DeviceFacts| allowed.elements.iter().any(|e| e.selects(d, caller));
        if selected.iter().all(|d| fits(d)) {
            Ok(selected)
        } else {
            Err(DeviceSetError::NotAllowed {
                set: self.text.clone(),
                allowed: allowed.text.clone(),
            })
        }
    }
}

impl FromStr for DeviceSet {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}

impl fmt::Display for DeviceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl From<String> for DeviceSet {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<DeviceSet> for String {
    fn from(set: DeviceSet) -> String {
        set.text
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn platform() -> (Vec<DeviceFacts>, UserName) {
        let device = |name: &str, device_type, owner: Option<&str>, explorable| DeviceFacts {
            name: name.parse().unwrap(),
            device_type,
            owner: owner.map(|o| o.parse().unwrap()),
            explorable,
        };
        let devices = vec![
            device("walt-server", DeviceType::Server, None, false),
            device("sw1", DeviceType::Switch, None, true),
            device("sw2", DeviceType::Switch, None, false),
            device("n2", DeviceType::Node, Some("me"), false),
            device("n1", DeviceType::Node, Some("me"), false),
            device("n3", DeviceType::Node, Some("waltplatform"), false),
            device("n4", DeviceType::Node, Some("other"), false),
            device("unknown-1", DeviceType::Unknown, None, false),
        ];
        (devices, "me".parse().unwrap())
    }

    fn names(set: &str) -> Result<Vec<String>, DeviceSetError> {
        let (devices, me) = platform();
        let found = DeviceSet::new(set).resolve(&devices, &me)?;
        Ok(found.iter().map(|d| d.name.to_string()).collect())
    }

    #[test]
    fn keywords() {
        assert_eq!(names("my-nodes").unwrap(), ["n1", "n2"]);
        assert_eq!(names("free-nodes,n1,n1").unwrap(), ["n1", "n3"]);
        assert_eq!(names("all-nodes").unwrap(), ["n1", "n2", "n3", "n4"]);
        assert_eq!(names("explorable-switches,server").unwrap(), ["sw1", "walt-server"]);
        assert_eq!(names("all-devices").unwrap().len(), 8);
        assert_eq!(names("my-nodes,n1").unwrap(), ["n1", "n2"]);
    }

    #[test]
    fn errors() {
        assert_eq!(names("n9").unwrap_err().to_string(), "No device with name 'n9' found.");
        assert_eq!(names("").unwrap_err().to_string(), "No device with name '' found.");
        let (devices, me) = platform();
        let nobody: UserName = "nobody".parse().unwrap();
        let empty = DeviceSet::new("my-nodes").resolve(&devices, &nobody).unwrap_err();
        assert!(empty.to_string().contains("node-ownership"));
        let error = DeviceSet::new("n1,sw1").resolve_nodes(&devices, &me).unwrap_err();
        assert_eq!(error.to_string(), "sw1 is not a node, it is a switch.");
        let allowed = DeviceSet::new("server,all-nodes");
        assert!(DeviceSet::new("n1,server").resolve_within(&devices, &me, &allowed).is_ok());
        let error = DeviceSet::new("n1,sw1").resolve_within(&devices, &me, &allowed).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Invalid value 'n1,sw1'; allowed devices belong to 'server,all-nodes'"
        );
    }
}
