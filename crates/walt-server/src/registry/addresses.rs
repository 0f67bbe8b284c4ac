//! Which address a device gets.
//!
//! Virtual nodes take the lowest free host address. A client that is not known yet takes one that
//! depends on its MAC address only (as long as nobody else holds it): even if the record of a lease
//! were lost with the process, the same device would be offered the same address again.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Host addresses of a subnet, the server's own left out.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    net: Ipv4Net,
    server: Ipv4Addr,
}

impl Pool {
    /// The pool of `net`, in which the server has address `server`.
    pub fn new(net: Ipv4Net, server: Ipv4Addr) -> Self {
        Self { net, server }
    }

    /// The subnet.
    pub fn net(&self) -> Ipv4Net {
        self.net
    }

    /// True for an address a device may hold: a host address of the subnet, not the server's.
    pub fn may_hold(&self, ip: Ipv4Addr) -> bool {
        let (first, last) = self.bounds();
        (first..=last).contains(&u32::from(ip)) && ip != self.server
    }

    /// The lowest address for which `taken` says no.
    pub fn lowest(&self, taken: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
        let (first, last) = self.bounds();
        (first..=last)
            .map(Ipv4Addr::from)
            .find(|ip| *ip != self.server && !taken(*ip))
    }

    /// The first free address at or after the place `seed` points to, going round once.
    pub fn seeded(&self, seed: u64, taken: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
        let (first, last) = self.bounds();
        let size = u64::from(last.checked_sub(first)?) + 1;
        (0..size)
            .map(|step| first + ((seed % size + step) % size) as u32)
            .map(Ipv4Addr::from)
            .find(|ip| *ip != self.server && !taken(*ip))
    }

    /// First and last host address, as numbers.
    fn bounds(&self) -> (u32, u32) {
        let first = u32::from(self.net.network());
        let last = u32::from(self.net.broadcast());
        if last - first >= 2 {
            (first + 1, last - 1)
        } else {
            (first, last)
        }
    }
}

/// A number that depends on the MAC address only (FNV-1a, 64 bits).
pub fn seed_of(mac: [u8; 6]) -> u64 {
    mac.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn pool(net: &str, server: [u8; 4]) -> Pool {
        Pool::new(net.parse().unwrap(), server.into())
    }

    #[test]
    fn lowest_skips_the_server_and_the_taken() {
        let pool = pool("192.168.7.0/24", [192, 168, 7, 1]);
        let taken = Ipv4Addr::new(192, 168, 7, 2);
        assert_eq!(
            pool.lowest(|ip| ip == taken),
            Some([192, 168, 7, 3].into())
        );
        assert!(!pool.may_hold([192, 168, 7, 0].into()));
        assert!(!pool.may_hold([192, 168, 7, 255].into()));
        assert!(!pool.may_hold([192, 168, 7, 1].into()));
        assert!(!pool.may_hold([192, 168, 8, 9].into()));
        assert!(pool.may_hold([192, 168, 7, 254].into()));
    }

    #[test]
    fn a_full_pool_gives_nothing() {
        let pool = pool("10.0.0.0/30", [10, 0, 0, 1]);
        assert_eq!(pool.lowest(|_| false), Some([10, 0, 0, 2].into()));
        assert_eq!(pool.lowest(|_| true), None);
        assert_eq!(pool.seeded(99, |_| true), None);
    }

    #[test]
    fn the_seed_decides_and_wraps_round() {
        let pool = pool("10.0.0.0/29", [10, 0, 0, 1]);
        let seed = seed_of([0x52, 0x54, 0, 1, 2, 3]);
        let first = pool.seeded(seed, |_| false).unwrap();
        assert_eq!(pool.seeded(seed, |_| false), Some(first));
        let second = pool.seeded(seed, |ip| ip == first).unwrap();
        assert_ne!(first, second);
        let mut found = std::collections::HashSet::new();
        while let Some(ip) = pool.seeded(seed, |ip| found.contains(&ip)) {
            found.insert(ip);
        }
        assert_eq!(found.len(), 5); // six hosts, less the server
    }
}
