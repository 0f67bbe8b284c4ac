//! One decision function for every boot protocol: who is this, what may it have, why not.
//!
//! The daemons of this crate parse packets, time retransmissions and write answers; everything that
//! depends on the state of a platform is asked from a [`BootPolicy`]. Its methods are synchronous: they
//! must answer from memory (they are called on network tasks), except [`BootPolicy::boot_file`], which
//! is called on a blocking thread because it opens a file.

mod answer;
mod file;
mod observation;
pub mod quirks;
mod request;
mod seen;

use std::net::Ipv4Addr;

pub use answer::{
    BootChoice, DhcpAnswer, DhcpDecision, EFI_ARM64_FILE, EFI_X64_FILE, EFI_X86_FILE,
    GENERIC_SCRIPT, KnownClient, LEASE_SECONDS, NODE_SCRIPT, UNDIONLY_FILE, boot_choice,
    generic_script,
};
pub use file::{FileDecision, FilePlace, FileRequest, Via};
pub use observation::{BootEvent, BootObservation};
pub use request::{DhcpKind, DhcpRequest};
pub use seen::Seen;
pub use walt_model::Mac;

/// What a platform decides about the machines that boot from it.
///
/// Implemented once by the server over its registry; tests implement it in a few lines.
pub trait BootPolicy: Send + Sync + 'static {
    /// Decides the answer to a DISCOVER, REQUEST or INFORM.
    ///
    /// The policy only says which address and which boot file this client has. What follows from the
    /// protocol is done by the DHCP service: OFFER or ACK, a NAK when the client asks for another
    /// address than the one decided here, silence when it chose another server.
    /// An address returned for a DISCOVER must be held for that client for some time (say 60 s), so
    /// that a storm of clients never gets one address twice.
    fn dhcp(&self, request: &DhcpRequest) -> DhcpDecision;

    /// Called after the ACK of `ip` was decided (not for INFORM): the registration hook.
    fn dhcp_bound(&self, request: &DhcpRequest, ip: Ipv4Addr);

    /// The client gave its address back (RELEASE: [`DhcpRequest::client_ip`]) or found that somebody
    /// else uses it (DECLINE: [`DhcpRequest::requested_ip`]). No answer is sent. Default: ignored,
    /// since addresses of registered devices never change.
    fn dhcp_returned(&self, request: &DhcpRequest) {
        let _ = request;
    }

    /// The firmware `client` was when it last asked for an address: its limits hold for transfers.
    /// Must answer from memory. Default: nothing is known of it.
    fn firmware(&self, client: Ipv4Addr) -> &'static quirks::Firmware {
        let _ = client;
        quirks::other()
    }

    /// Decides what `client` reads when it asks for a boot file.
    ///
    /// `client` is the node the file is for: the peer, or over HTTP the `node_ip` parameter.
    /// Called on a blocking thread: may open and stat a file, must not wait for the network.
    fn boot_file(&self, client: Ipv4Addr, request: &FileRequest) -> FileDecision;

    /// The address of `name`, given without its domain (`vnode1` for `vnode1.walt.`), in lower case.
    ///
    /// `server` and `walt-server` are answered by the DNS service itself and never asked here.
    fn resolve(&self, name: &str) -> Option<Ipv4Addr>;

    /// The name, without domain, of the device at `ip`; asked for reverse queries.
    fn reverse(&self, ip: Ipv4Addr) -> Option<String>;

    /// Takes note of a step of a boot. Called in order for one client and protocol; must not block.
    fn observe(&self, event: BootObservation);
}
