//! DHCP messages of clients, and the answer to those that are understood.
#![no_main]

use std::net::Ipv4Addr;

use libfuzzer_sys::fuzz_target;
use walt_netboot::dhcp::{answer, parse};
use walt_netboot::policy::{DhcpAnswer, DhcpDecision, KnownClient, boot_choice};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 152, 1);

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = parse::parse(bytes) else { return };
    for who in [KnownClient::Unknown, KnownClient::Node] {
        let network = ipnet::Ipv4Net::new_assert(SERVER, 24);
        let mut content = DhcpAnswer::new(Ipv4Addr::new(192, 168, 152, 9), SERVER, network);
        content.boot = boot_choice(&request, who, SERVER);
        for decision in [
            DhcpDecision::Answer(Box::new(content.clone())),
            DhcpDecision::Nak("no".to_owned()),
        ] {
            let _ = answer::outcome(&request, decision, SERVER);
        }
    }
});
