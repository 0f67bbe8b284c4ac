//! Which address a client that is not registered yet is offered.
//!
//! It depends on the MAC address only, as long as nobody else holds it: even if the record of a lease
//! were lost with the process, the same device would be offered the same address again. (Virtual nodes
//! take the lowest free address: [`Subnet::lowest_free`].)

use std::net::Ipv4Addr;

use walt_model::{Mac, Subnet};

/// True for an address a device may hold: a host address of the subnet, not the server's.
pub fn may_hold(subnet: &Subnet, ip: Ipv4Addr) -> bool {
    subnet.contains(ip)
        && ip != subnet.server()
        && ip != subnet.network()
        && ip != subnet.broadcast()
}

/// The first free address at or after the place the MAC address points to, going round once.
pub fn address_of(subnet: &Subnet, mac: Mac, taken: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
    let first = u32::from(subnet.network()) + 1;
    let size = u64::from(u32::from(subnet.broadcast()) - first);
    let seed = seed_of(mac);
    (0..size)
        .map(|step| first + ((seed % size + step) % size) as u32)
        .map(Ipv4Addr::from)
        .find(|ip| *ip != subnet.server() && !taken(*ip))
}

/// A number that depends on the MAC address only (FNV-1a, 64 bits).
fn seed_of(mac: Mac) -> u64 {
    mac.0.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([0x52, 0x54, 0, 1, 2, 3]);

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn who_may_hold_what() {
        let net = subnet("192.168.7.1/24");
        assert!(!may_hold(&net, [192, 168, 7, 0].into()));
        assert!(!may_hold(&net, [192, 168, 7, 255].into()));
        assert!(!may_hold(&net, [192, 168, 7, 1].into()));
        assert!(!may_hold(&net, [192, 168, 8, 9].into()));
        assert!(may_hold(&net, [192, 168, 7, 254].into()));
    }

    #[test]
    fn the_mac_decides_and_the_search_wraps_round() {
        let net = subnet("10.0.0.1/29");
        let first = address_of(&net, MAC, |_| false).unwrap();
        assert_eq!(address_of(&net, MAC, |_| false), Some(first));
        assert_ne!(address_of(&net, MAC, |ip| ip == first), Some(first));
        let mut found = std::collections::HashSet::new();
        while let Some(ip) = address_of(&net, MAC, |ip| found.contains(&ip)) {
            assert!(may_hold(&net, ip));
            found.insert(ip);
        }
        assert_eq!(found.len(), 5); // six hosts, less the server
    }
}
