//! The platform network: its server address, and the addresses it can give.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, net::Ipv4Addr, ops::RangeInclusive, str::FromStr};

/// A server address together with the prefix length of its network: `192.168.12.1/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    net: Ipv4Net,
}

/// Why a text is not a usable [`Subnet`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    /// Not an address and a prefix length.
    #[error("'{0}' is not an address with a prefix length, such as 192.168.12.1/24")]
    Malformed(String),
    /// The prefix leaves no room for devices.
    #[error("/{0} leaves no address for any device; use /30 or larger, such as /24")]
    TooSmall(u8),
    /// The address is that of the network or its broadcast address.
    #[error("{0} is the {1} address of its network, not a host address; try {2}")]
    NotAHost(Ipv4Addr, &'static str, Ipv4Net),
}

impl FromStr for Subnet {
    type Err = SubnetError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || SubnetError::Malformed(text.chars().take(80).collect());
        let net: Ipv4Net = text.parse().map_err(|_| malformed())?;
        if net.prefix_len() > 30 {
            return Err(SubnetError::TooSmall(net.prefix_len()));
        }
        if net.prefix_len() == 0 || net.addr().is_unspecified() {
            return Err(malformed());
        }
        let first = Ipv4Addr::from(u32::from(net.network()) + 1);
        let suggestion = Ipv4Net::new(first, net.prefix_len()).map_err(|_| malformed())?;
        if net.addr() == net.network() {
            return Err(SubnetError::NotAHost(net.addr(), "network", suggestion));
        }
        if net.addr() == net.broadcast() {
            return Err(SubnetError::NotAHost(net.addr(), "broadcast", suggestion));
        }
        Ok(Self { net })
    }
}

impl Subnet {
    /// The server's own address.
    pub fn server(&self) -> Ipv4Addr {
        self.net.addr()
    }

    /// Network address.
    pub fn network(&self) -> Ipv4Addr {
        self.net.network()
    }

    /// Broadcast address.
    pub fn broadcast(&self) -> Ipv4Addr {
        self.net.broadcast()
    }

    /// Netmask, dotted.
    pub fn netmask(&self) -> Ipv4Addr {
        self.net.netmask()
    }

    /// Prefix length, 1 to 30.
    pub fn prefix_len(&self) -> u8 {
        self.net.prefix_len()
    }

    /// Is this address in the network (network and broadcast addresses included)?
    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        self.net.contains(&ip)
    }

    /// Can this address be given to a device: in the network, and neither the server's, the network's nor
    /// the broadcast address?
    pub fn is_device_address(&self, ip: Ipv4Addr) -> bool {
        self.contains(ip) && ip != self.server() && ip != self.network() && ip != self.broadcast()
    }

    /// How many addresses devices can have.
    pub fn capacity(&self) -> u64 {
        u64::from(u32::from(self.broadcast()) - u32::from(self.network()) - 2)
    }

    /// Device addresses, lowest first.
    pub fn device_addresses(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let (first, last) = (u32::from(self.network()) + 1, u32::from(self.broadcast()) - 1);
        let server = self.server();
        (first..=last).map(Ipv4Addr::from).filter(move |ip| *ip != server)
    }

    /// The lowest device address that `taken` does not claim.
    pub fn lowest_free(&self, taken: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
        self.device_addresses().find(|ip| !taken(*ip))
    }

    /// Device addresses not in `taken`, as the longest possible contiguous ranges. Cost depends on
    /// `taken`, not on the size of the network.
    pub fn free_ranges(&self, taken: &BTreeSet<Ipv4Addr>) -> Vec<RangeInclusive<Ipv4Addr>> {
        let (first, last) = (u32::from(self.network()) + 1, u32::from(self.broadcast()) - 1);
        let mut holes: BTreeSet<u32> = taken
            .iter()
            .map(|ip| u32::from(*ip))
            .filter(|ip| (first..=last).contains(ip))
            .collect();
        holes.insert(u32::from(self.server()));
        let mut ranges = Vec::new();
        let mut start = first;
        for hole in holes {
            if hole > start {
                ranges.push(Ipv4Addr::from(start)..=Ipv4Addr::from(hole - 1));
            }
            start = hole + 1;
        }
        if start <= last {
            ranges.push(Ipv4Addr::from(start)..=Ipv4Addr::from(last));
        }
        ranges
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.net.to_string())
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> String {
        subnet.to_string()
    }
}

impl TryFrom<String> for Subnet {
    type Error = SubnetError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn parts() {
        let subnet: Subnet = "192.168.12.1/24".parse().unwrap();
        assert_eq!(subnet.server(), ip("192.168.12.1"));
        assert_eq!(subnet.netmask(), ip("255.255.255.0"));
        assert_eq!(subnet.broadcast(), ip("192.168.12.255"));
        assert_eq!(subnet.capacity(), 253);
        assert_eq!(subnet.device_addresses().count(), 253);
        assert_eq!(subnet.to_string(), "192.168.12.1/24");
    }

    #[test]
    fn refusals() {
        for (bad, said) in [
            ("192.168.12.1", "prefix length"),
            ("192.168.12.1/33", "prefix length"),
            ("192.168.12.1/32", "/32 leaves no address"),
            ("192.168.12.0/24", "network address"),
            ("192.168.12.255/24", "try 192.168.12.1/24"),
            ("dhcp", "prefix length"),
            ("fe80::1/64", "prefix length"),
        ] {
            let error = bad.parse::<Subnet>().unwrap_err().to_string();
            assert!(error.contains(said), "{bad}: {error}");
        }
    }

    #[test]
    fn free_addresses() {
        let subnet: Subnet = "10.0.0.1/29".parse().unwrap();
        let taken = BTreeSet::from([ip("10.0.0.2"), ip("10.0.0.4"), ip("10.9.9.9")]);
        assert_eq!(subnet.lowest_free(|a| taken.contains(&a)), Some(ip("10.0.0.3")));
        let ranges = subnet.free_ranges(&taken);
        assert_eq!(ranges, [ip("10.0.0.3")..=ip("10.0.0.3"), ip("10.0.0.5")..=ip("10.0.0.6")]);
        assert_eq!(subnet.lowest_free(|_| true), None);
    }
}
