//! The rows. The first that fits a client is its own: the order counts.

use std::time::Duration;

use super::{Address, Boots, Class, Firmware, Says, WALT};
use crate::policy::answer::{
    BIOS_PXE_CLASS, EFI_ARM64_FILE, EFI_X64_FILE, EFI_X86_FILE, UNDIONLY_FILE,
};

/// Manufacturer prefix of the Raspberry Pis whose address is made from their serial number.
pub(super) const PI_FROM_SERIAL: [u8; 3] = [0xb8, 0x27, 0xeb];

/// Any client.
const ANYONE: Says = Says {
    user_class: Class::Any,
    vendor_class: Class::Any,
    address: Address::Any,
    architectures: &[],
};
/// Firmware without particularities: what rows differ from.
const USUAL: Firmware = Firmware {
    name: "any other client",
    says: ANYONE,
    boots: Boots::Nothing,
    option_67: false,
    offers: &[Duration::ZERO],
    holds_offer: Duration::from_secs(60),
    max_block: 1468,
    max_window: 64,
    block_numbers_wrap: true,
    why: "Operating systems, switches, printers.",
    source: "RFC 2131",
};
/// Raspberry Pi firmware, whatever its generation.
const PI: Says =
    Says { vendor_class: Class::Is(BIOS_PXE_CLASS), address: Address::RaspberryPi, ..ANYONE };

const fn pxe(architectures: &'static [u16]) -> Says {
    Says { vendor_class: Class::Begins("PXEClient"), architectures, ..ANYONE }
}

const fn http(architectures: &'static [u16]) -> Says {
    Says { vendor_class: Class::Begins("HTTPClient"), architectures, ..ANYONE }
}

/// What is known of firmware.
pub const FIRMWARES: &[Firmware] = &[
    Firmware {
        name: "iPXE that runs a script of WalT",
        says: Says { user_class: WALT, ..ANYONE },
        why: "Its script asks for `start.ipxe` of the server named in the answer: a boot file would \
              be another program to run.",
        source: "WalT's boot media",
        ..USUAL
    },
    Firmware {
        name: "any other iPXE",
        says: Says { user_class: Class::Has("iPXE"), ..ANYONE },
        boots: Boots::Script,
        why: "In network cards and in QEMU. Releases of 2019 wait 10 to 40 s for an IPv6 router: the \
              server advertises that there is none.",
        source: "packet traces of Debian 12's ROMs",
        ..USUAL
    },
    Firmware {
        name: "U-Boot of WalT",
        says: Says { vendor_class: WALT, ..ANYONE },
        why: "It asks for `fit-start.uboot`, then `start.uboot`, and starts over at any error.",
        source: "WalT's boot media",
        ..USUAL
    },
    Firmware {
        name: "Raspberry Pi 2B v1.2, 3B, 3B+",
        says: Says { address: Address::RaspberryPiFromSerial, ..PI },
        boots: Boots::RaspberryPiMenu,
        // The ROM looks at what it received when the next frame comes, and gives up after some more
        // than a second without any.
        offers: &[Duration::ZERO, Duration::from_millis(600), Duration::from_millis(1200)],
        // The ROM, bootcode.bin and start.elf load all they need without a REQUEST.
        holds_offer: Duration::from_secs(180),
        why: "The ROM of the 3B takes an answer into account when the next frame arrives, so the same \
              OFFER comes again; it uses the address it was offered without asking for it (no REQUEST).",
        source: "openSUSE/netboot-rpi3b; \"Known problems\" of Raspberry Pi's page on network boot",
        ..USUAL
    },
    Firmware {
        name: "Raspberry Pi 4B, 400, 5B (EEPROM)",
        says: PI,
        boots: Boots::RaspberryPiMenu,
        // It never asks for a window; were one agreed to, what it keeps of it is not known.
        max_window: 1,
        block_numbers_wrap: false,
        why: "Its REQUEST has no vendor class. Early releases refuse what follows the text of the menu, \
              so option 43 has no end mark. Files are asked for below the serial number, the address \
              (`TFTP_PREFIX=2`) or nothing.",
        source: "release notes and issues 82, 87 and 720 of raspberrypi/rpi-eeprom",
        ..USUAL
    },
    Firmware {
        name: "BIOS PXE ROM",
        says: Says { vendor_class: Class::Is(BIOS_PXE_CLASS), architectures: &[0], ..ANYONE },
        boots: Boots::Tftp(UNDIONLY_FILE),
        why: "It asks for the size of the file, stops, and asks again.",
        source: "PXE 2.1",
        ..USUAL
    },
    Firmware {
        name: "UEFI HTTP boot, 64-bit PC",
        says: http(&[16]),
        boots: Boots::Http(EFI_X64_FILE),
        option_67: true,
        why: "An answer without class `HTTPClient` is dropped.",
        source: "UEFI 2.10, 24.7",
        ..USUAL
    },
    Firmware {
        name: "UEFI HTTP boot, 32-bit PC",
        says: http(&[15]),
        boots: Boots::Http(EFI_X86_FILE),
        option_67: true,
        why: "As above.",
        source: "UEFI 2.10, 24.7",
        ..USUAL
    },
    Firmware {
        name: "UEFI HTTP boot, 64-bit ARM",
        says: http(&[19]),
        boots: Boots::Http(EFI_ARM64_FILE),
        option_67: true,
        why: "As above.",
        source: "UEFI 2.10, 24.7",
        ..USUAL
    },
    Firmware {
        name: "UEFI PXE, 64-bit PC",
        says: pxe(&[7, 9]),
        boots: Boots::Tftp(EFI_X64_FILE),
        why: "Both numbers are in use for the same machines.",
        source: "RFC 4578 and its errata",
        ..USUAL
    },
    Firmware {
        name: "UEFI PXE, 32-bit PC",
        says: pxe(&[6]),
        boots: Boots::Tftp(EFI_X86_FILE),
        why: "Tablets and early Macs.",
        source: "RFC 4578",
        ..USUAL
    },
    Firmware {
        name: "UEFI PXE, 64-bit ARM",
        says: pxe(&[11]),
        boots: Boots::Tftp(EFI_ARM64_FILE),
        why: "Servers, and QEMU's `virt`.",
        source: "IANA, processor architecture types",
        ..USUAL
    },
    USUAL,
];
