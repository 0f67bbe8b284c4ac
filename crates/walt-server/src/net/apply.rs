//! Carrying out plans: the only place that talks to the kernel.

use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, Prop,
};
use rtnetlink::{
    AddressMessageBuilder, Handle, LinkBridge, LinkDummy, LinkUnspec, LinkVeth, LinkVlan,
};
use walt_model::Mac;

use super::error::NetError;
use super::kernel::{KernelState, Link};
use super::plan::{Plan, Step, cableless_peer, undo};
use super::record::{Made, Record};

/// A netlink socket in the network namespace of the thread that opened it.
pub(super) struct Netlink {
    handle: Handle,
    connection: tokio::task::JoinHandle<()>,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Netlink {
    pub fn open() -> Result<Self, NetError> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|error| NetError::Netlink(error.to_string()))?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// The present state of the kernel.
    pub async fn read(&mut self) -> Result<KernelState, NetError> {
        let failed = |error: rtnetlink::Error| NetError::Netlink(error.to_string());
        let mut state = KernelState::default();
        let mut links = self.handle.link().get().execute();
        while let Some(message) = links.try_next().await.map_err(failed)? {
            if let Some((name, link)) = link_of(&message) {
                state.links.insert(name, link);
            }
        }
        let mut addresses = self.handle.address().get().execute();
        while let Some(message) = addresses.try_next().await.map_err(failed)? {
            let find = |local: bool| {
                message.attributes.iter().find_map(|attribute| match attribute {
                    AddressAttribute::Local(IpAddr::V4(ip)) if local => Some(*ip),
                    AddressAttribute::Address(IpAddr::V4(ip)) if !local => Some(*ip),
                    _ => None,
                })
            };
            let Some(ip) = find(true).or_else(|| find(false)) else { continue };
            let index = message.header.index;
            if let Some(link) = state.links.values_mut().find(|link| link.index == index) {
                link.addresses.push((ip, message.header.prefix_len));
            }
        }
        Ok(state)
    }

    /// Carry out a plan. Each thing is on record before it is made. If a step fails, what this call made is
    /// undone. The answer says what was done.
    pub async fn carry_out(
        &mut self,
        plan: Plan,
        record: &mut Record,
    ) -> Result<Vec<String>, NetError> {
        let mut done = self.undo(plan.obsolete, record).await?;
        let before = record.made.clone();
        for step in plan.steps {
            let made = step.makes().filter(|made| !record.made.contains(made));
            if let Some(made) = &made {
                record.add(made)?;
            }
            let Err(error) = self.take(&step).await else {
                tracing::info!("network: {step}");
                done.push(step.to_string());
                continue;
            };
            if let Some(made) = &made {
                record.remove(made)?;
            }
            let mut mine = record.clone();
            mine.made.retain(|made| !before.contains(made));
            let steps = undo(&mine, false);
            if let Err(second) = self.undo(steps, record).await {
                tracing::error!("network: while undoing: {second}");
            }
            return Err(error);
        }
        Ok(done)
    }

    /// Undo things on record. One that is already gone is fine; one that cannot be undone stays on record, the
    /// others are still undone, and the first error is returned.
    pub async fn undo(
        &mut self,
        steps: Vec<(Made, Step)>,
        record: &mut Record,
    ) -> Result<Vec<String>, NetError> {
        let mut done = Vec::new();
        let mut first_error = None;
        for (made, step) in steps {
            match self.take(&step).await {
                Ok(()) => {
                    tracing::info!("network: {step}");
                    done.push(step.to_string());
                }
                Err(NetError::Refused { error, .. }) if already_gone(&error) => {}
                Err(error) => {
                    tracing::error!("network: {error}");
                    first_error.get_or_insert(error);
                    continue;
                }
            }
            record.remove(&made)?;
        }
        first_error.map_or(Ok(done), Err)
    }

    async fn take(&mut self, step: &Step) -> Result<(), NetError> {
        self.request(step).await.map_err(|error| {
            let tip = match (step, error.raw_os_error()) {
                (_, Some(libc::EPERM)) => Some("the server must run as root"),
                (Step::MakeVlan { .. }, Some(libc::EOPNOTSUPP)) => {
                    Some("this kernel has no VLAN support: load its module 8021q")
                }
                (Step::MakeBridge { .. }, Some(libc::EOPNOTSUPP)) => {
                    Some("this kernel has no bridges: load its module bridge")
                }
                _ => None,
            };
            NetError::Refused { what: step.to_string(), error, tip }
        })
    }

    async fn request(&mut self, step: &Step) -> io::Result<()> {
        match step {
            Step::MakeCableless { name } => self.make_cableless(name).await,
            Step::MakeVlan { name, parent, id } => {
                let parent = self.index(parent).await?;
                self.add(LinkVlan::new(name, parent, *id).up().build()).await
            }
            Step::MakeBridge { name, mac } => {
                let bridge = LinkBridge::new(name)
                    .address(mac.0.to_vec())
                    .append_info_data(InfoBridge::StpState(BridgeStpState::Disabled))
                    .append_info_data(InfoBridge::ForwardDelay(0))
                    .up();
                self.add(bridge.build()).await
            }
            Step::SetMac { name, mac } => {
                let link = self.unspec(name).await?.address(mac.0.to_vec());
                self.set(link.build()).await
            }
            Step::Enslave { name, bridge } => {
                let bridge = self.index(bridge).await?;
                let link = self.unspec(name).await?.controller(bridge);
                self.set(link.build()).await
            }
            Step::Release { name } => {
                let link = self.unspec(name).await?.nocontroller();
                self.set(link.build()).await
            }
            Step::AddAddress { name, ip, prefix } => {
                let index = self.index(name).await?;
                let request = self.handle.address().add(index, IpAddr::V4(*ip), *prefix);
                request.execute().await.map_err(io_error)
            }
            Step::RemoveAddress { name, ip, prefix } => {
                let index = self.index(name).await?;
                let address = AddressMessageBuilder::<std::net::Ipv4Addr>::new()
                    .index(index)
                    .address(*ip, *prefix)
                    .build();
                self.handle.address().del(address).execute().await.map_err(io_error)
            }
            Step::AddAltName { name, alt } => {
                let index = self.index(name).await?;
                let request = self.handle.link().property_add(index).alt_ifname(&[alt]);
                request.execute().await.map_err(io_error)
            }
            Step::RemoveAltName { name, alt } => {
                let index = self.index(name).await?;
                let request = self.handle.link().property_del(index).alt_ifname(&[alt]);
                request.execute().await.map_err(io_error)
            }
            Step::Up { name } => {
                let link = self.unspec(name).await?.up();
                self.set(link.build()).await
            }
            Step::Down { name } => {
                let link = self.unspec(name).await?.down();
                self.set(link.build()).await
            }
            Step::Delete { name } => {
                let index = self.index(name).await?;
                self.handle.link().del(index).execute().await.map_err(io_error)
            }
        }
    }

    /// A `dummy` interface, or one end of a `veth` pair whose other end is up too: both have carrier.
    async fn make_cableless(&mut self, name: &str) -> io::Result<()> {
        match self.add(LinkDummy::new(name).up().build()).await {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
            result => return result,
        }
        tracing::debug!("this kernel has no dummy interfaces: {name} is one end of a veth pair");
        let peer = cableless_peer(name);
        self.add(LinkVeth::new(name, &peer).up().build()).await?;
        // It hears every broadcast of the bridge: without this it would answer ARP requests for the
        // server's address with its own MAC, and nodes would talk to an interface nobody listens on.
        let link = self.unspec(&peer).await?.arp(false).up();
        self.set(link.build()).await
    }

    async fn unspec(
        &mut self,
        name: &str,
    ) -> io::Result<rtnetlink::LinkMessageBuilder<LinkUnspec>> {
        Ok(LinkUnspec::new_with_index(self.index(name).await?))
    }

    async fn add(&mut self, message: LinkMessage) -> io::Result<()> {
        self.handle.link().add(message).execute().await.map_err(io_error)
    }

    async fn set(&mut self, message: LinkMessage) -> io::Result<()> {
        self.handle.link().set(message).execute().await.map_err(io_error)
    }

    /// Number of an interface.
    async fn index(&mut self, name: &str) -> io::Result<u32> {
        let mut found = self.handle.link().get().match_name(name).execute();
        match found.try_next().await.map_err(io_error)? {
            Some(message) => Ok(message.header.index),
            None => Err(io::Error::from_raw_os_error(libc::ENODEV)),
        }
    }
}

fn io_error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

/// The interface, address or alternate name to remove is not there.
fn already_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EADDRNOTAVAIL | libc::ENOENT))
}

fn link_of(message: &LinkMessage) -> Option<(String, Link)> {
    let mut name = None;
    let mut link = Link {
        index: message.header.index,
        up: message.header.flags.contains(LinkFlags::Up),
        loopback: message.header.flags.contains(LinkFlags::Loopback),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Controller(index) => link.master = Some(*index),
            LinkAttribute::Address(bytes) => {
                link.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
            }
            LinkAttribute::PropList(properties) => {
                link.alt_names = properties
                    .iter()
                    .filter_map(|property| match property {
                        Prop::AltIfName(alt) => Some(alt.clone()),
                        _ => None,
                    })
                    .collect();
            }
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Some((name?, link))
}
