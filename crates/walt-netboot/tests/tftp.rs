//! TFTP, with the clients of Debian and with a client that behaves badly.

// Octal escapes: texts of TFTP packets end with NUL bytes.
#![allow(clippy::unwrap_used, clippy::octal_escapes)]

mod common;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Platform, Services, pattern, run, same_content, stdout, tool};
use walt_netboot::policy::{BootEvent, Via};
use walt_netboot::tftp::{TftpConfig, TftpServer};

fn serve(platform: &Arc<Platform>, change: impl FnOnce(&mut TftpConfig)) -> (Services, u16) {
    let services = Services::new();
    let mut config = TftpConfig { port: 0, ..TftpConfig::new(Ipv4Addr::LOCALHOST) };
    change(&mut config);
    let mut port = 0;
    services.start(
        || {
            let server = TftpServer::bind(config, platform.clone()).unwrap();
            port = server.local_addr().unwrap().port();
            server
        },
        TftpServer::run,
    );
    (services, port)
}

/// Sizes around the blocks of the clients below.
const SIZES: [usize; 8] = [0, 1, 511, 512, 513, 1428, 14_680, 3_000_001];

#[test]
fn tftp_hpa_gets_files_of_all_sizes() {
    let platform = Platform::on_loopback();
    let (_services, port) = serve(&platform, |_| {});
    for size in SIZES {
        let content = pattern(size);
        platform.put("kernel", &content);
        let target = platform.root.path().join("received");
        run(tool("tftp", "tftp-hpa")
            .args(["-4", "-m", "binary", "127.0.0.1", &port.to_string(), "-c", "get", "kernel"])
            .arg(&target));
        same_content(&target, &content);
    }
    let BootEvent::FileEnd { via, path, bytes, .. } = platform
        .wait_for("the end", |event| matches!(event, BootEvent::FileEnd { bytes: 3_000_001, .. }))
    else {
        panic!("not an end");
    };
    assert_eq!((via, path.as_str(), bytes), (Via::Tftp, "kernel", 3_000_001));
}

#[test]
fn atftp_negotiates_block_size_total_size_and_window() {
    let platform = Platform::on_loopback();
    let (_services, port) = serve(&platform, |_| {});
    for (size, options) in [
        (0, &["tsize 0"][..]),
        (14_680, &["blksize 1468", "tsize 0"][..]),
        (3_000_001, &["blksize 1024", "windowsize 8", "tsize 0"][..]),
        (3_000_001, &["blksize 65464", "windowsize 64", "timeout 2"][..]),
    ] {
        let content = pattern(size);
        platform.put("initrd", &content);
        let target = platform.root.path().join("received");
        let _ = std::fs::remove_file(&target);
        let mut atftp = tool("atftp", "atftp");
        for option in options {
            atftp.args(["--option", option]);
        }
        run(atftp
            .args(["--get", "-r", "initrd", "-l"])
            .arg(&target)
            .args(["127.0.0.1", &port.to_string()]));
        same_content(&target, &content);
    }
}

#[test]
fn curl_gets_files_with_and_without_options() {
    let platform = Platform::on_loopback();
    let (_services, port) = serve(&platform, |_| {});
    let content = pattern(1_000_000);
    platform.put("QEMU/Standard PC (i440FX + PIIX, 1996)/boot-params.ipxe", &content);
    let url = format!(
        "tftp://127.0.0.1:{port}/QEMU/Standard%20PC%20(i440FX%20%2B%20PIIX,%201996)/boot-params.ipxe"
    );
    for options in
        [&["--tftp-no-options"][..], &["--tftp-blksize", "1468"], &["--tftp-blksize", "8000"]]
    {
        let target = platform.root.path().join("received");
        run(tool("curl", "curl")
            .args(["-sS", "--globoff"])
            .args(options)
            .arg("-o")
            .arg(&target)
            .arg(&url));
        same_content(&target, &content);
    }
}

#[test]
fn block_numbers_roll_over_in_large_files() {
    let platform = Platform::on_loopback();
    let (_services, port) = serve(&platform, |_| {});
    // 81 920 blocks of 512 bytes, and an empty last one.
    let content = pattern(40 << 20);
    platform.put("large", &content);
    let target = platform.root.path().join("received");
    run(tool("tftp", "tftp-hpa")
        .args(["-4", "-m", "binary", "127.0.0.1", &port.to_string(), "-c", "get", "large"])
        .arg(&target));
    same_content(&target, &content);
    let url = format!("tftp://127.0.0.1:{port}/large");
    run(tool("curl", "curl").args(["-sS", "--tftp-blksize", "512", "-o"]).arg(&target).arg(url));
    same_content(&target, &content);
}

#[test]
fn missing_files_are_said_at_once_and_nothing_leads_out() {
    let platform = Platform::on_loopback();
    let (_services, port) = serve(&platform, |_| {});
    platform.write("secret", b"not for nodes");
    platform.write("nodes/127.0.0.1/secret", b"not for nodes");
    let started = Instant::now();
    for (path, code) in [
        ("fit-start.uboot", 68),
        ("/../../../../etc/shadow", 69),
        ("/../secret", 69),
        ("/x/../../secret", 69),
        ("/../../secret?undionly", 69),
    ] {
        let output = tool("curl", "curl")
            .args(["-sS", "--path-as-is", "--max-time", "5"])
            .arg(format!("tftp://127.0.0.1:{port}/{path}"))
            .output()
            .unwrap();
        // 68: file not found, 69: permission problem.
        assert_eq!(output.status.code(), Some(code), "{path}: {output:?}");
        assert_eq!(stdout(&output), "");
    }
    let output = run(tool("tftp", "tftp-hpa")
        .args(["-4", "127.0.0.1", &port.to_string(), "-c", "get", "../../etc/shadow"])
        .arg(platform.root.path().join("received")));
    assert!(stdout(&output).contains("Error code 2"), "{output:?}");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(
        platform.events().contains(&BootEvent::FileMissing {
            via: Via::Tftp,
            path: "fit-start.uboot".to_owned()
        })
    );
}

#[test]
fn old_boot_media_and_platform_files_are_mapped() {
    let platform = Platform::on_loopback();
    let (_services, port) = serve(&platform, |_| {});
    platform.put("start.uboot", b"u-boot script");
    platform.put("start.ipxe", b"#!ipxe");
    platform.write("pxe/walt-x86-undionly.kpxe", b"an iPXE");
    for (path, content) in [
        ("boot/rpi-3-b.uboot", &b"u-boot script"[..]),
        ("boot/pc-x86-64.ipxe", b"#!ipxe"),
        ("pxe/walt-x86-undionly.kpxe", b"an iPXE"),
    ] {
        let output =
            run(tool("curl", "curl").args(["-sS", &format!("tftp://127.0.0.1:{port}/{path}")]));
        assert_eq!(output.stdout, content);
    }
    let script =
        run(tool("curl", "curl").args(["-sS", &format!("tftp://127.0.0.1:{port}/walt.ipxe")]));
    let script = stdout(&script);
    assert!(script.starts_with("#!ipxe\n") && script.contains("walt.node.pc-x86-64"), "{script}");
    assert!(script.contains("chain tftp://${next-server}/start.ipxe"), "{script}");
}

/// A client made by hand.
struct Client {
    socket: UdpSocket,
    service: SocketAddr,
}

impl Client {
    fn new(port: u16) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        Self { socket, service: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) }
    }

    fn ask(&self, request: &[u8]) {
        self.socket.send_to(request, self.service).unwrap();
    }

    fn receive(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 2000];
        let (length, peer) = self.socket.recv_from(&mut buffer).unwrap();
        (buffer[..length].to_vec(), peer)
    }

    fn ack(&self, block: u16, peer: SocketAddr) {
        let [high, low] = block.to_be_bytes();
        self.socket.send_to(&[0, 4, high, low], peer).unwrap();
    }

    fn is_silent_for(&self, time: Duration) -> bool {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let silent = self.socket.recv_from(&mut [0; 2000]).is_err();
        self.socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        silent
    }
}

#[test]
fn a_lost_packet_costs_a_fraction_of_a_second() {
    let platform = Platform::on_loopback();
    let (_services, port) = serve(&platform, |_| {});
    platform.put("kernel", &pattern(100_000));
    let client = Client::new(port);
    client.ask(b"\0\x01kernel\0octet\0");
    let (first, peer) = client.receive();
    assert_eq!(first[..4], [0, 3, 0, 1]);
    let sent = Instant::now();
    let (again, _) = client.receive();
    assert!(sent.elapsed() < Duration::from_millis(600), "{:?}", sent.elapsed());
    assert!(first == again);
    for block in 1..=60 {
        client.ack(block, peer);
        let (data, _) = client.receive();
        assert_eq!(data[2..4], (block + 1).to_be_bytes());
    }
    // The round trips are known by now: 100 ms.
    let sent = Instant::now();
    let (again, _) = client.receive();
    assert!(sent.elapsed() < Duration::from_millis(300), "{:?}", sent.elapsed());
    assert_eq!(again[2..4], [0, 61]);
    // Repeated acknowledgements make no second copy.
    client.ack(61, peer);
    client.ack(61, peer);
    client.ack(61, peer);
    assert_eq!(client.receive().0[2..4], [0, 62]);
    assert!(client.is_silent_for(Duration::from_millis(40)));
}

#[test]
fn a_repeated_request_starts_no_second_transfer() {
    let platform = Platform::on_loopback();
    let (_services, port) = serve(&platform, |_| {});
    platform.put("kernel", &pattern(5_000));
    platform.put("other", b"other");
    let client = Client::new(port);
    client.ask(b"\0\x01kernel\0octet\0tsize\00\0");
    client.ask(b"\0\x01kernel\0octet\0tsize\00\0");
    let (oack, peer) = client.receive();
    assert_eq!(oack, b"\0\x06tsize\05000\0");
    assert!(client.is_silent_for(Duration::from_millis(100)));
    client.ack(0, peer);
    let (data, from) = client.receive();
    assert_eq!((&data[..4], from), (&[0, 3, 0, 1][..], peer));
    // The same port asks for another file: the client forgot the first one.
    client.ask(b"\0\x01other\0octet\0");
    loop {
        let (data, from) = client.receive();
        if from != peer {
            assert_eq!(&data[4..], b"other");
            client.ack(1, from);
            break;
        }
    }
    platform
        .wait_for("the end of the first", |event| matches!(event, BootEvent::FileBroken { .. }));
    platform.wait_for("the end of the other", |event| matches!(event, BootEvent::FileEnd { .. }));
}

#[test]
fn a_client_may_want_the_size_only() {
    let platform = Platform::on_loopback();
    let (_services, port) = serve(&platform, |_| {});
    platform.put("kernel", &pattern(5_000));
    let client = Client::new(port);
    client.ask(b"\0\x01kernel\0octet\0blksize\01456\0tsize\00\0");
    let (oack, peer) = client.receive();
    assert_eq!(oack, b"\0\x06blksize\01456\0tsize\05000\0");
    client.socket.send_to(b"\0\x05\0\x00TFTP Aborted\0", peer).unwrap();
    let expected = BootEvent::FileSized { via: Via::Tftp, path: "kernel".to_owned(), size: 5_000 };
    platform.wait_for("the size", |event| *event == expected);
}

#[test]
fn what_is_refused() {
    let platform = Platform::on_loopback();
    let (_services, port) = serve(&platform, |config| config.max_transfers = 2);
    platform.put("kernel", &pattern(5_000));
    let client = Client::new(port);
    for (request, code) in
        [(&b"\0\x02kernel\0octet\0"[..], 2), (b"\0\x01kernel\0mail\0", 4), (b"\0\x01kernel", 4)]
    {
        client.ask(request);
        let (error, _) = client.receive();
        assert_eq!(error[..4], [0, 5, 0, code], "{request:?}");
    }
    for nonsense in [&b""[..], b"\0", b"\xff\xff\xff\xff", b"\0\x03\0", b"\0\x04\0\x01", b"\0\x05"]
    {
        client.ask(nonsense);
    }
    assert!(client.is_silent_for(Duration::from_millis(50)));
    // Two transfers that hang, and a third.
    let hanging = [Client::new(port), Client::new(port)];
    for client in &hanging {
        client.ask(b"\0\x01kernel\0octet\0");
        client.receive();
    }
    client.ask(b"\0\x01kernel\0octet\0");
    let (error, _) = client.receive();
    assert_eq!(error[..4], [0, 5, 0, 0], "busy");
}

#[test]
fn many_clients_on_a_bad_network() {
    const CLIENTS: usize = 48;
    let platform = Platform::on_loopback();
    let (_services, port) = serve(&platform, |_| {});
    let content = pattern(400_000);
    platform.put("kernel", &content);
    let losses = AtomicUsize::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (content, losses) = (&content, &losses);
            scope.spawn(move || {
                let client = Client::new(port);
                client.ask(b"\0\x01kernel\0octet\0blksize\01408\0windowsize\08\0");
                let mut received = Vec::new();
                let mut next = 1_u16;
                let mut state = number as u64 + 1;
                loop {
                    let (packet, peer) = client.receive();
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    // One packet in a hundred is lost.
                    if (state >> 33).is_multiple_of(100) {
                        losses.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    if packet[1] == 6 {
                        client.ack(0, peer);
                        continue;
                    }
                    let block = u16::from_be_bytes([packet[2], packet[3]]);
                    if block != next {
                        // A gap, or a copy of what is there: say where we are.
                        client.ack(next - 1, peer);
                        continue;
                    }
                    received.extend_from_slice(&packet[4..]);
                    let last = packet.len() < 4 + 1408;
                    if last || block % 8 == 0 {
                        client.ack(block, peer);
                    }
                    if last {
                        break;
                    }
                    next += 1;
                }
                assert!(received == *content, "client {number}");
            });
        }
    });
    let time = started.elapsed();
    println!("{CLIENTS} transfers, {} losses, {time:?}", losses.into_inner());
    assert!(time < Duration::from_secs(20), "{time:?}");
}
