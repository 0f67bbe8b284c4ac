//! Settings of devices (`walt node config`, `walt device config`).
//!
//! [`SETTINGS`] is the one table: what is accepted, what is stored, what is shown, completed, told by `--help` and
//! written in `docs/node-config.md` follows from it.

mod disks;
mod networks;
mod value;

pub use disks::{DISK_BYTES, Disk, DiskTemplate, MAX_DISKS, disks};
pub use networks::{VirtualNetwork, networks};
pub use value::{BootDelay, CPU_CORES, RAM_MIB, ram_mib};

use crate::{DeviceName, DeviceType};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use value::Grammar;

/// A setting.
#[derive(Debug)]
pub struct Setting {
    /// The word typed before `=`.
    pub name: &'static str,
    /// What it does, in a few words.
    pub about: &'static str,
    /// What it makes sense for.
    pub applies_to: AppliesTo,
    /// What may be typed after `=`, in words.
    pub values: &'static str,
    /// Its value where it was not set, as typed; `None`: unspecified.
    pub default: Option<&'static str>,
    /// Whether it takes effect at the next boot only.
    pub needs_reboot: bool,
    /// Whether this version does something with it.
    pub available: bool,
    grammar: Grammar,
}

/// What a setting makes sense for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppliesTo {
    /// Everything on walt-net but the server.
    NetworkDevices,
    /// Nodes.
    Nodes,
    /// Virtual nodes.
    VirtualNodes,
    /// Switches.
    Switches,
    /// Devices whose type is not known.
    UnknownDevices,
}

/// What must be known of a device to tell which settings it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its name.
    pub name: DeviceName,
    /// Its type.
    pub device_type: DeviceType,
    /// Whether it is a virtual node.
    pub is_virtual: bool,
    /// Whether its address is one of walt-net.
    pub in_walt_net: bool,
}

impl AppliesTo {
    /// Whether this device is one of those.
    pub fn includes(self, subject: &Subject) -> bool {
        match self {
            Self::NetworkDevices => {
                subject.in_walt_net && subject.device_type != DeviceType::Server
            }
            Self::Nodes => subject.device_type == DeviceType::Node,
            Self::VirtualNodes => subject.device_type == DeviceType::Node && subject.is_virtual,
            Self::Switches => subject.device_type == DeviceType::Switch,
            Self::UnknownDevices => subject.device_type == DeviceType::Unknown,
        }
    }

    /// One of those, in words.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::NetworkDevices => "device of walt-net",
            Self::Nodes => "node",
            Self::VirtualNodes => "virtual node",
            Self::Switches => "switch",
            Self::UnknownDevices => "device of unknown type",
        }
    }
}

/// All settings, sorted by name.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "boot.delay",
        about: "pause before each start of the virtual machine",
        applies_to: AppliesTo::VirtualNodes,
        values: "`random` (1 to 10 seconds), or seconds (0 to 3600)",
        default: Some("0"),
        needs_reboot: true,
        available: true,
        grammar: Grammar::BootDelay,
    },
    Setting {
        name: "boot.retries",
        about: "how many times in a row a node that does not boot is hard-rebooted",
        applies_to: AppliesTo::Nodes,
        values: "a number, from 0",
        default: Some("9"),
        needs_reboot: false,
        available: true,
        grammar: Grammar::Retries,
    },
    Setting {
        name: "boot.timeout",
        about: "after how long a node that is not booted is hard-rebooted",
        applies_to: AppliesTo::Nodes,
        values: "seconds, from 60, or `none` (never)",
        default: Some("180"),
        needs_reboot: false,
        available: true,
        grammar: Grammar::BootTimeout,
    },
    Setting {
        name: "cpu.cores",
        about: "number of CPU cores",
        applies_to: AppliesTo::VirtualNodes,
        values: "1 to 64",
        default: Some("4"),
        needs_reboot: true,
        available: true,
        grammar: Grammar::CpuCores,
    },
    Setting {
        name: "disks",
        about: "local disks",
        applies_to: AppliesTo::VirtualNodes,
        values: "`none`, or sizes such as `8G,1T`, each with an optional `[template=<t>]`",
        default: Some("none"),
        needs_reboot: true,
        available: true,
        grammar: Grammar::Disks,
    },
    Setting {
        name: "expose",
        about: "TCP ports of the device reachable through the server",
        applies_to: AppliesTo::NetworkDevices,
        values: "`none`, or `<device port>:<server port>[,...]`",
        default: Some("none"),
        needs_reboot: false,
        available: false,
        grammar: Grammar::Text,
    },
    Setting {
        name: "kexec.allow",
        about: "whether the node may reboot by kexec",
        applies_to: AppliesTo::Nodes,
        values: "`true` or `false`",
        default: Some("true"),
        needs_reboot: false,
        available: true,
        grammar: Grammar::Bool,
    },
    Setting {
        name: "lldp.explore",
        about: "whether the switch is asked for its neighbours",
        applies_to: AppliesTo::Switches,
        values: "`true` or `false`",
        default: Some("false"),
        needs_reboot: false,
        available: false,
        grammar: Grammar::Bool,
    },
    Setting {
        name: "mount.persist",
        about: "whether the node gets its `/persist`",
        applies_to: AppliesTo::Nodes,
        values: "`true` or `false`",
        default: Some("true"),
        needs_reboot: true,
        available: true,
        grammar: Grammar::Bool,
    },
    Setting {
        name: "netsetup",
        about: "whether the device may go out of walt-net (`NAT`) or not (`LAN`)",
        applies_to: AppliesTo::NetworkDevices,
        values: "`LAN` (`NAT` is not there yet)",
        default: Some("LAN"),
        needs_reboot: true,
        available: true,
        grammar: Grammar::NetSetup,
    },
    Setting {
        name: "networks",
        about: "networks the virtual machine is plugged into",
        applies_to: AppliesTo::VirtualNodes,
        values: "`walt-net` (other networks are not there yet)",
        default: Some("walt-net"),
        needs_reboot: true,
        available: true,
        grammar: Grammar::Networks,
    },
    Setting {
        name: "poe.reboots",
        about: "whether the ports of the switch may be switched off and on",
        applies_to: AppliesTo::Switches,
        values: "`true` or `false`",
        default: Some("false"),
        needs_reboot: false,
        available: false,
        grammar: Grammar::Bool,
    },
    Setting {
        name: "ram",
        about: "memory",
        applies_to: AppliesTo::VirtualNodes,
        values: "128M to 64G, such as `512M` or `1G`",
        default: Some("512M"),
        needs_reboot: true,
        available: true,
        grammar: Grammar::Ram,
    },
    Setting {
        name: "snmp.community",
        about: "password of the switch",
        applies_to: AppliesTo::Switches,
        values: "any text",
        default: None,
        needs_reboot: false,
        available: false,
        grammar: Grammar::Text,
    },
    Setting {
        name: "snmp.version",
        about: "how the switch is asked",
        applies_to: AppliesTo::Switches,
        values: "`1` or `2`",
        default: None,
        needs_reboot: false,
        available: false,
        grammar: Grammar::Text,
    },
    Setting {
        name: "type",
        about: "what an unknown device is",
        applies_to: AppliesTo::UnknownDevices,
        values: "`switch`",
        default: None,
        needs_reboot: false,
        available: false,
        grammar: Grammar::Text,
    },
];

/// The setting of that name.
pub fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// The settings a device has in this version, sorted by name.
pub fn settings_of(subject: &Subject) -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(|setting| setting.available && setting.applies_to.includes(subject))
}

impl Setting {
    /// What is stored when `text` is typed after `=`.
    ///
    /// # Errors
    /// [`SettingsError::Value`]: the message has an example.
    pub fn parse(&self, text: &str) -> Result<Value, SettingsError> {
        self.grammar.parse(text).map_err(|reason| SettingsError::Value {
            setting: self.name,
            // What is shown of something absurd is bounded.
            value: text.chars().take(80).collect(),
            reason,
        })
    }

    /// A stored value as it is typed and shown.
    pub fn show(&self, value: &Value) -> String {
        match (self.grammar, value) {
            (Grammar::NetSetup, Value::Number(number)) => {
                if number.as_u64() == Some(1) { "NAT" } else { "LAN" }.to_owned()
            }
            (_, Value::Null) => "none".to_owned(),
            (_, Value::String(text)) => text.clone(),
            (_, other) => other.to_string(),
        }
    }
}

/// Why settings are refused. The message is what the user reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No setting has that name.
    #[error("Unknown setting '{0}'.")]
    Unknown(String),
    /// Known, without effect in this version.
    #[error("Failed: setting '{0}' is not there yet in this version.")]
    NotYet(&'static str),
    /// Not for these devices.
    #[error("Failed: {}, so setting '{setting}' cannot be applied.", are_no(.devices, *.applies_to))]
    NotApplicable {
        /// The setting.
        setting: &'static str,
        /// What it is for.
        applies_to: AppliesTo,
        /// Devices that are not.
        devices: Vec<String>,
    },
    /// A value that makes no sense.
    #[error("Failed: '{value}' is not a value of setting '{setting}': {reason}")]
    Value {
        /// The setting.
        setting: &'static str,
        /// What was typed.
        value: String,
        /// Why, with an example.
        reason: String,
    },
}

/// `device n1 is not a virtual node`, `devices n1 and n2 are not virtual nodes`.
fn are_no(devices: &[String], what: AppliesTo) -> String {
    let list = crate::sentence::list("device", devices);
    let noun = what.noun();
    match devices.len() {
        1 => format!("{list} is not a {noun}"),
        _ if what == AppliesTo::Switches => format!("{list} are not switches"),
        _ => format!(
            "{list} are not {}",
            noun.replacen("device", "devices", 1).replace("node", "nodes")
        ),
    }
}

/// Checks settings for devices: all names, then all devices, then all values. Gives what is to be stored.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(
    wanted: &BTreeMap<String, String>,
    subjects: &[Subject],
) -> Result<BTreeMap<&'static str, Value>, SettingsError> {
    let mut known = Vec::new();
    for (name, text) in wanted {
        let short = || name.chars().take(80).collect();
        let setting = setting(name).ok_or_else(|| SettingsError::Unknown(short()))?;
        if !setting.available {
            return Err(SettingsError::NotYet(setting.name));
        }
        known.push((setting, text));
    }
    for (setting, _) in &known {
        let others: Vec<String> = subjects
            .iter()
            .filter(|subject| !setting.applies_to.includes(subject))
            .map(|subject| subject.name.to_string())
            .collect();
        if !others.is_empty() {
            return Err(SettingsError::NotApplicable {
                setting: setting.name,
                applies_to: setting.applies_to,
                devices: others,
            });
        }
    }
    known.iter().map(|(setting, text)| Ok((setting.name, setting.parse(text)?))).collect()
}

/// The table of `docs/node-config.md`: settings of nodes that this version knows, as Markdown.
pub fn markdown() -> impl fmt::Display {
    let mut text = String::from(
        "| setting | for | values | default | reboot | what it is |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    let of_nodes = [AppliesTo::NetworkDevices, AppliesTo::Nodes, AppliesTo::VirtualNodes];
    for setting in SETTINGS.iter().filter(|s| s.available && of_nodes.contains(&s.applies_to)) {
        text.push_str(&format!(
            "| `{}` | {} | {} | `{}` | {} | {} |\n",
            setting.name,
            if setting.applies_to == AppliesTo::VirtualNodes { "virtual nodes" } else { "nodes" },
            setting.values,
            setting.default.unwrap_or_default(),
            if setting.needs_reboot { "yes" } else { "no" },
            setting.about,
        ));
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn subject(name: &str, device_type: DeviceType, is_virtual: bool) -> Subject {
        Subject { name: name.parse().unwrap(), device_type, is_virtual, in_walt_net: true }
    }

    fn wanted(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn the_table_is_sorted_and_its_defaults_are_values() {
        assert!(SETTINGS.is_sorted_by_key(|setting| setting.name));
        for setting in SETTINGS {
            if let Some(default) = setting.default {
                let value = setting.parse(default).unwrap();
                assert_eq!(setting.show(&value), default, "{}", setting.name);
            }
        }
    }

    #[test]
    fn the_documentation_has_the_table() {
        let docs = include_str!("../../../../docs/node-config.md");
        let table = markdown().to_string();
        assert!(docs.contains(&table), "docs/node-config.md must contain:\n{table}");
        for template in DiskTemplate::ALL {
            assert!(docs.contains(&format!("| `{}` |", template.as_str())), "{template:?}");
        }
    }

    #[test]
    fn settings_are_for_some_devices() {
        let vnode = subject("v1", DeviceType::Node, true);
        let node = subject("n1", DeviceType::Node, false);
        let names = |subject: &Subject| settings_of(subject).map(|s| s.name).collect::<Vec<_>>();
        assert!(names(&vnode).contains(&"ram"));
        assert!(!names(&node).contains(&"ram"));
        assert!(names(&subject("server", DeviceType::Server, false)).is_empty());
        let both = [vnode, node];
        let error = check(&wanted(&[("ram", "1G")]), &both).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Failed: device n1 is not a virtual node, so setting 'ram' cannot be applied."
        );
        assert!(check(&wanted(&[("kexec.allow", "False")]), &both).is_ok());
    }

    #[test]
    fn nothing_is_accepted_when_one_thing_is_wrong() {
        let vnode = [subject("v1", DeviceType::Node, true)];
        let message =
            |pairs: &[(&str, &str)]| check(&wanted(pairs), &vnode).unwrap_err().to_string();
        assert_eq!(message(&[("ram", "1G"), ("rom", "1")]), "Unknown setting 'rom'.");
        assert!(message(&[("expose", "80:80")]).contains("not there yet"));
        assert!(message(&[("ram", "1X"), ("cpu.cores", "2")]).starts_with("Failed: '1X' is not"));
        let good = check(&wanted(&[("ram", "1G"), ("cpu.cores", "2")]), &vnode).unwrap();
        assert_eq!(good, BTreeMap::from([("ram", json!("1G")), ("cpu.cores", json!(2))]));
    }

    #[test]
    fn several_devices_are_named() {
        let devices = ["a".to_owned(), "b".to_owned()];
        assert_eq!(are_no(&devices, AppliesTo::Switches), "devices a and b are not switches");
        assert_eq!(
            are_no(&devices, AppliesTo::UnknownDevices),
            "devices a and b are not devices of unknown type"
        );
        assert_eq!(
            are_no(&devices, AppliesTo::VirtualNodes),
            "devices a and b are not virtual nodes"
        );
    }
}
