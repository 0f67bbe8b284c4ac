//! The stages of a boot, for the waterfall of `walt node show --boot`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A stage that a booting node has reached, as seen from the server; in the order of a normal boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootStage {
    /// Power on, reboot or virtual machine start was commanded by the server.
    Start,
    /// An address was given (DHCP ACK).
    Dhcp,
    /// The network boot loader was fetched (iPXE, u-boot).
    Loader,
    /// The boot script of the image was fetched (`start.ipxe`...).
    Script,
    /// The kernel was fetched whole.
    Kernel,
    /// The initial RAM disk was fetched whole.
    Initrd,
    /// The root file system was mounted over NFS.
    RootMounted,
    /// The injected init script runs (it set the clock, mounted `/persist`...).
    Init,
    /// The operating system is up: sshd answers and the node told so.
    Booted,
}

impl BootStage {
    /// All stages, in order.
    pub const ALL: [Self; 9] = [
        Self::Start,
        Self::Dhcp,
        Self::Loader,
        Self::Script,
        Self::Kernel,
        Self::Initrd,
        Self::RootMounted,
        Self::Init,
        Self::Booted,
    ];

    /// The word stored, sent as JSON and displayed (`root-mounted`).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Dhcp => "dhcp",
            Self::Loader => "loader",
            Self::Script => "script",
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::RootMounted => "root-mounted",
            Self::Init => "init",
            Self::Booted => "booted",
        }
    }

    /// Some boots do without this stage: a PC started by a USB key fetches no loader, an image may have
    /// no initial RAM disk or no script.
    pub fn is_optional(self) -> bool {
        matches!(self, Self::Start | Self::Loader | Self::Script | Self::Initrd)
    }

    /// What to suspect when this is the last stage a node reached. `None` when it is booted.
    pub fn likely_cause_if_last(self) -> Option<&'static str> {
        Some(match self {
            Self::Start => {
                "it asked for no address: is it powered on, cabled, and set to boot from the network?"
            }
            Self::Dhcp => {
                "it has an address but fetched nothing: is its model known, and does its image hold /boot/<model>?"
            }
            Self::Loader => {
                "its loader runs but fetched no boot script: is start.ipxe (or its equivalent) in /boot/<model> of the image?"
            }
            Self::Script => {
                "it read its boot script but fetched no kernel: does the kernel named there exist in the image?"
            }
            Self::Kernel | Self::Initrd => {
                "it has a kernel but did not mount its root: does that kernel know this network card and NFS?"
            }
            Self::RootMounted => {
                "it mounted its root but the init script did not report: is /bin/sh of the image for this processor?"
            }
            Self::Init => {
                "its init script ran but the system is not up: look at the console, and check that sshd starts"
            }
            Self::Booted => return None,
        })
    }
}

impl fmt::Display for BootStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for BootStage {
    type Err = crate::device::UnknownWord;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|stage| stage.as_str() == text)
            .ok_or_else(|| crate::device::UnknownWord { what: "boot stage", word: text.to_owned() })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_json() {
        for stage in BootStage::ALL {
            assert_eq!(serde_json::to_string(&stage).unwrap(), format!("\"{stage}\""));
            assert_eq!(stage.as_str().parse::<BootStage>().unwrap(), stage);
        }
        assert!(BootStage::ALL.is_sorted());
    }
}
