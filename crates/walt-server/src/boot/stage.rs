//! One stage of a boot: what was observed, when, for how long.

use serde::{Deserialize, Serialize};

/// The kinds of stages, in the order a boot usually goes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageKind {
    /// A user, or the platform, asked for this boot (creation, reboot).
    Requested,
    /// An address exchange: DISCOVER to ACK of one loader.
    Dhcp,
    /// A loader was fetched (`undionly.kpxe`, `ipxe.efi`, firmware files).
    Loader,
    /// A boot script was fetched (`start.ipxe` and what it chains, `start.uboot`).
    Script,
    /// Another file below `/boot/<model>`.
    File,
    /// The kernel was fetched.
    Kernel,
    /// The initial RAM disk was fetched.
    Initrd,
    /// The root file system was mounted.
    Root,
    /// `/persist` was mounted.
    Persist,
    /// A line of the injected init (`walt-init` stream).
    Init,
    /// The bootup notification came.
    Booted,
    /// The node's sshd answered the server.
    Ssh,
}

impl StageKind {
    /// The word shown in a listing.
    pub fn word(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Dhcp => "dhcp",
            Self::Loader => "loader",
            Self::Script => "script",
            Self::File => "file",
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::Root => "root",
            Self::Persist => "persist",
            Self::Init => "init",
            Self::Booted => "booted",
            Self::Ssh => "ssh",
        }
    }

    /// What a file of this name is, in a boot.
    pub fn of_file(path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path);
        let name = name.to_ascii_lowercase();
        let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
        let board_firmware = name.starts_with("start") && ends(&[".elf"]);
        if ends(&[".kpxe", ".efi", ".pxe", ".lkrn"])
            || name == "bootcode.bin"
            || board_firmware
            || name.starts_with("u-boot")
        {
            Self::Loader
        } else if name == "fit.uboot" {
            // Kernel, initrd and device tree in one file.
            Self::Kernel
        } else if ends(&[".ipxe", ".uboot", ".scr"]) {
            Self::Script
        } else if name.starts_with("initrd") || name.starts_with("initramfs") {
            Self::Initrd
        } else if name.starts_with("kernel") || name.starts_with("vmlinuz") || name == "bzimage" {
            Self::Kernel
        } else {
            Self::File
        }
    }
}

/// How a stage went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Begun, and no end seen yet.
    Running,
    /// Done.
    Done,
    /// Did not work; why.
    Failed(String),
}

/// One stage. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// What it is.
    pub kind: StageKind,
    /// What it is about: a path, an address, a line.
    pub detail: String,
    /// The protocol, for files: `tftp` or `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// When it was first observed.
    pub start_ms: u64,
    /// When it ended, if it did. Equal to `start_ms` for what has no duration.
    pub end_ms: Option<u64>,
    /// Bytes transferred, for files.
    pub bytes: Option<u64>,
    /// How it went.
    pub outcome: Outcome,
}

impl Stage {
    /// Something that took no time.
    pub fn instant(kind: StageKind, detail: impl Into<String>, at_ms: u64) -> Self {
        Self {
            kind,
            detail: detail.into(),
            via: None,
            start_ms: at_ms,
            end_ms: Some(at_ms),
            bytes: None,
            outcome: Outcome::Done,
        }
    }

    /// Something that has begun.
    pub fn begun(kind: StageKind, detail: impl Into<String>, at_ms: u64) -> Self {
        Self {
            kind,
            detail: detail.into(),
            via: None,
            start_ms: at_ms,
            end_ms: None,
            bytes: None,
            outcome: Outcome::Running,
        }
    }

    /// It is about a file its loader also knows by another name, which it asks for next: U-Boot's script in a FIT image.
    pub fn has_another_name(&self) -> bool {
        self.kind == StageKind::Script && self.detail.ends_with("fit-start.uboot")
    }

    /// Something that was refused or did not work.
    pub fn failed(
        kind: StageKind,
        detail: impl Into<String>,
        at_ms: u64,
        why: impl Into<String>,
    ) -> Self {
        Self { outcome: Outcome::Failed(why.into()), ..Self::instant(kind, detail, at_ms) }
    }

    /// When it was last seen to go on.
    pub fn last_ms(&self) -> u64 {
        self.end_ms.unwrap_or(self.start_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::StageKind;

    #[test]
    fn files_of_boards_are_what_they_are_for_those_of_pcs() {
        for (path, kind) in [
            ("pxe/walt-arm64.efi", StageKind::Loader),
            ("1a2b3c4d/start4.elf", StageKind::Loader),
            ("u-boot-rpi-4-b.img", StageKind::Loader),
            ("start.uboot", StageKind::Script),
            ("fit-start.uboot", StageKind::Script),
            ("fit.uboot", StageKind::Kernel),
            ("kernel", StageKind::Kernel),
            ("initrd", StageKind::Initrd),
            ("dtb", StageKind::File),
            ("config.txt", StageKind::File),
        ] {
            assert_eq!(StageKind::of_file(path), kind, "{path}");
        }
    }
}
