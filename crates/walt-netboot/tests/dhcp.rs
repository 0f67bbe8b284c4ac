//! DHCP and router advertisements, with the clients of Debian, in two network namespaces joined by a
//! virtual cable. Needs root.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{Platform, run, stdout, tool};
use tokio_util::sync::CancellationToken;
use walt_netboot::dhcp::{DhcpConfig, DhcpServer};
use walt_netboot::policy::{BootEvent, DhcpKind};
use walt_netboot::ra::RouterAdvertiser;

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 177, 1);

/// A server namespace with interface `srv` and a client one with interface `cli`.
struct Cable {
    server: String,
    client: String,
    stop: CancellationToken,
    services: Option<JoinHandle<()>>,
}

impl Cable {
    /// Lays the cable and starts the services at its server end.
    fn lay(platform: &Arc<Platform>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        assert!(
            nix::unistd::Uid::effective().is_root(),
            "run this test as root: it makes network namespaces"
        );
        let name = format!("wnb{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut cable = Self {
            server: format!("{name}-s"),
            client: format!("{name}-c"),
            stop: CancellationToken::new(),
            services: None,
        };
        let (server, client) = (cable.server.clone(), cable.client.clone());
        for arguments in [
            format!("netns add {server}"),
            format!("netns add {client}"),
            format!("-n {server} link add srv type veth peer name cli netns {client}"),
            format!("-n {server} addr add {SERVER}/16 dev srv"),
            format!("-n {server} link set lo up"),
            format!("-n {server} link set srv up"),
            format!("-n {client} link set lo up"),
            format!("-n {client} link set cli up"),
        ] {
            run(tool("ip", "iproute2").args(arguments.split(' ')));
        }
        cable.services = Some(cable.serve(platform));
        cable
    }

    fn serve(&self, platform: &Arc<Platform>) -> JoinHandle<()> {
        let namespace = File::open(format!("/run/netns/{}", self.server)).unwrap();
        let (stop, platform) = (self.stop.clone(), platform.clone());
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let dhcp = DhcpServer::bind(DhcpConfig::new("srv", SERVER), platform).unwrap();
                let advertiser = RouterAdvertiser::bind("srv").unwrap();
                ready.send(()).unwrap();
                tokio::join!(dhcp.run(stop.clone()), advertiser.run(stop));
            });
        });
        is_ready.recv_timeout(Duration::from_secs(10)).expect("the services start");
        thread
    }

    /// A command that runs at the client's end.
    fn client(&self, name: &str, package: &str) -> Command {
        let found = tool(name, package);
        let mut command = tool("ip", "iproute2");
        command.args(["netns", "exec", &self.client]).arg(found.get_program());
        command
    }

    /// A socket at the client's end, with an address there.
    fn socket(&self) -> UdpSocket {
        run(tool("ip", "iproute2").args([
            "-n",
            &self.client,
            "addr",
            "add",
            "192.168.177.200/16",
            "dev",
            "cli",
        ]));
        let namespace = File::open(format!("/run/netns/{}", self.client)).unwrap();
        let opened = std::thread::spawn(move || {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            UdpSocket::bind("192.168.177.200:0").unwrap()
        });
        opened.join().unwrap()
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(services) = self.services.take() {
            let _ = services.join();
        }
        for namespace in [&self.server, &self.client] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

/// A script for DHCP clients that writes what it is told and changes nothing.
fn noting_script(platform: &Platform) -> (PathBuf, PathBuf) {
    let notes = platform.root.path().join("notes");
    let text = format!("#!/bin/sh\n(echo \"event=$1\"; env) >> {}\nexit 0\n", notes.display());
    let script = platform.write("script", text.as_bytes());
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    (script, notes)
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn dhclient_gets_gives_back_and_is_corrected() {
    let platform = Platform::new(SERVER, "192.168.0.0/16");
    let cable = Cable::lay(&platform);
    let (script, notes) = noting_script(&platform);
    let root = platform.root.path();
    let config =
        platform.write("dhclient.conf", b"send vendor-class-identifier \"walt.node.rpi-4-b\";\n");
    let leases = platform.write("leases", b"");
    let dhclient = |arguments: &[&str]| {
        let mut command = cable.client("dhclient", "isc-dhcp-client");
        command.arg("-4").args(arguments).arg("-cf").arg(&config).arg("-sf").arg(&script);
        command.arg("-lf").arg(&leases).arg("-pf").arg(root.join("pid")).arg("cli");
        run(&mut command)
    };
    dhclient(&["-1", "-v"]);
    let noted = std::fs::read_to_string(&notes).unwrap();
    for line in [
        "reason=BOUND",
        "new_ip_address=192.168.0.20",
        "new_subnet_mask=255.255.0.0",
        "new_broadcast_address=192.168.255.255",
        "new_routers=192.168.177.1",
        "new_domain_name_servers=192.168.177.1",
        "new_domain_name=walt",
        "new_domain_search=walt.",
        "new_host_name=vnode20",
        "new_dhcp_lease_time=6000000",
        "new_dhcp_server_identifier=192.168.177.1",
        "new_next_server=192.168.177.1",
    ] {
        assert!(noted.lines().any(|noted| noted == line), "{line} is not in\n{noted}");
    }
    let (_, ip, class) = platform.bound()[0].clone();
    assert_eq!((ip, class.as_str()), (Ipv4Addr::new(192, 168, 0, 20), "walt.node.rpi-4-b"));
    assert!(platform.events().iter().any(|event| matches!(event, BootEvent::Offer { .. })));
    assert!(platform.events().iter().any(|event| matches!(event, BootEvent::Ack { .. })));

    // The release is sent by unicast: the client needs the address it was given.
    run(tool("ip", "iproute2").args([
        "-n",
        &cable.client,
        "addr",
        "add",
        "192.168.0.20/16",
        "dev",
        "cli",
    ]));
    dhclient(&["-r"]);
    wait_until("the release is passed on", || platform.returned() == [DhcpKind::Release]);
    run(tool("ip", "iproute2").args(["-n", &cable.client, "addr", "flush", "dev", "cli"]));

    // A client that remembers a lease of elsewhere is told at once, and gets its address here.
    let elsewhere = "lease { interface \"cli\"; fixed-address 10.9.8.7; option subnet-mask 255.255.255.0; \
         option dhcp-lease-time 900000; option dhcp-server-identifier 10.9.8.1; \
         renew 4 2037/01/01 00:00:00; rebind 4 2037/01/01 00:00:00; expire 4 2037/01/01 00:00:00; }\n";
    std::fs::write(&leases, elsewhere).unwrap();
    std::fs::remove_file(&notes).unwrap();
    dhclient(&["-1", "-v"]);
    platform.wait_for(
        "the refusal",
        |event| matches!(event, BootEvent::Nak { reason } if reason.contains("10.9.8.7")),
    );
    assert!(std::fs::read_to_string(&notes).unwrap().contains("new_ip_address=192.168.0.20\n"));
    dhclient(&["-x"]);
}

#[test]
fn udhcpc_gets_an_address_and_its_boot_options() {
    let platform = Platform::new(SERVER, "192.168.0.0/16");
    let cable = Cable::lay(&platform);
    let (script, notes) = noting_script(&platform);
    let mut udhcpc = cable.client("udhcpc", "udhcpc");
    udhcpc.args(["-i", "cli", "-n", "-q", "-f", "-t", "5", "-T", "1"]);
    // Options 60 and 93 of a BIOS boot ROM; all options of boot clients are asked for.
    udhcpc.args(["-V", "PXEClient:Arch:00000:UNDI:002001", "-x", "0x5d:0000"]);
    udhcpc
        .args(["-O", "tftp", "-O", "bootfile", "-O", "ntpsrv", "-O", "search", "-s"])
        .arg(&script);
    run(&mut udhcpc);
    let noted = std::fs::read_to_string(&notes).unwrap();
    for line in [
        "event=bound",
        "ip=192.168.0.20",
        "subnet=255.255.0.0",
        "broadcast=192.168.255.255",
        "router=192.168.177.1",
        "dns=192.168.177.1",
        "domain=walt",
        "search=walt",
        "ntpsrv=192.168.177.1",
        "hostname=vnode20",
        "tftp=192.168.177.1",
        "siaddr=192.168.177.1",
        "boot_file=pxe/walt-x86-undionly.kpxe",
        "bootfile=pxe/walt-x86-undionly.kpxe",
        "lease=6000000",
        "serverid=192.168.177.1",
    ] {
        assert!(noted.lines().any(|noted| noted == line), "{line} is not in\n{noted}");
    }
    assert_eq!(platform.bound().len(), 1);
}

#[test]
fn a_crowd_behind_a_relay_is_served() {
    let platform = Platform::new(SERVER, "192.168.0.0/16");
    let cable = Cable::lay(&platform);
    let address = ["-n", &cable.client, "addr", "add", "192.168.177.200/16", "dev", "cli"];
    run(tool("ip", "iproute2").args(address));
    // 300 clients in a second; perfdhcp stands for a relay, answers come to its address. -W: it waits
    // for the last answers (microseconds).
    let output = cable
        .client("perfdhcp", "kea-admin")
        .args([
            "-4",
            "-l",
            "cli",
            "-r",
            "300",
            "-R",
            "300",
            "-n",
            "300",
            "-W",
            "1000000",
            "192.168.177.1",
        ])
        .output()
        .unwrap();
    let text = stdout(&output);
    let received: Vec<usize> = text
        .lines()
        .filter_map(|line| line.strip_prefix("received packets: ")?.parse().ok())
        .collect();
    // It sometimes sends a few more exchanges than it was told.
    let [offers, acks] = received[..] else { panic!("{output:?}") };
    assert!(offers >= 300 && offers == acks, "{output:?}");
    assert_eq!(text.matches("drops: 0\n").count(), 2, "{output:?}");
    assert_eq!(platform.bound().len(), acks);
}

#[test]
fn broken_messages_are_dropped_and_the_service_goes_on() {
    let platform = Platform::new(SERVER, "192.168.0.0/16");
    let cable = Cable::lay(&platform);
    let socket = cable.socket();
    for length in [0, 1, 43, 236, 239, 240, 241, 300, 576, 1400] {
        for filling in [0, 1, 0x35, 0xff] {
            let mut bytes = vec![filling; length];
            socket.send_to(&bytes, (SERVER, 67)).unwrap();
            // The same as the start of a request whose options are cut.
            if length > 240 {
                bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
                bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
                socket.send_to(&bytes, (SERVER, 67)).unwrap();
            }
        }
    }
    let (script, notes) = noting_script(&platform);
    let mut udhcpc = cable.client("udhcpc", "udhcpc");
    run(udhcpc.args(["-i", "cli", "-n", "-q", "-f", "-t", "5", "-T", "1", "-s"]).arg(&script));
    assert!(std::fs::read_to_string(&notes).unwrap().contains("event=bound"));
    assert_eq!(platform.bound().len(), 1, "only the true client got something");
}

#[test]
fn router_solicitations_are_answered_by_no_router() {
    let platform = Platform::new(SERVER, "192.168.0.0/16");
    let cable = Cable::lay(&platform);
    // Link-local addresses are usable once they are known to be unique.
    for (namespace, interface) in [(&cable.server, "srv"), (&cable.client, "cli")] {
        wait_until("the interface has an IPv6 address", || {
            let show = ["-n", namespace, "-6", "addr", "show", "dev", interface, "scope", "link"];
            let addresses = stdout(&run(tool("ip", "iproute2").args(show)));
            addresses.contains("fe80::") && !addresses.contains("tentative")
        });
    }
    let started = Instant::now();
    let output = run(cable.client("rdisc6", "ndisc6").args(["-1", "-r", "3", "-w", "1500", "cli"]));
    let text = stdout(&output);
    assert!(text.contains("Router lifetime           :            0"), "{text}");
    assert!(!text.contains("Prefix"), "{text}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}
