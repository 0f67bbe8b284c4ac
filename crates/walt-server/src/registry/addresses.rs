//! Which address a client that is not registered yet is offered.
//!
//! It depends on the MAC address only, as long as nobody else holds it: even if the record of a lease
//! were lost with the process, the same device would be offered the same address again. (Virtual nodes
//! take the lowest free address: [`Subnet::lowest_free`].)

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use walt_model::{Mac, Subnet};

/// True for an address a device may hold: a host address of the subnet, not the server's.
pub fn may_hold(subnet: &Subnet, ip: Ipv4Addr) -> bool {
    subnet.contains(ip)
        && ip != subnet.server()
        && ip != subnet.network()
        && ip != subnet.broadcast()
}

/// The addresses of a subnet nobody holds, as ranges: taking, giving back and searching cost the same
/// however many are held, so a flood of forged clients costs no more than as many clients.
#[derive(Clone, Debug)]
pub struct Free {
    subnet: Subnet,
    /// First address of each range, and its last; no two ranges touch.
    ranges: BTreeMap<u32, u32>,
}

impl Free {
    /// All addresses a device may hold.
    pub fn of(subnet: Subnet) -> Self {
        let (first, last) = (u32::from(subnet.network()) + 1, u32::from(subnet.broadcast()) - 1);
        let mut free = Self { subnet, ranges: BTreeMap::from([(first, last)]) };
        free.take(subnet.server());
        free
    }

    /// Somebody holds this address now.
    pub fn take(&mut self, ip: Ipv4Addr) {
        let ip = u32::from(ip);
        let Some((first, last)) = self.range_of(ip) else { return };
        self.ranges.remove(&first);
        if first < ip {
            self.ranges.insert(first, ip - 1);
        }
        if ip < last {
            self.ranges.insert(ip + 1, last);
        }
    }

    /// Nobody holds this address any more.
    pub fn give(&mut self, ip: Ipv4Addr) {
        if !may_hold(&self.subnet, ip) {
            return;
        }
        let ip = u32::from(ip);
        if self.range_of(ip).is_some() {
            return;
        }
        let (mut first, mut last) = (ip, ip);
        if let Some((before, _)) = self.range_of(ip - 1) {
            self.ranges.remove(&before);
            first = before;
        }
        if let Some(end) = self.ranges.remove(&(ip + 1)) {
            last = end;
        }
        self.ranges.insert(first, last);
    }

    /// The first free address at or after the place the MAC address points to, going round once.
    pub fn near(&self, mac: Mac) -> Option<Ipv4Addr> {
        let first = u32::from(self.subnet.network()) + 1;
        let size = u64::from(u32::from(self.subnet.broadcast()) - first);
        let place = first + (seed_of(mac) % size.max(1)) as u32;
        let found = match self.range_of(place) {
            Some(_) => Some(place),
            None => {
                self.ranges.range(place..).next().or(self.ranges.iter().next()).map(|(ip, _)| *ip)
            }
        };
        found.map(Ipv4Addr::from)
    }

    /// The range this address is in.
    fn range_of(&self, ip: u32) -> Option<(u32, u32)> {
        let (first, last) = self.ranges.range(..=ip).next_back()?;
        (ip <= *last).then_some((*first, *last))
    }
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
    use proptest::prelude::*;

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
        let mut free = Free::of(subnet("10.0.0.1/29"));
        let first = free.near(MAC);
        assert_eq!(free.near(MAC), first);
        let mut found = std::collections::HashSet::new();
        while let Some(ip) = free.near(MAC) {
            assert!(may_hold(&free.subnet, ip) && found.insert(ip));
            free.take(ip);
        }
        assert_eq!(found.len(), 5); // six hosts, less the server
        for ip in found {
            free.give(ip);
        }
        assert_eq!(free.near(MAC), first);
        assert_eq!(free.ranges.len(), 1, "ranges that touch are one: {free:?}");
    }

    #[test]
    fn what_cannot_be_held_is_never_free() {
        let mut free = Free::of(subnet("192.168.7.5/24"));
        for ip in [[192, 168, 7, 0], [192, 168, 7, 255], [192, 168, 7, 5], [10, 0, 0, 1]] {
            free.give(ip.into());
            free.take(ip.into());
        }
        assert_eq!(free.ranges.values().len(), 2);
        free.give([192, 168, 7, 5].into());
        assert_eq!(free.ranges.values().len(), 2, "the server's");
    }

    proptest! {
        /// The same as searching a set of held addresses, one by one.
        #[test]
        fn like_a_search(steps in proptest::collection::vec((any::<bool>(), 0_u8..32, any::<[u8; 6]>()), 0..200)) {
            let net = subnet("10.0.0.7/27");
            let mut free = Free::of(net);
            let mut held = std::collections::HashSet::new();
            for (take, last, mac) in steps {
                let ip = Ipv4Addr::new(10, 0, 0, last);
                if take {
                    free.take(ip);
                    held.insert(ip);
                } else {
                    free.give(ip);
                    held.remove(&ip);
                }
                let place = seed_of(Mac(mac)) % 30;
                let searched = (0..30)
                    .map(|step| Ipv4Addr::new(10, 0, 0, 1 + ((place + step) % 30) as u8))
                    .find(|ip| may_hold(&net, *ip) && !held.contains(ip));
                prop_assert_eq!(free.near(Mac(mac)), searched);
            }
        }
    }
}
