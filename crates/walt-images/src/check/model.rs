//! What the name of a node model tells about its machines.

use super::elf::{AARCH64, ARM, I386, Machine, X86_64};

/// How a machine boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// iPXE, which asks for `start.ipxe`.
    Ipxe,
    /// Raspberry Pi: its firmware, with or without U-Boot.
    RaspberryPi,
    /// U-Boot, which asks for `start.uboot`.
    Uboot,
    /// Nobody knows: any of these.
    Unknown,
}

/// How machines of this model boot.
pub(super) fn family(model: &str) -> Family {
    if model.starts_with("pc-") {
        Family::Ipxe
    } else if model.starts_with("rpi-") {
        Family::RaspberryPi
    } else if model.starts_with("qemu-arm")
        || model.starts_with("coral")
        || model.starts_with("nanopi")
    {
        Family::Uboot
    } else {
        Family::Unknown
    }
}

/// The processors whose programs machines of this model run; empty when nobody knows.
pub(super) fn machines(model: &str) -> &'static [Machine] {
    match model {
        "pc-x86-64" => &[X86_64, I386],
        "pc-x86-32" => &[I386],
        "pc-arm-64" | "qemu-arm-64" | "rpi-5-b" => &[AARCH64],
        "rpi-b" | "rpi-b-plus" => &[ARM],
        // Boards with a 64-bit processor also run 32-bit images.
        _ if model.starts_with("rpi-") => &[ARM, AARCH64],
        _ => &[],
    }
}

/// Whether virtual nodes have this model.
pub(super) fn is_virtual(model: &str) -> bool {
    model == "pc-x86-64"
}

/// A processor, for people.
pub(super) fn machine_name(machine: Machine) -> String {
    match machine {
        I386 => "32-bit x86".into(),
        X86_64 => "64-bit x86".into(),
        ARM => "32-bit ARM".into(),
        AARCH64 => "64-bit ARM".into(),
        other => format!("another processor (ELF machine {other})"),
    }
}
