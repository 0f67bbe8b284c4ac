//! The steps of a boot, as they are seen by the services of this crate.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant, SystemTime};

use super::{DhcpKind, Mac, Via};

/// One step of a boot: who, when, what.
#[derive(Clone, Debug)]
pub struct BootObservation {
    /// Wall-clock time of the step.
    pub at: SystemTime,
    /// Monotonic time of the step, for differences.
    pub instant: Instant,
    /// Address of the client, once it has one.
    pub ip: Option<Ipv4Addr>,
    /// Hardware address of the client, when the protocol tells it (DHCP).
    pub mac: Option<Mac>,
    /// The step.
    pub event: BootEvent,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootEvent {
    /// An address was offered (after a DISCOVER).
    Offer {
        /// Boot file in the offer.
        file: Option<String>,
        /// Vendor class of the client; empty when absent.
        vendor_class: String,
        /// User class of the client; empty when absent.
        user_class: String,
    },
    /// An address (or, for INFORM, the parameters) was acknowledged.
    Ack {
        /// Boot file in the answer.
        file: Option<String>,
        /// Vendor class of the client; empty when absent.
        vendor_class: String,
        /// User class of the client; empty when absent.
        user_class: String,
    },
    /// The client was told to start again.
    Nak {
        /// Why.
        reason: String,
    },
    /// The client got no answer.
    Silent {
        /// What it had sent.
        kind: DhcpKind,
        /// Why it was not answered.
        reason: String,
    },
    /// A transfer starts.
    FileStart {
        /// Protocol.
        via: Via,
        /// Path as mapped.
        path: String,
        /// Bytes to send.
        size: u64,
    },
    /// A transfer is complete: the client acknowledged the last byte (TFTP) or it was written (HTTP).
    FileEnd {
        /// Protocol.
        via: Via,
        /// Path as mapped.
        path: String,
        /// Bytes sent.
        bytes: u64,
        /// Since the request.
        duration: Duration,
    },
    /// A transfer stopped before its end.
    FileBroken {
        /// Protocol.
        via: Via,
        /// Path as mapped.
        path: String,
        /// Bytes the client is known to have (TFTP) or that were written (HTTP).
        bytes: u64,
        /// Since the request.
        duration: Duration,
        /// Why.
        reason: String,
    },
    /// The client only asked for the size of a file (TFTP `tsize` then stop, as BIOS PXE ROMs do; HTTP HEAD).
    FileSized {
        /// Protocol.
        via: Via,
        /// Path as mapped.
        path: String,
        /// Its size in bytes.
        size: u64,
    },
    /// A file that is not there was asked for (often normal: boot loaders try several names).
    FileMissing {
        /// Protocol.
        via: Via,
        /// Path as mapped.
        path: String,
    },
    /// A file was refused.
    FileDenied {
        /// Protocol.
        via: Via,
        /// Path as the client wrote it.
        path: String,
        /// Why.
        reason: String,
    },
}

impl BootObservation {
    /// An observation made now.
    pub fn now(ip: Option<Ipv4Addr>, mac: Option<Mac>, event: BootEvent) -> Self {
        Self { at: SystemTime::now(), instant: Instant::now(), ip, mac, event }
    }
}
