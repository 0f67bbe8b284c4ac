//! From what is wanted and what is there, the steps to take: pure.

use std::fmt;
use std::net::Ipv4Addr;

use walt_model::server_conf::NetworkIp;
use walt_model::{Mac, ServerConf};

use super::WALT_NET;
use super::error::NetError;
use super::kernel::{KernelState, Link};
use super::record::{Made, Record};

/// Longest name of an interface (IFNAMSIZ without the final zero).
const IFNAME_MAX: usize = 15;

/// One network as wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// The interface it runs on; `None` for one without a cable.
    pub raw_device: Option<String>,
    /// VLAN on that interface.
    pub vlan: Option<u16>,
    /// Address of the server there and prefix length; `None` leaves it to the system.
    pub address: Option<(Ipv4Addr, u8)>,
    /// MAC of the bridge to make; `None` for a network without one.
    pub bridge: Option<Mac>,
}

impl Wanted {
    /// The networks of a configuration, the platform network first.
    ///
    /// # Errors
    /// [`NetError::DhcpNotSupported`].
    pub fn from_conf(conf: &ServerConf, mac: Mac) -> Result<Vec<Self>, NetError> {
        let walt_net = &conf.walt_net;
        let mut wanted = vec![Self {
            name: WALT_NET.to_owned(),
            raw_device: walt_net.raw_device.clone(),
            vlan: walt_net.vlan,
            address: Some((walt_net.ip.server(), walt_net.ip.prefix_len())),
            bridge: Some(mac),
        }];
        for other in &conf.other_networks {
            let address = match other.ip {
                None => None,
                Some(NetworkIp::Static(subnet)) => Some((subnet.server(), subnet.prefix_len())),
                Some(NetworkIp::Dhcp) => {
                    return Err(NetError::DhcpNotSupported { network: other.name.clone() });
                }
            };
            wanted.push(Self {
                name: other.name.clone(),
                raw_device: other.raw_device.clone(),
                vlan: other.vlan,
                address,
                bridge: None,
            });
        }
        Ok(wanted)
    }
}

/// One change of the kernel's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make an interface without a cable, up: `dummy`, or a `veth` pair if the kernel has none.
    MakeCableless { name: String },
    /// Make a VLAN interface.
    MakeVlan { name: String, parent: String, id: u16 },
    /// Make a bridge without STP nor forward delay.
    MakeBridge { name: String, mac: Mac },
    /// Give an existing bridge its MAC address.
    SetMac { name: String, mac: Mac },
    /// Make an interface port of a bridge.
    Enslave { name: String, bridge: String },
    /// Make an interface port of no bridge.
    Release { name: String },
    /// Add an address.
    AddAddress { name: String, ip: Ipv4Addr, prefix: u8 },
    /// Remove an address.
    RemoveAddress { name: String, ip: Ipv4Addr, prefix: u8 },
    /// Add an alternate name.
    AddAltName { name: String, alt: String },
    /// Remove an alternate name.
    RemoveAltName { name: String, alt: String },
    /// Make an interface up.
    Up { name: String },
    /// Make an interface down.
    Down { name: String },
    /// Delete an interface.
    Delete { name: String },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakeCableless { name } => write!(f, "make interface {name}"),
            Self::MakeVlan { name, parent, id } => write!(f, "make {name}, VLAN {id} of {parent}"),
            Self::MakeBridge { name, mac } => write!(f, "make bridge {name} with MAC {mac}"),
            Self::SetMac { name, mac } => write!(f, "give {name} the MAC {mac}"),
            Self::Enslave { name, bridge } => write!(f, "make {name} a port of bridge {bridge}"),
            Self::Release { name } => write!(f, "take {name} out of its bridge"),
            Self::AddAddress { name, ip, prefix } => write!(f, "add {ip}/{prefix} to {name}"),
            Self::RemoveAddress { name, ip, prefix } => {
                write!(f, "remove {ip}/{prefix} from {name}")
            }
            Self::AddAltName { name, alt } => write!(f, "add the name {alt} to {name}"),
            Self::RemoveAltName { name, alt } => write!(f, "remove the name {alt} from {name}"),
            Self::Up { name } => write!(f, "make {name} up"),
            Self::Down { name } => write!(f, "make {name} down"),
            Self::Delete { name } => write!(f, "delete {name}"),
        }
    }
}

impl Step {
    /// What this step leaves to undo later.
    pub fn makes(&self) -> Option<Made> {
        Some(match self.clone() {
            Self::MakeCableless { name }
            | Self::MakeVlan { name, .. }
            | Self::MakeBridge { name, .. } => Made::Link { name },
            Self::Enslave { name, bridge } => Made::Port { name, bridge },
            Self::AddAddress { name, ip, prefix } => Made::Address { name, ip, prefix },
            Self::AddAltName { name, alt } => Made::AltName { name, alt },
            Self::Up { name } => Made::Up { name },
            _ => return None,
        })
    }
}

/// How a made thing is undone.
fn reverse(made: &Made) -> Step {
    match made.clone() {
        Made::Link { name } => Step::Delete { name },
        Made::Up { name } => Step::Down { name },
        Made::Port { name, .. } => Step::Release { name },
        Made::Address { name, ip, prefix } => Step::RemoveAddress { name, ip, prefix },
        Made::AltName { name, alt } => Step::RemoveAltName { name, alt },
    }
}

/// What to do, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Things on record that are no longer wanted, and the steps that undo them.
    pub obsolete: Vec<(Made, Step)>,
    /// Steps towards what is wanted.
    pub steps: Vec<Step>,
}

/// Everything on record, latest first, with the step that undoes it; `keep_walt_net` leaves out what the
/// platform network is made of.
pub fn undo(record: &Record, keep_walt_net: bool) -> Vec<(Made, Step)> {
    let of_walt_net = |made: &Made| {
        match made {
        Made::Link { name } | Made::Up { name } => {
            name == WALT_NET
                || record.made.iter().any(|other| {
                    matches!(other, Made::Port { name: port, bridge } if port == name && bridge == WALT_NET)
                })
        }
        Made::Port { bridge, .. } => bridge == WALT_NET,
        Made::Address { name, .. } => name == WALT_NET,
        Made::AltName { .. } => false,
    }
    };
    record
        .made
        .iter()
        .rev()
        .filter(|made| !(keep_walt_net && of_walt_net(made)))
        .map(|made| (made.clone(), reverse(made)))
        .collect()
}

/// Ports of the platform bridge that are not on record: taps of virtual nodes.
pub fn foreign_ports(kernel: &KernelState, record: &Record) -> Vec<String> {
    let Some(bridge) = kernel.links.get(WALT_NET) else { return Vec::new() };
    kernel
        .links
        .iter()
        .filter(|(name, link)| {
            link.master == Some(bridge.index)
                && !record
                    .made
                    .iter()
                    .any(|made| matches!(made, Made::Port { name: port, .. } if port == *name))
        })
        .map(|(name, _)| name.clone())
        .collect()
}

/// The steps from what is there to what is wanted, and from what is on record but no longer wanted.
///
/// # Errors
/// [`NetError::MissingDevice`], [`NetError::Unusable`], [`NetError::NameTooLong`].
pub fn plan(wanted: &[Wanted], kernel: &KernelState, record: &Record) -> Result<Plan, NetError> {
    let mut planner = Planner { kernel, record, plan: Plan::default(), needed: Vec::new() };
    for network in wanted {
        planner.network(network)?;
    }
    let Planner { mut plan, needed, .. } = planner;
    plan.obsolete =
        undo(record, false).into_iter().filter(|(made, _)| !needed.contains(made)).collect();
    Ok(plan)
}

struct Planner<'a> {
    kernel: &'a KernelState,
    record: &'a Record,
    plan: Plan,
    /// All that the wanted networks are made of, there already or not.
    needed: Vec<Made>,
}

impl Planner<'_> {
    fn network(&mut self, network: &Wanted) -> Result<(), NetError> {
        let base = self.base(network)?;
        let top = match network.bridge {
            Some(mac) => self.bridge(network, &base, mac)?,
            None => {
                self.alt_name(network, &base);
                base
            }
        };
        if let Some((ip, prefix)) = network.address {
            self.address(network, &top, ip, prefix)?;
        }
        Ok(())
    }

    /// The interface under the network: raw device, VLAN on it, or one without a cable.
    fn base(&mut self, network: &Wanted) -> Result<String, NetError> {
        let Some(device) = &network.raw_device else {
            let name = interface_name(network, format!("{}-dummy", network.name))?;
            self.link(&name, Step::MakeCableless { name: name.clone() });
            // The other end of a veth pair, which must be up for carrier.
            self.up_if_there(&cableless_peer(&name));
            self.up_if_there(&name);
            return Ok(name);
        };
        let (raw, link) = self.kernel.find(device).ok_or_else(|| NetError::MissingDevice {
            network: network.name.clone(),
            device: device.clone(),
            existing: self.kernel.links.keys().cloned().collect(),
        })?;
        let unusable = |problem: &str| NetError::Unusable {
            network: network.name.clone(),
            interface: raw.to_owned(),
            problem: problem.to_owned(),
        };
        if link.loopback {
            return Err(unusable("is the loopback interface; name a wired one"));
        }
        if network.bridge.is_some() && network.vlan.is_none() && is_kind(link, "bridge") {
            return Err(unusable(
                "is a bridge, which cannot be a port of another; name one of its ports",
            ));
        }
        let raw = raw.to_owned();
        let up = Made::Up { name: raw.clone() };
        if !link.up || self.record.made.contains(&up) {
            self.needed.push(up);
        }
        if !link.up {
            self.plan.steps.push(Step::Up { name: raw.clone() });
        }
        let Some(id) = network.vlan else { return Ok(raw) };
        let name = interface_name(network, format!("{raw}.{id}"))?;
        self.link(&name, Step::MakeVlan { name: name.clone(), parent: raw, id });
        self.up_if_there(&name);
        Ok(name)
    }

    fn bridge(&mut self, network: &Wanted, base: &str, mac: Mac) -> Result<String, NetError> {
        let name = network.name.clone();
        let existing = self.kernel.links.get(&name);
        if let Some(link) = existing {
            if !is_kind(link, "bridge") {
                return Err(NetError::Unusable {
                    network: network.name.clone(),
                    interface: name,
                    problem: "exists but is not a bridge; rename or delete it".into(),
                });
            }
            if link.mac != Some(mac) {
                self.plan.steps.push(Step::SetMac { name: name.clone(), mac });
            }
        }
        self.link(&name, Step::MakeBridge { name: name.clone(), mac });
        let master = self.kernel.links.get(base).and_then(|link| link.master);
        match master {
            Some(index) if existing.is_some_and(|bridge| bridge.index == index) => {
                // There already. On record if this server did it, the administrator's otherwise.
                let port = Made::Port { name: base.to_owned(), bridge: name.clone() };
                self.needed.push(port);
            }
            Some(index) => {
                let other = self.kernel.name_of(index).unwrap_or("another");
                return Err(NetError::Unusable {
                    network: network.name.clone(),
                    interface: base.to_owned(),
                    problem: format!("is already a port of bridge '{other}'; take it out first"),
                });
            }
            None => {
                self.step(Step::Enslave { name: base.to_owned(), bridge: name.clone() });
            }
        }
        self.up_if_there(&name);
        Ok(name)
    }

    fn alt_name(&mut self, network: &Wanted, base: &str) {
        let there = base == network.name
            || self.kernel.links.get(base).is_some_and(|l| l.alt_names.contains(&network.name));
        let made = Made::AltName { name: base.to_owned(), alt: network.name.clone() };
        if there {
            self.needed.push(made);
        } else {
            self.step(Step::AddAltName { name: base.to_owned(), alt: network.name.clone() });
        }
    }

    fn address(
        &mut self,
        network: &Wanted,
        name: &str,
        ip: Ipv4Addr,
        prefix: u8,
    ) -> Result<(), NetError> {
        let made = Made::Address { name: name.to_owned(), ip, prefix };
        for (other, link) in &self.kernel.links {
            let Some((_, found)) = link.addresses.iter().find(|(address, _)| *address == ip) else {
                continue;
            };
            let ours = Made::Address { name: other.clone(), ip, prefix: *found };
            if other == name && *found == prefix {
                self.needed.push(made);
                return Ok(());
            }
            // On record: undone before the new one is added.
            if !self.record.made.contains(&ours) {
                return Err(NetError::Unusable {
                    network: network.name.clone(),
                    interface: other.clone(),
                    problem: format!(
                        "already has the address {ip}/{found}; remove it there or choose another network in server.conf"
                    ),
                });
            }
        }
        self.step(Step::AddAddress { name: name.to_owned(), ip, prefix });
        Ok(())
    }

    /// An interface that must exist, with the step that makes it.
    fn link(&mut self, name: &str, make: Step) {
        if self.kernel.links.contains_key(name) {
            self.needed.push(Made::Link { name: name.to_owned() });
        } else {
            self.step(make);
        }
    }

    fn step(&mut self, step: Step) {
        self.needed.extend(step.makes());
        self.plan.steps.push(step);
    }

    /// Interfaces are made up; one that is already there may not be.
    fn up_if_there(&mut self, name: &str) {
        let Some(link) = self.kernel.links.get(name) else { return };
        let made = Made::Up { name: name.to_owned() };
        if !link.up || self.record.made.contains(&made) {
            self.needed.push(made);
        }
        if !link.up {
            self.plan.steps.push(Step::Up { name: name.to_owned() });
        }
    }
}

/// Name of the other end of the pair that replaces a `dummy` interface.
pub(super) fn cableless_peer(name: &str) -> String {
    format!("{name}p")
}

fn interface_name(network: &Wanted, interface: String) -> Result<String, NetError> {
    // One character is left for the other end of a pair.
    let limit = if network.raw_device.is_some() { IFNAME_MAX } else { IFNAME_MAX - 1 };
    if interface.len() <= limit {
        Ok(interface)
    } else {
        Err(NetError::NameTooLong { network: network.name.clone(), interface })
    }
}

fn is_kind(link: &Link, kind: &str) -> bool {
    link.kind.as_deref() == Some(kind)
}
