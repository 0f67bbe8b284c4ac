//! What a virtual node is made of.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use walt_model::settings::{BootDelay, CPU_CORES, DISK_BYTES, Disk, MAX_DISKS, RAM_MIB};

/// How a virtual node starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// SeaBIOS and QEMU's iPXE network ROM.
    Bios,
    /// OVMF, its own PXE client.
    Uefi,
}

/// A virtual node, as its owner asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// Node name: shown in the process list and in messages (letters, digits, `-`).
    pub name: String,
    /// Its address on `walt-net`.
    pub mac: [u8; 6],
    /// BIOS or UEFI.
    pub firmware: Firmware,
    /// Memory in MiB, 128 to 65536.
    pub ram_mb: u32,
    /// Number of virtual CPUs, 1 to 64.
    pub cpu_cores: u32,
    /// Its disks, made at the start of QEMU that follows.
    pub disks: Vec<Disk>,
    /// Pause before each start of the guest.
    pub boot_delay: BootDelay,
    /// The bridge its network card is plugged into, in the caller's network namespace.
    pub bridge: String,
    /// Where its state is kept (made if missing): one directory per node, e.g.
    /// `<state>/virtual/<mac-with-dashes>`.
    pub dir: PathBuf,
}

/// What is wrong in a [`NodeSpec`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Memory out of bounds.
    #[error("a virtual node needs 128 MiB to 64 GiB of memory, not {0} MiB")]
    Ram(u32),
    /// CPUs out of bounds.
    #[error("a virtual node needs 1 to 64 CPUs, not {0}")]
    Cpu(u32),
    /// Disks out of bounds.
    #[error("a virtual node has at most {MAX_DISKS} disks of 1G to 2T each")]
    Disks,
    /// Bad name.
    #[error("'{0}' is not a node name (lower-case letters, digits and dashes)")]
    Name(String),
    /// Bad address.
    #[error("{0} is not the address of one machine (unicast, not zero)")]
    Mac(String),
    /// Bad bridge name.
    #[error("'{0}' is not the name of a network interface")]
    Bridge(String),
}

impl NodeSpec {
    /// Checks every bound.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), SpecError> {
        let name_ok = (1..=63).contains(&self.name.len())
            && self.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !self.name.starts_with('-');
        if !name_ok {
            return Err(SpecError::Name(self.name.clone()));
        }
        if self.mac == [0; 6] || self.mac[0] & 1 != 0 {
            return Err(SpecError::Mac(self.mac_text()));
        }
        // IFNAMSIZ (linux/if.h) is 16, the final zero included.
        let bridge_ok = (1..=15).contains(&self.bridge.len())
            && self.bridge.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':');
        if !bridge_ok {
            return Err(SpecError::Bridge(self.bridge.clone()));
        }
        if !RAM_MIB.contains(&self.ram_mb) {
            return Err(SpecError::Ram(self.ram_mb));
        }
        if !CPU_CORES.contains(&self.cpu_cores) {
            return Err(SpecError::Cpu(self.cpu_cores));
        }
        let disk_ok = |disk: &Disk| DISK_BYTES.contains(&disk.bytes);
        if self.disks.len() > MAX_DISKS || !self.disks.iter().all(disk_ok) {
            return Err(SpecError::Disks);
        }
        Ok(())
    }

    /// The address as `52:54:00:aa:bb:cc`.
    pub fn mac_text(&self) -> String {
        self.mac.map(|byte| format!("{byte:02x}")).join(":")
    }

    /// Name of the node's plug on the host: `wt525400aabbcc`.
    pub fn tap_name(&self) -> String {
        format!("wt{}", self.mac.map(|byte| format!("{byte:02x}")).concat())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bounds() {
        let good = NodeSpec {
            name: "vnode-1".into(),
            mac: [0x52, 0x54, 0, 0xaa, 0xbb, 0xcc],
            firmware: Firmware::Bios,
            ram_mb: 512,
            cpu_cores: 4,
            disks: Vec::new(),
            boot_delay: BootDelay::Seconds(0),
            bridge: "walt-net".into(),
            dir: "/tmp/x".into(),
        };
        good.validate().unwrap();
        assert_eq!(good.tap_name(), "wt525400aabbcc");
        assert_eq!(good.mac_text(), "52:54:00:aa:bb:cc");
        let bad = |change: fn(&mut NodeSpec)| {
            let mut spec = good.clone();
            change(&mut spec);
            spec.validate().unwrap_err()
        };
        assert_eq!(bad(|s| s.ram_mb = 100), SpecError::Ram(100));
        assert_eq!(bad(|s| s.ram_mb = 1 << 20), SpecError::Ram(1 << 20));
        assert_eq!(bad(|s| s.cpu_cores = 0), SpecError::Cpu(0));
        let disk = |bytes| Disk { bytes, template: Default::default() };
        assert_eq!(
            bad(|s| s.disks = vec![Disk { bytes: 1, template: Default::default() }]),
            SpecError::Disks
        );
        let many = NodeSpec { disks: vec![disk(1_000_000_000); 9], ..good.clone() };
        assert_eq!(many.validate(), Err(SpecError::Disks));
        assert_eq!(bad(|s| s.name = "a,b".into()), SpecError::Name("a,b".into()));
        assert!(matches!(bad(|s| s.mac[0] = 1), SpecError::Mac(_)));
        assert!(matches!(bad(|s| s.bridge = "a/b".into()), SpecError::Bridge(_)));
    }
}
