//! The part of the kernel's network state that plans are made from.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use walt_model::Mac;

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link {
    /// Number of the interface.
    pub index: u32,
    /// Kind of a virtual interface (`bridge`, `veth`...); `None` for hardware.
    pub kind: Option<String>,
    /// Is it administratively up?
    pub up: bool,
    /// Is it the loopback interface?
    pub loopback: bool,
    /// Its Ethernet address.
    pub mac: Option<Mac>,
    /// Number of the bridge it is a port of.
    pub master: Option<u32>,
    /// Its other names.
    pub alt_names: Vec<String>,
    /// Its IPv4 addresses and prefix lengths.
    pub addresses: Vec<(Ipv4Addr, u8)>,
}

/// All interfaces of the network namespace, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelState {
    /// The interfaces.
    pub links: BTreeMap<String, Link>,
}

impl KernelState {
    /// An interface, by its name or one of its alternate names; with its name.
    pub fn find(&self, name: &str) -> Option<(&str, &Link)> {
        self.links
            .get_key_value(name)
            .or_else(|| {
                self.links.iter().find(|(_, link)| link.alt_names.iter().any(|n| n == name))
            })
            .map(|(name, link)| (name.as_str(), link))
    }

    /// The name of an interface, by its number.
    pub fn name_of(&self, index: u32) -> Option<&str> {
        self.links.iter().find(|(_, link)| link.index == index).map(|(name, _)| name.as_str())
    }
}
