//! What is counted since the start, for the metrics. Everything here is cheap to count.

use std::sync::atomic::{AtomicU64, Ordering};

use walt_netboot::policy::{BootEvent, Via};

/// Counters of the process.
#[derive(Debug, Default)]
pub struct Counters {
    /// Bootups confirmed by nodes that were down.
    pub boots: AtomicU64,
    /// Nodes that went down.
    pub downs: AtomicU64,
    /// Lines of the platform itself that found the log queue full.
    pub log_lines_dropped: AtomicU64,
    /// Requests to the web API and the metrics.
    pub web_requests: AtomicU64,
    /// Log lines sent by the web API.
    pub web_log_lines: AtomicU64,
    /// DHCP.
    pub dhcp: Dhcp,
    /// Boot files over TFTP.
    pub tftp: Files,
    /// Boot files over HTTP.
    pub http: Files,
}

/// DHCP exchanges by answer.
#[derive(Debug, Default)]
pub struct Dhcp {
    /// Offers.
    pub offer: AtomicU64,
    /// Acknowledgements.
    pub ack: AtomicU64,
    /// Refusals.
    pub nak: AtomicU64,
    /// Requests left without an answer.
    pub silent: AtomicU64,
}

/// Transfers of boot files by outcome.
#[derive(Debug, Default)]
pub struct Files {
    /// Complete.
    pub complete: AtomicU64,
    /// Stopped before their end.
    pub broken: AtomicU64,
    /// No such file.
    pub missing: AtomicU64,
    /// Refused.
    pub denied: AtomicU64,
    /// Bytes sent.
    pub bytes: AtomicU64,
}

/// One more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    /// A step of a boot.
    pub fn note(&self, event: &BootEvent) {
        let files = |via: &Via| match via {
            Via::Http => &self.http,
            _ => &self.tftp,
        };
        match event {
            BootEvent::Offer { .. } => count(&self.dhcp.offer),
            BootEvent::Ack { .. } => count(&self.dhcp.ack),
            BootEvent::Nak { .. } => count(&self.dhcp.nak),
            BootEvent::Silent { .. } => count(&self.dhcp.silent),
            BootEvent::FileEnd { via, bytes, .. } => {
                count(&files(via).complete);
                files(via).bytes.fetch_add(*bytes, Ordering::Relaxed);
            }
            BootEvent::FileBroken { via, bytes, .. } => {
                count(&files(via).broken);
                files(via).bytes.fetch_add(*bytes, Ordering::Relaxed);
            }
            BootEvent::FileMissing { via, .. } => count(&files(via).missing),
            BootEvent::FileDenied { via, .. } => count(&files(via).denied),
            BootEvent::FileStart { .. } | BootEvent::FileSized { .. } => {}
        }
    }
}
