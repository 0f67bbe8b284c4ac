//! Who is on the network: devices, nodes, their names and addresses.
//!
//! All in memory, rebuilt from the state at start; every change is given to the caller as the new
//! [`Device`], to be written to the state. Nothing here waits, so it can answer while a packet waits.

pub mod addresses;
pub mod device;
pub mod discovery;

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use walt_model::{DeviceFacts, DeviceName, DeviceType, ImageFullName, Mac, Subnet};

pub use device::{Device, Machine, Node};

/// Most offers kept at a time: a flood of forged clients must not fill the memory.
const MAX_OFFERS: usize = 65_536;

/// Why a change was refused. The messages are what users read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The name is taken.
    #[error("Failed: a device with name '{0}' already exists.")]
    NameTaken(DeviceName),
    /// No such device.
    #[error("No device with name '{0}' found.")]
    UnknownName(String),
    /// No address is free.
    #[error("No free address is left in {0}.")]
    NoAddress(Subnet),
    /// The MAC address is already registered.
    #[error("A device with address {0} already exists.")]
    MacTaken(Mac),
}

/// The devices of the platform.
#[derive(Debug)]
pub struct Registry {
    subnet: Subnet,
    inner: RwLock<Inner>,
}

#[derive(Debug)]
struct Inner {
    devices: HashMap<Mac, Device>,
    by_ip: HashMap<Ipv4Addr, Mac>,
    /// By name in lower case: two names never differ by their case only, as DNS knows no case.
    by_name: HashMap<String, Mac>,
    offers: HashMap<Mac, Offer>,
    offered: HashMap<Ipv4Addr, Mac>,
    /// The offers, in the order of their ends.
    ends: BTreeSet<(Instant, Mac)>,
    /// What is neither in `by_ip` nor in `offered`.
    free: addresses::Free,
}

#[derive(Debug, Clone, Copy)]
struct Offer {
    ip: Ipv4Addr,
    until: Instant,
}

impl Inner {
    fn of(subnet: Subnet) -> Self {
        Self {
            devices: HashMap::new(),
            by_ip: HashMap::new(),
            by_name: HashMap::new(),
            offers: HashMap::new(),
            offered: HashMap::new(),
            ends: BTreeSet::new(),
            free: addresses::Free::of(subnet),
        }
    }

    fn put(&mut self, device: Device) {
        self.take(device.mac);
        if let Some(ip) = device.ip {
            self.by_ip.insert(ip, device.mac);
            self.free.take(ip);
        }
        self.by_name.entry(device.name.as_str().to_lowercase()).or_insert(device.mac);
        self.devices.insert(device.mac, device);
    }

    fn take(&mut self, mac: Mac) -> Option<Device> {
        let device = self.devices.remove(&mac)?;
        if let Some(ip) = device.ip {
            self.by_ip.remove(&ip);
            self.let_go(ip);
        }
        let name = device.name.as_str().to_lowercase();
        if self.by_name.get(&name) == Some(&mac) {
            self.by_name.remove(&name);
        }
        Some(device)
    }

    /// The device of this name, whatever the case of its letters.
    fn named(&self, name: &str) -> Option<&Device> {
        self.devices.get(self.by_name.get(&name.to_lowercase())?)
    }

    fn keep_offer(&mut self, mac: Mac, ip: Ipv4Addr, until: Instant) {
        self.forget_offer(mac);
        self.offered.insert(ip, mac);
        self.offers.insert(mac, Offer { ip, until });
        self.ends.insert((until, mac));
        self.free.take(ip);
    }

    fn forget_offer(&mut self, mac: Mac) {
        if let Some(offer) = self.offers.remove(&mac) {
            self.ends.remove(&(offer.until, mac));
            // Unless it was given to another device meanwhile.
            if self.offered.get(&offer.ip) == Some(&mac) {
                self.offered.remove(&offer.ip);
            }
            self.let_go(offer.ip);
        }
    }

    /// Forgets the offers that ended before `now`.
    fn forget_old_offers(&mut self, now: Instant) {
        while let Some((until, mac)) = self.ends.first().copied()
            && until < now
        {
            self.forget_offer(mac);
        }
    }

    fn let_go(&mut self, ip: Ipv4Addr) {
        if !self.by_ip.contains_key(&ip) && !self.offered.contains_key(&ip) {
            self.free.give(ip);
        }
    }

    /// Held by somebody else than `mac`?
    fn taken(&self, ip: Ipv4Addr, mac: Mac) -> bool {
        self.by_ip.get(&ip).is_some_and(|owner| *owner != mac)
            || self.offered.get(&ip).is_some_and(|owner| *owner != mac)
    }
}

impl Registry {
    /// The registry of a subnet, with the devices known so far.
    pub fn new(subnet: Subnet, devices: impl IntoIterator<Item = Device>) -> Self {
        let mut inner = Inner::of(subnet);
        for device in devices {
            inner.put(device);
        }
        Self { subnet, inner: RwLock::new(inner) }
    }

    /// The platform network.
    pub fn subnet(&self) -> &Subnet {
        &self.subnet
    }

    /// The device of this MAC address.
    pub fn by_mac(&self, mac: Mac) -> Option<Device> {
        self.inner.read().devices.get(&mac).cloned()
    }

    /// The device that holds this address.
    pub fn by_ip(&self, ip: Ipv4Addr) -> Option<Device> {
        let inner = self.inner.read();
        inner.devices.get(inner.by_ip.get(&ip)?).cloned()
    }

    /// Who holds this address, or is offered it.
    pub fn holder(&self, ip: Ipv4Addr) -> Option<Mac> {
        let inner = self.inner.read();
        inner.by_ip.get(&ip).or_else(|| inner.offered.get(&ip)).copied()
    }

    /// The device of this name.
    pub fn by_name(&self, name: &str) -> Option<Device> {
        self.by_dns_name(name).filter(|device| device.name == name)
    }

    /// The device of this name, whatever the case of its letters (DNS).
    pub fn by_dns_name(&self, name: &str) -> Option<Device> {
        self.inner.read().named(name).cloned()
    }

    /// All devices, in the order of their names.
    pub fn devices(&self) -> Vec<Device> {
        let mut devices: Vec<_> = self.inner.read().devices.values().cloned().collect();
        devices.sort_by(|a, b| a.name.cmp(&b.name));
        devices
    }

    /// What device sets are resolved against.
    pub fn facts(&self) -> Vec<DeviceFacts> {
        self.devices().iter().map(Device::facts).collect()
    }

    /// The images nodes boot.
    pub fn images_in_use(&self) -> Vec<ImageFullName> {
        let inner = self.inner.read();
        let mut images: Vec<_> = inner
            .devices
            .values()
            .filter_map(|device| Some(device.node.as_ref()?.image.clone()))
            .collect();
        images.sort();
        images.dedup();
        images
    }

    /// The address a client gets: its own; else the one it was just offered; else the one it wants when
    /// that is free; else one that depends on its MAC address. The answer stays its own for `hold`.
    pub fn offer(
        &self,
        mac: Mac,
        wanted: Option<Ipv4Addr>,
        now: Instant,
        hold: Duration,
    ) -> Option<Ipv4Addr> {
        let mut inner = self.inner.write();
        if let Some(ip) = inner.devices.get(&mac).and_then(|device| device.ip)
            && self.subnet.contains(ip)
        {
            return Some(ip);
        }
        let known = inner.offers.get(&mac).map(|offer| offer.ip);
        if known.is_none() && inner.offers.len() >= MAX_OFFERS {
            inner.forget_old_offers(now);
            if inner.offers.len() >= MAX_OFFERS {
                return None;
            }
        }
        let wanted = wanted.filter(|ip| addresses::may_hold(&self.subnet, *ip));
        let ip = known
            .or(wanted)
            .filter(|ip| !inner.taken(*ip, mac))
            .or_else(|| inner.free.near(mac))
            // All held: offers that were not followed up give way.
            .or_else(|| {
                inner.forget_old_offers(now);
                inner.free.near(mac)
            })?;
        inner.keep_offer(mac, ip, now + hold);
        Some(ip)
    }

    /// Adds a device, or replaces the one with the same MAC address. Refused when its name or address
    /// belongs to another one.
    pub fn put(&self, device: Device) -> Result<Device, RegistryError> {
        let mut inner = self.inner.write();
        self.check(&inner, &device)?;
        inner.forget_offer(device.mac);
        inner.put(device.clone());
        Ok(device)
    }

    /// Adds a device made by `make` from the lowest free address and a check for names in use.
    pub fn create(
        &self,
        make: impl FnOnce(Ipv4Addr, &dyn Fn(Mac) -> bool) -> Device,
    ) -> Result<Device, RegistryError> {
        let mut inner = self.inner.write();
        let ip = self
            .subnet
            .lowest_free(|ip| inner.by_ip.contains_key(&ip) || inner.offered.contains_key(&ip))
            .ok_or(RegistryError::NoAddress(self.subnet))?;
        let device = make(ip, &|mac| inner.devices.contains_key(&mac));
        if inner.devices.contains_key(&device.mac) {
            return Err(RegistryError::MacTaken(device.mac));
        }
        self.check(&inner, &device)?;
        inner.put(device.clone());
        Ok(device)
    }

    /// Changes a device in place.
    pub fn change(
        &self,
        mac: Mac,
        change: impl FnOnce(&mut Device),
    ) -> Result<Device, RegistryError> {
        let mut inner = self.inner.write();
        let mut device = inner
            .devices
            .get(&mac)
            .cloned()
            .ok_or_else(|| RegistryError::UnknownName(mac.to_string()))?;
        change(&mut device);
        device.mac = mac;
        self.check(&inner, &device)?;
        inner.put(device.clone());
        Ok(device)
    }

    /// Forgets a device.
    pub fn remove(&self, mac: Mac) -> Option<Device> {
        let mut inner = self.inner.write();
        inner.forget_offer(mac);
        inner.take(mac)
    }

    /// Is this name used?
    pub fn name_taken(&self, name: &str) -> bool {
        self.inner.read().named(name).is_some()
    }

    /// The device of type server.
    pub fn server(&self) -> Option<Device> {
        let inner = self.inner.read();
        inner.devices.values().find(|device| device.kind == DeviceType::Server).cloned()
    }

    fn check(&self, inner: &Inner, device: &Device) -> Result<(), RegistryError> {
        let other = |owner: Option<&Mac>| owner.is_some_and(|owner| *owner != device.mac);
        if other(inner.named(device.name.as_str()).map(|owner| &owner.mac)) {
            return Err(RegistryError::NameTaken(device.name.clone()));
        }
        if device.ip.is_some_and(|ip| other(inner.by_ip.get(&ip))) {
            return Err(RegistryError::NoAddress(self.subnet));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const OFFER: Duration = Duration::from_secs(60);

    fn mac(last: u8) -> Mac {
        Mac([0x52, 0x54, 0, 0, 0, last])
    }

    fn device(last: u8, name: &str, ip: Option<[u8; 4]>) -> Device {
        Device::new(mac(last), name.parse().unwrap(), ip.map(Into::into), DeviceType::Unknown)
    }

    fn registry(devices: Vec<Device>) -> Registry {
        Registry::new("10.0.0.1/29".parse().unwrap(), devices)
    }

    #[test]
    fn a_registered_device_always_gets_its_address() {
        let registry = registry(vec![device(1, "aa", Some([10, 0, 0, 5]))]);
        let now = Instant::now();
        assert_eq!(
            registry.offer(mac(1), Some([10, 0, 0, 3].into()), now, OFFER),
            Some([10, 0, 0, 5].into())
        );
    }

    #[test]
    fn offers_are_kept_apart_and_given_again() {
        let registry = registry(vec![]);
        let now = Instant::now();
        let mut given = std::collections::HashSet::new();
        for last in 1..=5 {
            let ip = registry.offer(mac(last), None, now, OFFER).unwrap();
            assert!(given.insert(ip));
            assert_eq!(registry.offer(mac(last), None, now, OFFER), Some(ip));
        }
        assert_eq!(registry.offer(mac(6), None, now, OFFER), None);
        // A minute later offers that were not taken up are free again.
        let later = now + OFFER + Duration::from_secs(1);
        assert!(registry.offer(mac(6), None, later, OFFER).is_some());
    }

    #[test]
    fn the_wanted_address_is_given_when_free() {
        let registry = registry(vec![device(1, "aa", Some([10, 0, 0, 5]))]);
        let now = Instant::now();
        let free = Some([10, 0, 0, 4].into());
        assert_eq!(registry.offer(mac(2), free, now, OFFER), free);
        assert_ne!(
            registry.offer(mac(3), Some([10, 0, 0, 5].into()), now, OFFER),
            Some([10, 0, 0, 5].into())
        );
        assert_ne!(
            registry.offer(mac(4), Some([10, 0, 0, 1].into()), now, OFFER),
            Some([10, 0, 0, 1].into())
        );
    }

    #[test]
    fn names_and_addresses_are_unique() {
        let registry = registry(vec![device(1, "aa", Some([10, 0, 0, 5]))]);
        assert_eq!(
            registry.put(device(2, "aa", None)),
            Err(RegistryError::NameTaken("aa".parse().unwrap()))
        );
        assert!(registry.put(device(2, "bb", Some([10, 0, 0, 5]))).is_err());
        registry.put(device(2, "bb", None)).unwrap();
        let renamed = registry.change(mac(2), |device| device.name = "cc".parse().unwrap());
        assert_eq!(renamed.unwrap().name, "cc");
        assert_eq!(registry.by_name("bb"), None);
        assert_eq!(registry.by_dns_name("CC").map(|d| d.mac), Some(mac(2)));
        registry.remove(mac(1)).unwrap();
        assert_eq!(registry.by_ip([10, 0, 0, 5].into()), None);
    }

    #[test]
    fn names_that_differ_by_case_only_are_one_name() {
        let registry = registry(vec![device(1, "Node-a", Some([10, 0, 0, 5]))]);
        assert!(registry.name_taken("node-A"));
        assert!(registry.put(device(2, "node-a", None)).is_err());
        assert_eq!(registry.by_name("node-a"), None, "names are typed as they are");
        assert_eq!(registry.by_dns_name("NODE-a").map(|d| d.mac), Some(mac(1)));
        // A device may change the case of its own name.
        registry.change(mac(1), |device| device.name = "NODE-A".parse().unwrap()).unwrap();
        assert_eq!(registry.by_name("NODE-A").map(|d| d.mac), Some(mac(1)));
        registry.remove(mac(1)).unwrap();
        assert!(!registry.name_taken("node-a"));
    }

    #[test]
    fn an_address_given_while_it_is_offered_comes_back_once() {
        let registry = registry(vec![]);
        let now = Instant::now();
        let ip = registry.offer(mac(1), None, now, OFFER).unwrap();
        registry.put(Device { ip: Some(ip), ..device(2, "bb", None) }).unwrap();
        assert_ne!(registry.offer(mac(1), None, now, OFFER), Some(ip));
        registry.remove(mac(2)).unwrap();
        assert_eq!(registry.offer(mac(3), Some(ip), now, OFFER), Some(ip));
        assert_ne!(registry.offer(mac(4), Some(ip), now, OFFER), Some(ip));
    }

    #[test]
    fn a_flood_of_clients_ends_when_its_offers_do() {
        let registry = Registry::new("10.0.0.1/8".parse().unwrap(), []);
        let now = Instant::now();
        let forged = |n: u32| {
            let [a, b, c, d] = n.to_be_bytes();
            Mac([2, 0, a, b, c, d])
        };
        let given: std::collections::HashSet<_> = (0..MAX_OFFERS as u32)
            .map(|n| registry.offer(forged(n), None, now, OFFER).unwrap())
            .collect();
        assert_eq!(given.len(), MAX_OFFERS, "each has its own");
        assert_eq!(registry.offer(mac(1), None, now, OFFER), None);
        assert!(registry.offer(forged(7), None, now, OFFER).is_some(), "known ones go on");
        let later = now + OFFER + Duration::from_secs(1);
        assert!(registry.offer(mac(1), None, later, OFFER).is_some());
        assert!(registry.inner.read().offers.len() <= 2);
    }

    #[test]
    fn new_nodes_take_the_lowest_address_nobody_holds() {
        let registry = registry(vec![device(1, "aa", Some([10, 0, 0, 2]))]);
        let now = Instant::now();
        registry.offer(mac(9), Some([10, 0, 0, 3].into()), now, OFFER);
        let made =
            registry.create(|ip, _| Device { ip: Some(ip), ..device(7, "vn", None) }).unwrap();
        assert_eq!(made.ip, Some([10, 0, 0, 4].into()));
    }
}
