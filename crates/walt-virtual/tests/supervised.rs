//! A virtual node on a real QEMU, in a network namespace of its own.
//!
//! Needs root and qemu-system-x86_64; without them the tests say so and pass.

#![allow(clippy::unwrap_used)]

use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::broadcast;
use walt_model::settings::BootDelay;
use walt_virtual::{Event, Firmware, NodeSpec, VirtualNode, tap};

const BRIDGE: &str = "walt-net";

/// Runs a test in a new network namespace with a bridge in it.
fn in_namespace(test: impl AsyncFnOnce(PathBuf) + Send + 'static) {
    let usable = rustix::process::geteuid().is_root()
        && std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .any(|dir| dir.join("qemu-system-x86_64").exists());
    if !usable {
        eprintln!("skipped: needs root and qemu-system-x86_64");
        return;
    }
    // A thread of its own: the namespace is the thread's, and of all it starts.
    let thread = std::thread::spawn(move || {
        // SAFETY: a network namespace is no memory or descriptor that other threads could rely on.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET).unwrap() };
        for args in [
            format!("link add {BRIDGE} type bridge"),
            format!("addr add 192.168.152.1/24 dev {BRIDGE}"),
            format!("link set {BRIDGE} up"),
            "link set lo up".to_owned(),
        ] {
            let status = std::process::Command::new("ip").args(args.split(' ')).status().unwrap();
            assert!(status.success(), "ip {args}");
        }
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ended = Ended(dir.path().to_path_buf());
        runtime.block_on(test(dir.path().join("node")));
        drop(runtime);
        let left = processes_of(dir.path());
        assert!(left.is_empty(), "left running: {left:?}");
        drop(ended);
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Ends what a failed test left running.
struct Ended(PathBuf);

impl Drop for Ended {
    fn drop(&mut self) {
        for pid in processes_of(&self.0).into_iter().filter_map(|pid| i32::try_from(pid).ok()) {
            let process = rustix::process::Pid::from_raw(pid);
            let _ = process
                .map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        }
    }
}

fn spec(dir: PathBuf, firmware: Firmware, last: u8) -> NodeSpec {
    NodeSpec {
        name: format!("vnode-{last}"),
        mac: [0x52, 0x54, 0, 0xaa, 0xbb, last],
        firmware,
        ram_mb: 256,
        cpu_cores: 1,
        disks: Vec::new(),
        boot_delay: BootDelay::Seconds(0),
        bridge: BRIDGE.into(),
        dir,
    }
}

/// Processes with this directory on their command line.
fn processes_of(dir: &std::path::Path) -> Vec<u32> {
    let wanted = dir.to_string_lossy().into_owned();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&wanted)
        })
        .collect()
}

async fn wait_for(
    events: &mut broadcast::Receiver<Event>,
    wanted: impl Fn(&Event) -> bool,
) -> Event {
    let search = async {
        loop {
            let event = events.recv().await.unwrap();
            println!("event: {event:?}");
            if wanted(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(40), search).await.expect("the event did not come")
}

#[test]
fn life_of_a_node() {
    in_namespace(async |dir| {
        let spec = spec(dir.clone(), Firmware::Bios, 1);
        let tap_name = spec.tap_name();
        let node = VirtualNode::open(spec.clone()).await.unwrap();
        let mut events = node.events();
        let status = node.status().await.unwrap();
        println!("{status:?}");
        let pid = status.pid.unwrap();
        assert_eq!(status.guest.as_deref(), Some("running"));
        assert_eq!(processes_of(&dir), [pid]);
        assert!(tap::exists(&tap_name));

        // The console shows the firmware from its first line on.
        let (history, mut reader) = node.console().attach(100_000);
        let mut text = history.to_vec();
        let seen = async {
            while !String::from_utf8_lossy(&text).contains("iPXE") {
                text.extend(reader.recv().await.unwrap());
            }
        };
        tokio::time::timeout(Duration::from_secs(30), seen).await.expect("no iPXE on the console");
        assert!(String::from_utf8_lossy(&text).contains("SeaBIOS"));
        node.console().write(b"x").await.unwrap();

        // A guest that restarts by itself: iPXE's own command, typed on the console. The key that stops
        // iPXE is heard during two seconds only: it is pressed again and again, as a person would.
        let typed = async {
            while !String::from_utf8_lossy(&text).contains("iPXE>") {
                match tokio::time::timeout(Duration::from_millis(300), reader.recv()).await {
                    Ok(bytes) => text.extend(bytes.unwrap()),
                    Err(_quiet) => node.console().write(b"\x02").await.unwrap(),
                }
            }
            node.console().write(b"reboot\r").await.unwrap();
        };
        tokio::time::timeout(Duration::from_secs(60), typed).await.expect("iPXE does not listen");
        wait_for(&mut events, |event| *event == Event::Reset).await;
        assert_eq!(node.status().await.unwrap().pid, Some(pid));

        node.reset().await.unwrap();
        wait_for(&mut events, |event| *event == Event::Reset).await;
        assert_eq!(node.status().await.unwrap().pid, Some(pid));

        // A server that goes away; the next one finds the same QEMU, its console and its history.
        drop(node);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(processes_of(&dir), [pid]);
        let node = VirtualNode::open(spec.clone()).await.unwrap();
        assert_eq!(node.status().await.unwrap().pid, Some(pid));
        assert!(String::from_utf8_lossy(&node.console().history(100_000)).contains("SeaBIOS"));
        node.console().write(b"x").await.unwrap();

        // Without its note too (a server killed just after the start).
        drop(node);
        tokio::time::sleep(Duration::from_millis(300)).await;
        std::fs::remove_file(dir.join("qemu.json")).unwrap();
        let node = VirtualNode::open(spec.clone()).await.unwrap();
        assert_eq!(node.status().await.unwrap().pid, Some(pid));
        let mut events = node.events();

        let raw = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(raw, rustix::process::Signal::KILL).unwrap();
        wait_for(&mut events, |event| matches!(event, Event::Died { .. })).await;
        let Event::Started(second) =
            wait_for(&mut events, |event| matches!(event, Event::Started(_))).await
        else {
            unreachable!()
        };
        assert_ne!(second, pid);
        assert_eq!(node.status().await.unwrap().respawns, 1);

        let before = Instant::now();
        node.reconfigure(NodeSpec { ram_mb: 300, ..spec.clone() }).unwrap();
        node.power_cycle().await.unwrap();
        println!("power cycle: {:?}", before.elapsed());
        let third = node.status().await.unwrap().pid.unwrap();
        let line = std::fs::read(format!("/proc/{third}/cmdline")).unwrap();
        assert!(String::from_utf8_lossy(&line).contains("300M"));

        node.stop().await.unwrap();
        assert_eq!(node.status().await.unwrap().pid, None);
        assert!(node.reset().await.is_err());
        assert!(processes_of(&dir).is_empty());
        node.start().await.unwrap();
        assert!(node.reconfigure(NodeSpec { mac: [2; 6], ..spec.clone() }).is_err());

        node.remove().await.unwrap();
        assert!(processes_of(&dir).is_empty());
        assert!(!tap::exists(&tap_name) && !dir.exists());
    });
}

#[test]
fn what_cannot_start_says_why() {
    in_namespace(async |dir| {
        let nowhere =
            NodeSpec { bridge: "no-bridge".into(), ..spec(dir.clone(), Firmware::Bios, 9) };
        let error = VirtualNode::open(nowhere.clone()).await.unwrap_err().to_string();
        println!("{error}");
        assert!(error.contains("no-bridge"), "{error}");
        assert!(!tap::exists(&nowhere.tap_name()));
    });
}

/// Seconds from `open` to the first DHCPDISCOVER of each firmware.
#[test]
fn firmware_asks_for_an_address() {
    in_namespace(async |dir| {
        for (firmware, last, limit) in [(Firmware::Bios, 2, 60), (Firmware::Uefi, 3, 120)] {
            if firmware == Firmware::Uefi && walt_virtual::qemu::Uefi::find().is_none() {
                eprintln!("skipped: no UEFI firmware");
                continue;
            }
            let socket = UdpSocket::bind("0.0.0.0:67").unwrap();
            socket.set_nonblocking(true).unwrap();
            let socket = tokio::net::UdpSocket::from_std(socket).unwrap();
            walt_virtual::accel::probe().await;
            let before = Instant::now();
            let node = VirtualNode::open(spec(dir.clone(), firmware, last)).await.unwrap();
            let mut packet = [0; 1500];
            let received =
                tokio::time::timeout(Duration::from_secs(limit), socket.recv(&mut packet)).await;
            let elapsed = before.elapsed();
            let console = String::from_utf8_lossy(&node.console().history(2000)).into_owned();
            node.remove().await.unwrap();
            let count = received.unwrap_or_else(|_| {
                panic!("{firmware:?}: nothing in {limit} s; console: {console}")
            });
            let packet = &packet[..count.unwrap()];
            // RFC 2131: op, htype, hlen; chaddr at 28.
            assert_eq!((packet[0], &packet[28..34]), (1, &[0x52, 0x54, 0, 0xaa, 0xbb, last][..]));
            let class = packet.windows(9).position(|window| window == b"PXEClient");
            let class = class.map(|at| String::from_utf8_lossy(&packet[at..at + 32]).into_owned());
            println!("{firmware:?}: first DHCPDISCOVER after {elapsed:?}, class {class:?}");
        }
    });
}
