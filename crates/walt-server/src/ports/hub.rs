//! What the node ports ask of the rest of the server, and tell it.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use walt_model::{DeviceName, DeviceType, Mac, NetSetup, NodeModel};
use walt_proto::spooled::ClockOffset;

/// A device, recognised by its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its MAC.
    pub mac: Mac,
    /// Its name.
    pub name: DeviceName,
    /// Its type.
    pub device_type: DeviceType,
}

/// One line of a log stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLine {
    /// When: reception, or the time the node gave when it is believable.
    pub timestamp: SystemTime,
    /// The text, without line break and without NUL.
    pub text: String,
}

/// One line of a spool of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpooledLine {
    /// Its number in the spool.
    pub seq: u64,
    /// Its stream.
    pub stream: Arc<str>,
    /// When.
    pub timestamp: SystemTime,
    /// The text, without line break and without NUL.
    pub text: String,
}

/// Tells when lines are safe; `false` when they never will be here.
pub type Safe = BoxFuture<'static, bool>;

/// Whose boot files are asked for over the streams port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootFileOf {
    /// The node with this MAC.
    Mac(Mac),
    /// The node with this address.
    Ip(Ipv4Addr),
}

/// What a device declares of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// DHCP vendor class.
    pub vendor_class: String,
    /// DHCP user class.
    pub user_class: String,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its MAC.
    pub mac: Mac,
    /// The name it proposes, unchecked.
    pub proposed_name: Option<String>,
}

/// What boot programs may know of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceInfo {
    /// Its MAC.
    pub mac: Mac,
    /// Its address, if it has one.
    pub ip: Option<Ipv4Addr>,
    /// Its name.
    pub name: DeviceName,
    /// Its type.
    pub device_type: DeviceType,
    /// The settings explicitly set, by their dotted names.
    pub conf: BTreeMap<String, serde_json::Value>,
    /// Is its address in the platform network?
    pub in_walt_net: bool,
    /// More, for nodes.
    pub node: Option<NodeInfo>,
}

/// What boot programs may know of a node, besides [`DeviceInfo`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Is it a virtual node?
    pub is_virtual: bool,
    /// Its model.
    pub model: NodeModel,
    /// Full name of the image it boots.
    pub image: String,
    /// Is it booted?
    pub booted: bool,
    /// Its gateway; `None` when it stays in the platform network.
    pub gateway: Option<Ipv4Addr>,
    /// Netmask of the platform network.
    pub netmask: Ipv4Addr,
    /// Whether it goes out.
    pub netsetup: NetSetup,
}

/// Answers the node ports. Everything here may be called for any device of the platform network, at any
/// rate: cheap, and wrong input is ignored.
pub trait NodeHub: Send + Sync + 'static {
    /// Who has this address. In memory; called for each connection and each datagram.
    fn caller(&self, ip: Ipv4Addr) -> Option<Caller>;

    /// Records lines, in order, in a stream of a device (created when new, mode `line`). The caller
    /// waits for the answer before it reads more of that connection.
    fn log<'a>(
        &'a self,
        issuer: &'a Caller,
        stream: &'a str,
        lines: Vec<NodeLine>,
    ) -> BoxFuture<'a, ()>;

    /// The same for a sender that cannot be slowed down: lines for which there is no room now are lost, which their
    /// stream tells.
    fn log_now(&self, issuer: &Caller, stream: &str, lines: Vec<NodeLine>);

    /// The number of the last line of this spool of a device that is safe; 0 for none.
    fn spooled<'a>(
        &'a self,
        issuer: &'a Caller,
        session: Arc<str>,
    ) -> BoxFuture<'a, Result<u64, String>>;

    /// Records lines of a spool, those that are there already excepted, waiting for room only. `None` when the
    /// server stops.
    fn log_spooled<'a>(
        &'a self,
        issuer: &'a Caller,
        session: Arc<str>,
        lines: Vec<SpooledLine>,
    ) -> BoxFuture<'a, Option<Safe>>;

    /// A device compared its clock with the server's.
    fn clock_measured(&self, issuer: &Caller, measured: ClockOffset);

    /// A bootup notification connection was opened; it means nothing yet.
    fn boot_connected(&self, _ip: Ipv4Addr) {}

    /// A bootup notification was confirmed: the node is booted, or still booted if it only came back.
    /// Gives the number of this connection.
    fn boot_confirmed(&self, ip: Ipv4Addr) -> u64;

    /// A confirmed connection ended while the server goes on. The node is down, unless a later
    /// connection of it exists. Never called because the server stops.
    fn boot_lost(&self, ip: Ipv4Addr, connection: u64);

    /// Opens a boot file of a node, `path` being what follows `tftp` (`/start.ipxe`), unchecked. `None` for
    /// anything that node may not have.
    fn boot_file(&self, of: BootFileOf, path: &str) -> Option<(File, u64)>;

    /// Registers a device. The error is told to the caller.
    fn register_device(&self, registration: Registration) -> BoxFuture<'_, Result<(), String>>;

    /// What is known of the device with this MAC, or this VPN MAC.
    fn device_info(&self, mac: Mac) -> Option<DeviceInfo>;

    /// A node sees this switch port at the other end of its cable.
    fn lldp_neighbor<'a>(
        &'a self,
        reporter: &'a Caller,
        switch: Mac,
        port_label: &'a str,
    ) -> BoxFuture<'a, ()>;
}
