//! DNS queries, and our answers to them.
#![no_main]

use std::net::Ipv4Addr;

use libfuzzer_sys::fuzz_target;
use walt_netboot::dns::{self, DnsConfig};
use walt_netboot::policy::{
    BootObservation, BootPolicy, DhcpDecision, DhcpRequest, FileDecision, FileRequest,
};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 152, 1);

/// Knows one node.
struct OneNode;

impl BootPolicy for OneNode {
    fn dhcp(&self, _: &DhcpRequest) -> DhcpDecision {
        DhcpDecision::Silent(String::new())
    }

    fn dhcp_bound(&self, _: &DhcpRequest, _: Ipv4Addr) {}

    fn boot_file(&self, _: Ipv4Addr, _: &FileRequest) -> FileDecision {
        FileDecision::Missing
    }

    fn resolve(&self, name: &str) -> Option<Ipv4Addr> {
        (name == "vnode1").then_some(Ipv4Addr::new(192, 168, 152, 9))
    }

    fn reverse(&self, ip: Ipv4Addr) -> Option<String> {
        (ip.octets()[3] == 9).then(|| "vnode1".to_owned())
    }

    fn observe(&self, _: BootObservation) {}
}

fuzz_target!(|bytes: &[u8]| {
    let config = DnsConfig::new(SERVER, ipnet::Ipv4Net::new_assert(SERVER, 24));
    dns::fuzz(bytes, &config, &OneNode);
});
