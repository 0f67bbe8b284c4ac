//! Which firmware each address was last given to.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use parking_lot::Mutex;

use super::quirks::{Firmware, firmware_of, other};
use super::request::{DhcpKind, DhcpRequest};

/// Most addresses remembered: those of a `/16`.
const MAX: usize = 65_536;

/// The firmware of the clients of a network, as their last DISCOVER told it.
#[derive(Debug, Default)]
pub struct Seen(Mutex<HashMap<Ipv4Addr, &'static Firmware>>);

impl Seen {
    /// Takes note of the client that is offered `ip`, and gives its firmware.
    ///
    /// Only a DISCOVER tells it: the REQUEST of some firmware has no class (Raspberry Pi's EEPROM).
    pub fn note(&self, request: &DhcpRequest, ip: Ipv4Addr) -> &'static Firmware {
        let firmware = firmware_of(request);
        if request.kind == DhcpKind::Discover {
            let mut seen = self.0.lock();
            if std::ptr::eq(firmware, other()) {
                seen.remove(&ip);
            } else if seen.len() < MAX || seen.contains_key(&ip) {
                seen.insert(ip, firmware);
            }
        }
        firmware
    }

    /// The firmware of this address, as far as it is known.
    pub fn at(&self, ip: Ipv4Addr) -> &'static Firmware {
        self.0.lock().get(&ip).copied().unwrap_or(other())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Mac;

    #[test]
    fn the_last_discover_counts() {
        let seen = Seen::default();
        let ip = Ipv4Addr::new(10, 0, 0, 5);
        let mac = Mac([0xdc, 0xa6, 0x32, 0, 0, 1]);
        let mut request = DhcpRequest::bare(DhcpKind::Discover, mac);
        request.vendor_class = "PXEClient:Arch:00000:UNDI:002001".to_owned();
        assert_eq!(seen.note(&request, ip).name, "Raspberry Pi 4B, 400, 5B (EEPROM)");
        // Its REQUEST has no class: it is the same firmware.
        seen.note(&DhcpRequest::bare(DhcpKind::Request, mac), ip);
        assert!(!seen.at(ip).block_numbers_wrap);
        seen.note(&DhcpRequest::bare(DhcpKind::Discover, mac), ip);
        assert_eq!(seen.at(ip), other());
    }
}
