//! What is particular to each firmware that boots from the network, as one table.
//!
//! [`FIRMWARES`] has a row per firmware: how it is recognised, what it boots, and the few things that
//! must be done for it and not for others. Services look their client up ([`firmware_of`]) and do what
//! the row says; none of them knows a firmware by name. `docs/boot-families.md` shows the table.

mod table;

use std::fmt::Write as _;
use std::time::Duration;

use super::request::{DhcpRequest, WALT_CLASS};
pub use table::FIRMWARES;

/// Class of a client that runs a script or a loader of WalT.
const WALT: Class = Class::Begins(WALT_CLASS);

/// One firmware, or one program of a boot chain.
#[derive(Debug, PartialEq, Eq)]
pub struct Firmware {
    /// What a person calls it.
    pub name: &'static str,
    /// How it is recognised.
    pub says: Says,
    /// What it is told to boot.
    pub boots: Boots,
    /// It reads its boot file in option 67 only (it may not ask for that option).
    pub option_67: bool,
    /// When the OFFER is sent, after the DISCOVER. One that is not the first wakes firmware that
    /// sleeps on the answer it has.
    pub offers: &'static [Duration],
    /// How long an address that was offered, and not asked for yet, stays its own.
    pub holds_offer: Duration,
    /// Largest TFTP block agreed to, in bytes.
    pub max_block: u16,
    /// Largest TFTP window agreed to, in blocks (RFC 7440).
    pub max_window: u16,
    /// It takes files of more than 65535 TFTP blocks.
    pub block_numbers_wrap: bool,
    /// Why the row is as it is.
    pub why: &'static str,
    /// Where that is known from.
    pub source: &'static str,
}

/// How a firmware is recognised: all of it must be so.
#[derive(Debug, PartialEq, Eq)]
pub struct Says {
    /// Its user class (option 77).
    pub user_class: Class,
    /// Its vendor class (option 60).
    pub vendor_class: Class,
    /// Its hardware address.
    pub address: Address,
    /// Its architecture (option 93) is one of these; any when empty.
    pub architectures: &'static [u16],
}

/// What a class of a client is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Anything, or nothing.
    Any,
    /// It is this.
    Is(&'static str),
    /// It begins with this.
    Begins(&'static str),
    /// This is in it, be it a list of classes (RFC 3004).
    Has(&'static str),
}

/// What a hardware address is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// Anything.
    Any,
    /// One of a Raspberry Pi.
    RaspberryPi,
    /// One of a Raspberry Pi up to model 3B+: made from the serial number of the board.
    RaspberryPiFromSerial,
}

/// What a client is told to boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boots {
    /// Nothing: it knows what to ask for.
    Nothing,
    /// The script of its image when it is a node, else the script that tells its model.
    Script,
    /// The boot menu of PXE which Raspberry Pi firmware looks for; it then knows what to ask for.
    RaspberryPiMenu,
    /// This file of the platform, by TFTP.
    Tftp(&'static str),
    /// This file of the platform, as an HTTP URL.
    Http(&'static str),
}

/// The row of a client.
pub fn firmware_of(request: &DhcpRequest) -> &'static Firmware {
    FIRMWARES.iter().find(|row| row.says.fits(request)).unwrap_or(other())
}

/// The last row: clients nothing is known of.
pub fn other() -> &'static Firmware {
    &FIRMWARES[FIRMWARES.len() - 1]
}

impl Says {
    fn fits(&self, request: &DhcpRequest) -> bool {
        let address = match self.address {
            Address::Any => true,
            Address::RaspberryPi => request.mac.is_raspberry_pi(),
            Address::RaspberryPiFromSerial => request.mac.oui() == table::PI_FROM_SERIAL,
        };
        let users = || request.user_classes.iter().map(String::as_str);
        address
            && self.user_class.fits(&request.user_class, users)
            && self.vendor_class.fits(&request.vendor_class, std::iter::empty)
            && (self.architectures.is_empty()
                || request.architectures.iter().any(|known| self.architectures.contains(known)))
    }
}

impl Class {
    fn fits<'a, More: Iterator<Item = &'a str>>(
        self,
        class: &'a str,
        more: impl FnOnce() -> More,
    ) -> bool {
        match self {
            Self::Any => true,
            Self::Is(text) => class == text,
            Self::Begins(text) => class.starts_with(text),
            Self::Has(text) => class.contains(text) || more().any(|class| class.contains(text)),
        }
    }
}

/// The table as the lines of Markdown that `docs/boot-families.md` must hold.
pub fn markdown() -> String {
    let mut text =
        String::from("| firmware | recognised by | boots | particularities | source |\n");
    text.push_str("| --- | --- | --- | --- | --- |\n");
    for row in FIRMWARES {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            row.name,
            row.says.words(),
            row.boots.words(),
            row.particularities(),
            row.source
        );
    }
    text
}

impl Firmware {
    fn particularities(&self) -> String {
        let usual = other();
        let mut said = Vec::new();
        if self.offers != usual.offers {
            let times: Vec<_> = self.offers.iter().map(|at| at.as_millis().to_string()).collect();
            said.push(format!("OFFER after {} ms", times.join(", ")));
        }
        if self.option_67 {
            said.push("boot file in option 67".to_owned());
        }
        if self.holds_offer != usual.holds_offer {
            said.push(format!("offer held {} s", self.holds_offer.as_secs()));
        }
        if self.max_block != usual.max_block {
            said.push(format!("TFTP blocks of {} bytes at most", self.max_block));
        }
        if self.max_window != usual.max_window {
            said.push(format!("TFTP windows of {} at most", self.max_window));
        }
        if !self.block_numbers_wrap {
            said.push("no file of more than 65535 TFTP blocks".to_owned());
        }
        let said = said.join("; ");
        if said.is_empty() { self.why.to_owned() } else { format!("{said}. {}", self.why) }
    }
}

impl Says {
    fn words(&self) -> String {
        let mut said = Vec::new();
        if let Some(words) = self.user_class.words() {
            said.push(format!("user class {words}"));
        }
        if let Some(words) = self.vendor_class.words() {
            said.push(format!("vendor class {words}"));
        }
        match self.address {
            Address::Any => {}
            Address::RaspberryPi => said.push("address of a Raspberry Pi".to_owned()),
            Address::RaspberryPiFromSerial => said.push("address `b8:27:eb:...`".to_owned()),
        }
        if !self.architectures.is_empty() {
            let numbers: Vec<_> = self.architectures.iter().map(u16::to_string).collect();
            said.push(format!("architecture {}", numbers.join(" or ")));
        }
        if said.is_empty() { "anything else".to_owned() } else { said.join(", ") }
    }
}

impl Class {
    fn words(self) -> Option<String> {
        match self {
            Self::Any => None,
            Self::Is(text) => Some(format!("`{text}`")),
            Self::Begins(text) => Some(format!("`{text}...`")),
            Self::Has(text) => Some(format!("with `{text}`")),
        }
    }
}

impl Boots {
    fn words(self) -> String {
        match self {
            Self::Nothing => "what it asks for".to_owned(),
            Self::Script => "`start.ipxe` of its image, or `walt.ipxe`".to_owned(),
            Self::RaspberryPiMenu => "what it asks for, after options 43 and 60".to_owned(),
            Self::Tftp(file) => format!("`{file}`"),
            Self::Http(file) => format!("`http://<server>/boot/{file}`, option 60"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::policy::{DhcpKind, Mac};

    fn row(mac: &str, vendor: &str, user: &str, architectures: &[u16]) -> &'static Firmware {
        firmware_of(&DhcpRequest {
            vendor_class: vendor.to_owned(),
            user_class: user.to_owned(),
            user_classes: vec![user.to_owned()],
            architectures: architectures.to_vec(),
            ..DhcpRequest::bare(DhcpKind::Discover, mac.parse::<Mac>().unwrap())
        })
    }

    #[test]
    fn the_documentation_shows_the_table() {
        let page = include_str!("../../../../docs/boot-families.md");
        let table = markdown();
        assert!(
            page.contains(&table),
            "docs/boot-families.md must hold this table, as it is:\n{table}"
        );
    }

    #[test]
    fn rows_are_sound() {
        for (number, row) in FIRMWARES.iter().enumerate() {
            assert_eq!(row.offers.first(), Some(&Duration::ZERO), "{}", row.name);
            assert!(row.offers.is_sorted() && row.offers.len() <= 4, "{}", row.name);
            assert!(row.offers.iter().all(|at| at.as_secs() < 5), "{}", row.name);
            assert!((512..=1468).contains(&row.max_block) && row.max_window >= 1, "{}", row.name);
            assert!(!row.why.is_empty() && !row.source.is_empty(), "{}", row.name);
            assert!(FIRMWARES[..number].iter().all(|other| other.name != row.name));
        }
        let last = other();
        assert_eq!(last.says.words(), "anything else");
        assert_eq!(last.boots, Boots::Nothing);
    }

    #[test]
    fn raspberry_pis_up_to_3b_plus_are_woken() {
        const PXE: &str = "PXEClient:Arch:00000:UNDI:002001";
        let old = row("b8:27:eb:00:00:01", PXE, "", &[0]);
        assert_eq!((old.boots, old.offers.len()), (Boots::RaspberryPiMenu, 3));
        for oui in ["28:cd:c1", "d8:3a:dd", "dc:a6:32", "e4:5f:01", "2c:cf:67", "88:a2:9e"] {
            let new = row(&format!("{oui}:00:00:01"), PXE, "", &[0]);
            assert_eq!((new.boots, new.offers.len()), (Boots::RaspberryPiMenu, 1), "{oui}");
            assert!(!new.block_numbers_wrap);
        }
        let u_boot = row("b8:27:eb:00:00:01", "walt.node.rpi-3-b-plus", "", &[]);
        assert_eq!((u_boot.boots, u_boot.offers.len()), (Boots::Nothing, 1));
        let pc = row("52:54:00:00:00:01", PXE, "", &[0]);
        assert_eq!(pc.boots, Boots::Tftp("pxe/walt-x86-undionly.kpxe"));
    }
}
