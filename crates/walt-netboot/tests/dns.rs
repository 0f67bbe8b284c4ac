//! DNS, with dig.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::{Ipv4Addr, SocketAddr};

use common::{Platform, Services, run, stdout, tool};
use walt_netboot::dns::{DnsConfig, DnsServer};

fn serve(services: &Services, network: &str, upstreams: Vec<SocketAddr>) -> u16 {
    let platform = Platform::new(Ipv4Addr::LOCALHOST, network);
    let config =
        DnsConfig { port: 0, upstreams, ..DnsConfig::new(platform.server, platform.network) };
    let mut port = 0;
    services.start(
        || {
            let server = DnsServer::bind(config, platform).unwrap();
            port = server.local_addr().unwrap().port();
            server
        },
        DnsServer::run,
    );
    port
}

fn dig(port: u16, arguments: &[&str]) -> String {
    let mut dig = tool("dig", "bind9-dnsutils");
    dig.args(["@127.0.0.1", "-p", &port.to_string(), "+time=3", "+tries=1"]);
    stdout(&run(dig.args(arguments)))
}

#[test]
fn names_and_addresses_of_the_zone() {
    let services = Services::new();
    let port = serve(&services, "127.0.0.0/8", vec![]);
    for transport in ["+notcp", "+tcp"] {
        let short = |arguments: &[&str]| dig(port, &[&["+short", transport], arguments].concat());
        assert_eq!(short(&["server.walt"]), "127.0.0.1\n");
        assert_eq!(short(&["vnode1.walt"]), "127.0.0.20\n");
        assert_eq!(short(&["walt-server.walt"]), "server.walt.\n127.0.0.1\n");
        assert_eq!(short(&["-x", "127.0.0.20"]), "vnode1.walt.\n");
        assert_eq!(short(&["-x", "127.0.0.1"]), "server.walt.\n");
        assert_eq!(short(&["vnode1.walt", "AAAA"]), "");
    }
    let answer = dig(port, &["vnode1.walt"]);
    assert!(
        answer.contains("status: NOERROR") && answer.contains("flags: qr aa rd ra"),
        "{answer}"
    );
    assert!(dig(port, &["nobody.walt"]).contains("status: NXDOMAIN"));
    assert!(dig(port, &["walt", "SOA"]).contains("root.server.walt."));
}

#[test]
fn other_names_are_forwarded_or_refused() {
    let services = Services::new();
    // Stands for the resolver of the site: it knows 10.0.0.0/8.
    let upstream = serve(&services, "10.0.0.0/8", vec![]);
    // A resolver that is down comes first.
    let dead = SocketAddr::from(([127, 0, 0, 1], 9));
    let port = serve(&services, "127.0.0.0/8", vec![dead, ([127, 0, 0, 1], upstream).into()]);
    for transport in ["+notcp", "+tcp"] {
        assert_eq!(dig(port, &["+short", transport, "-x", "10.1.2.20"]), "vnode1.walt.\n");
        assert!(dig(port, &[transport, "-x", "10.1.2.21"]).contains("status: NXDOMAIN"));
    }
    // Outside of the upstream's network: it refuses, and so its answer is passed on.
    assert!(dig(port, &["www.debian.org"]).contains("status: REFUSED"));
    let alone = serve(&services, "127.0.0.0/8", vec![dead]);
    assert!(dig(alone, &["www.debian.org"]).contains("status: SERVFAIL"));
    let closed = serve(&services, "127.0.0.0/8", vec![]);
    assert!(dig(closed, &["www.debian.org"]).contains("status: REFUSED"));
}
