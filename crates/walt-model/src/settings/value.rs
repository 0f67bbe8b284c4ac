//! What may be typed after `=`, and what is stored.

use crate::NetSetup;
use serde_json::{Value, json};
use std::fmt;
use std::str::FromStr;

/// Bounds of the memory of a virtual node, in MiB.
pub const RAM_MIB: std::ops::RangeInclusive<u32> = 128..=65_536;
/// Bounds of the number of its CPU cores.
pub const CPU_CORES: std::ops::RangeInclusive<u32> = 1..=64;
/// Shortest `boot.timeout`, in seconds.
const MIN_BOOT_TIMEOUT: u32 = 60;
/// Longest `boot.delay`, in seconds.
const MAX_BOOT_DELAY: u32 = 3600;

/// The form of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grammar {
    Bool,
    BootDelay,
    BootTimeout,
    CpuCores,
    Disks,
    NetSetup,
    Networks,
    Ram,
    Retries,
    Text,
}

impl Grammar {
    /// The stored value, or what is wrong.
    pub(super) fn parse(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Bool => match text.to_ascii_lowercase().as_str() {
                "true" => Ok(json!(true)),
                "false" => Ok(json!(false)),
                _ => Err("it is true or false.".into()),
            },
            Self::BootDelay => text.parse::<BootDelay>().map(|_| json!(text)),
            Self::BootTimeout if text == "none" => Ok(Value::Null),
            Self::BootTimeout => match number(text) {
                Some(seconds) if seconds >= MIN_BOOT_TIMEOUT => Ok(json!(seconds)),
                _ => Err("it is a number of seconds, at least 60, or none (e.g. 300).".into()),
            },
            Self::CpuCores => match number(text) {
                Some(cores) if CPU_CORES.contains(&cores) => Ok(json!(cores)),
                _ => Err("it is a number from 1 to 64 (e.g. 2).".into()),
            },
            Self::Disks => super::disks(text).map(|_| json!(text)),
            Self::NetSetup => match text.to_ascii_uppercase().parse::<NetSetup>() {
                Ok(NetSetup::Lan) => Ok(json!(0)),
                Ok(NetSetup::Nat) => Err("NAT is not there yet in this version; use LAN.".into()),
                Err(_) => Err("it is LAN or NAT.".into()),
            },
            Self::Networks => {
                let networks = super::networks(text)?;
                let plain = networks.iter().all(|network| {
                    network.latency_us.is_none() && network.bandwidth_mbps.is_none()
                });
                if networks.len() == 1 && plain {
                    Ok(json!(text))
                } else {
                    Err("networks other than walt-net and restrictions are not there yet in this version.".into())
                }
            }
            Self::Ram => match ram_mib(text) {
                Some(mib) if RAM_MIB.contains(&mib) => Ok(json!(text)),
                Some(_) => Err("a virtual node has 128M to 64G of memory.".into()),
                None => Err("it is a number followed by M or G (e.g. 512M or 1G).".into()),
            },
            Self::Retries => match number(text) {
                Some(retries) => Ok(json!(retries)),
                None => Err("it is a number, from 0 (e.g. 3).".into()),
            },
            Self::Text => Ok(json!(text)),
        }
    }
}

/// A decimal number, without sign.
pub(super) fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// `512M` or `1G` in mebibytes.
pub fn ram_mib(text: &str) -> Option<u32> {
    match text.strip_suffix('M') {
        Some(mib) => number(mib),
        None => number(text.strip_suffix('G')?)?.checked_mul(1024),
    }
}

/// Pause before each start of a virtual machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootDelay {
    /// 1 to 10 seconds.
    Random,
    /// So many seconds.
    Seconds(u32),
}

impl FromStr for BootDelay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "random" => Ok(Self::Random),
            _ => match number(text) {
                Some(seconds) if seconds <= MAX_BOOT_DELAY => Ok(Self::Seconds(seconds)),
                _ => Err("it is random or a number of seconds, at most 3600 (e.g. 5).".into()),
            },
        }
    }
}

impl fmt::Display for BootDelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random => f.pad("random"),
            Self::Seconds(seconds) => write!(f, "{seconds}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_real_type() {
        for (grammar, text, stored) in [
            (Grammar::Bool, "TRUE", json!(true)),
            (Grammar::BootTimeout, "none", json!(null)),
            (Grammar::BootTimeout, "60", json!(60)),
            (Grammar::Retries, "0", json!(0)),
            (Grammar::CpuCores, "64", json!(64)),
            (Grammar::NetSetup, "lan", json!(0)),
            (Grammar::BootDelay, "random", json!("random")),
            (Grammar::BootDelay, "5", json!("5")),
            (Grammar::Ram, "1G", json!("1G")),
            (Grammar::Networks, "walt-net", json!("walt-net")),
        ] {
            assert_eq!(grammar.parse(text), Ok(stored), "{grammar:?} {text}");
        }
    }

    #[test]
    fn bad_values() {
        for (grammar, texts) in [
            (Grammar::Bool, &["yes", "", "1"][..]),
            (Grammar::BootTimeout, &["59", "None", "-1", "", "1e3", "99999999999"]),
            (Grammar::Retries, &["-1", "+1", "", "x"]),
            (Grammar::CpuCores, &["0", "65", "4.0"]),
            (Grammar::NetSetup, &["NAT", "wan"]),
            (Grammar::BootDelay, &["-1", "3601", "Random", ""]),
            (Grammar::Ram, &["512", "127M", "65G", "1T", "M", "1 G", "4194304G", "-1M"]),
            (Grammar::Networks, &["lan", "walt-net,lan", "walt-net[bw=1Mbps]", ""]),
        ] {
            for text in texts {
                let reason = grammar.parse(text).unwrap_err();
                assert!(reason.ends_with('.'), "{grammar:?} {text}: {reason}");
            }
        }
    }

    #[test]
    fn memory_is_written_with_its_unit() {
        assert_eq!(ram_mib("512M"), Some(512));
        assert_eq!(ram_mib("2G"), Some(2048));
        for bad in ["512", "M", "", "-1M", "1T", "9999999999G", "4294967295G"] {
            assert_eq!(ram_mib(bad), None, "{bad}");
        }
    }
}
