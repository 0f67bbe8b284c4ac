//! Ethernet addresses.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// An Ethernet address; shown in lower case with colons (`52:54:00:01:02:03`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

/// Why a text is not a [`Mac`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid MAC address: '{0}'; expected six hexadecimal bytes, as in 52:54:00:01:02:03.")]
pub struct MacError(pub String);

/// Raspberry Pi manufacturer prefixes, whose firmware needs a PXE answer.
const RASPBERRY_PI: [[u8; 3]; 7] = [
    [0x28, 0xcd, 0xc1],
    [0xb8, 0x27, 0xeb],
    [0xd8, 0x3a, 0xdd],
    [0xdc, 0xa6, 0x32],
    [0xe4, 0x5f, 0x01],
    [0x2c, 0xcf, 0x67],
    [0x88, 0xa2, 0x9e],
];

/// Netgear prefixes, taken for switches.
const NETGEAR: [[u8; 3]; 3] = [[0x6c, 0xb0, 0xce], [0x28, 0xc6, 0x8e], [0x44, 0x94, 0xfc]];

impl Mac {
    /// The address with dashes (`52-54-00-01-02-03`), as used in paths that must hold no colon.
    pub fn dashed(&self) -> String {
        self.joined("-")
    }

    /// The last three bytes in hexadecimal, without separator (`010203`): the end of generated names.
    pub fn suffix(&self) -> String {
        let [_, _, _, a, b, c] = self.0;
        format!("{a:02x}{b:02x}{c:02x}")
    }

    /// The manufacturer prefix.
    pub fn oui(&self) -> [u8; 3] {
        let [a, b, c, ..] = self.0;
        [a, b, c]
    }

    /// Is this a Raspberry Pi?
    pub fn is_raspberry_pi(&self) -> bool {
        RASPBERRY_PI.contains(&self.oui())
    }

    /// Is this a Netgear device, taken for a switch?
    pub fn is_netgear(&self) -> bool {
        NETGEAR.contains(&self.oui())
    }

    fn joined(&self, separator: &str) -> String {
        self.0.map(|b| format!("{b:02x}")).join(separator)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.joined(":"))
    }
}

impl FromStr for Mac {
    type Err = MacError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || MacError(text.chars().take(40).collect());
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0u8; 6];
        let mut parts = text.split(separator);
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(error)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(error());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        if parts.next().is_some() { Err(error()) } else { Ok(Self(bytes)) }
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

impl TryFrom<String> for Mac {
    type Error = MacError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn text_forms() {
        let mac: Mac = "52:54:00:AB:cd:03".parse().unwrap();
        assert_eq!(mac.to_string(), "52:54:00:ab:cd:03");
        assert_eq!(mac.dashed().parse::<Mac>().unwrap(), mac);
        assert_eq!(mac.suffix(), "abcd03");
        for bad in [
            "",
            "52:54:00:ab:cd",
            "52:54:00:ab:cd:03:04",
            "52:54:00:ab:cd:g3",
            "52:54:0:ab:cd:03",
            "+1:00:00:00:00:00",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
        assert!("b8:27:eb:00:00:01".parse::<Mac>().unwrap().is_raspberry_pi());
        assert!("6c:b0:ce:00:00:01".parse::<Mac>().unwrap().is_netgear());
    }
}
