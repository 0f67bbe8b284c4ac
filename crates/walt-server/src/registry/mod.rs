//! Who is on the network: devices, nodes, their names and addresses.
//!
//! All in memory, rebuilt from the state at start; every change is given to the caller as the new
//! [`Device`], to be written to the state. Nothing here waits, so it can answer while a packet waits.

pub mod addresses;
pub mod device;
pub mod discovery;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use walt_model::{DeviceFacts, DeviceName, DeviceType, ImageFullName, Mac, Subnet};

pub use device::{Device, Machine, Node};

/// How long an address offered to a client is kept for it.
const OFFER: Duration = Duration::from_secs(60);

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

#[derive(Debug, Default)]
struct Inner {
    devices: HashMap<Mac, Device>,
    by_ip: HashMap<Ipv4Addr, Mac>,
    by_name: HashMap<String, Mac>,
    offers: HashMap<Mac, Offer>,
    offered: HashMap<Ipv4Addr, Mac>,
}

#[derive(Debug, Clone, Copy)]
struct Offer {
    ip: Ipv4Addr,
    until: Instant,
}

impl Inner {
    fn put(&mut self, device: Device) {
        self.take(device.mac);
        if let Some(ip) = device.ip {
            self.by_ip.insert(ip, device.mac);
        }
        self.by_name.insert(device.name.to_string(), device.mac);
        self.devices.insert(device.mac, device);
    }

    fn take(&mut self, mac: Mac) -> Option<Device> {
        let device = self.devices.remove(&mac)?;
        if let Some(ip) = device.ip {
            self.by_ip.remove(&ip);
        }
        self.by_name.remove(device.name.as_str());
        Some(device)
    }

    fn forget_offer(&mut self, mac: Mac) {
        if let Some(offer) = self.offers.remove(&mac) {
            self.offered.remove(&offer.ip);
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
        let mut inner = Inner::default();
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

    /// The device of this name.
    pub fn by_name(&self, name: &str) -> Option<Device> {
        let inner = self.inner.read();
        inner.devices.get(inner.by_name.get(name)?).cloned()
    }

    /// The device of this name, whatever the case of its letters (DNS).
    pub fn by_dns_name(&self, name: &str) -> Option<Device> {
        self.by_name(name).or_else(|| {
            let inner = self.inner.read();
            inner
                .devices
                .values()
                .find(|device| device.name.as_str().eq_ignore_ascii_case(name))
                .cloned()
        })
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
    /// that is free; else one that depends on its MAC address. The answer is kept for it for a minute.
    pub fn offer(&self, mac: Mac, wanted: Option<Ipv4Addr>, now: Instant) -> Option<Ipv4Addr> {
        let mut inner = self.inner.write();
        if let Some(ip) = inner.devices.get(&mac).and_then(|device| device.ip)
            && self.subnet.contains(ip)
        {
            return Some(ip);
        }
        if inner.offers.len() >= MAX_OFFERS || inner.offers.get(&mac).is_some_and(|o| o.until < now)
        {
            let old: Vec<Mac> = inner
                .offers
                .iter()
                .filter(|(_, offer)| offer.until < now)
                .map(|(mac, _)| *mac)
                .collect();
            for mac in old {
                inner.forget_offer(mac);
            }
        }
        let known = inner.offers.get(&mac).map(|offer| offer.ip);
        let wanted = wanted.filter(|ip| addresses::may_hold(&self.subnet, *ip));
        let ip = known
            .or(wanted)
            .filter(|ip| !inner.taken(*ip, mac))
            .or_else(|| addresses::address_of(&self.subnet, mac, |ip| inner.taken(ip, mac)))
            // All held: offers that were not followed up give way.
            .or_else(|| {
                let inner = &mut *inner;
                let old: Vec<Mac> = inner
                    .offers
                    .iter()
                    .filter(|(_, offer)| offer.until < now)
                    .map(|(mac, _)| *mac)
                    .collect();
                for mac in old {
                    inner.forget_offer(mac);
                }
                addresses::address_of(&self.subnet, mac, |ip| inner.taken(ip, mac))
            })?;
        if inner.offers.len() < MAX_OFFERS {
            inner.forget_offer(mac);
            inner.offered.insert(ip, mac);
            inner.offers.insert(mac, Offer { ip, until: now + OFFER });
        }
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
        self.inner.read().by_name.contains_key(name)
    }

    /// The device of type server.
    pub fn server(&self) -> Option<Device> {
        let inner = self.inner.read();
        inner.devices.values().find(|device| device.kind == DeviceType::Server).cloned()
    }

    fn check(&self, inner: &Inner, device: &Device) -> Result<(), RegistryError> {
        let other = |owner: Option<&Mac>| owner.is_some_and(|owner| *owner != device.mac);
        if other(inner.by_name.get(device.name.as_str())) {
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
            registry.offer(mac(1), Some([10, 0, 0, 3].into()), now),
            Some([10, 0, 0, 5].into())
        );
    }

    #[test]
    fn offers_are_kept_apart_and_given_again() {
        let registry = registry(vec![]);
        let now = Instant::now();
        let mut given = std::collections::HashSet::new();
        for last in 1..=5 {
            let ip = registry.offer(mac(last), None, now).unwrap();
            assert!(given.insert(ip));
            assert_eq!(registry.offer(mac(last), None, now), Some(ip));
        }
        assert_eq!(registry.offer(mac(6), None, now), None);
        // A minute later offers that were not taken up are free again.
        let later = now + OFFER + Duration::from_secs(1);
        assert!(registry.offer(mac(6), None, later).is_some());
    }

    #[test]
    fn the_wanted_address_is_given_when_free() {
        let registry = registry(vec![device(1, "aa", Some([10, 0, 0, 5]))]);
        let now = Instant::now();
        let free = Some([10, 0, 0, 4].into());
        assert_eq!(registry.offer(mac(2), free, now), free);
        assert_ne!(
            registry.offer(mac(3), Some([10, 0, 0, 5].into()), now),
            Some([10, 0, 0, 5].into())
        );
        assert_ne!(
            registry.offer(mac(4), Some([10, 0, 0, 1].into()), now),
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
    fn new_nodes_take_the_lowest_address_nobody_holds() {
        let registry = registry(vec![device(1, "aa", Some([10, 0, 0, 2]))]);
        let now = Instant::now();
        registry.offer(mac(9), Some([10, 0, 0, 3].into()), now);
        let made =
            registry.create(|ip, _| Device { ip: Some(ip), ..device(7, "vn", None) }).unwrap();
        assert_eq!(made.ip, Some([10, 0, 0, 4].into()));
    }
}
