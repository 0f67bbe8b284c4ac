//! The injected scripts under busybox, in a root of their own, against a server that is played here.
//!
//! Needs root and busybox-static; without them the tests say so and pass. Nothing that runs there may set the clock.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use walt_images::layer_files::FILES;
use walt_images::{WaltLayer, percent};

struct Node(tempfile::TempDir);

impl Node {
    /// A root with busybox and the scripts of a server at 127.0.0.1.
    fn new(rpc_port: u16) -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !Path::new("/bin/busybox").exists() {
            eprintln!("skipped: needs root and busybox-static");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in ["bin/_walt_internal_", "run", "tmp", "dev"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        symlink("busybox", root.join("bin/sh")).unwrap();
        let layer =
            WaltLayer { rpc_port, ..WaltLayer::new(Ipv4Addr::LOCALHOST, "02:00:00:00:00:01") };
        let values = layer.values(&"ab".repeat(32).parse().unwrap(), 1000);
        for file in FILES {
            let content = match file.templated {
                true => percent::fill(file.content, &values).0,
                false => file.content.to_vec(),
            };
            let path = root.join(&file.path[1..]);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(file.mode)).unwrap();
        }
        Some(Self(dir))
    }

    /// Runs a shell command there, without the right to set the clock or to reboot.
    fn run(&self, command: &str) -> Output {
        Command::new("setpriv")
            .args([
                "--inh-caps=-all",
                "--bounding-set=-all,+sys_chroot,+dac_override,+kill",
                "chroot",
            ])
            .arg(self.0.path())
            .args(["/bin/busybox", "sh", "-c", command])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin:/bin/_walt_internal_")
            .output()
            .unwrap()
    }
}

/// Answers so many calls with these lines, and gives what was asked.
fn server(calls: usize, answer: &'static str) -> (u16, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for _ in 0..calls {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let mut reader = BufReader::new(&stream);
            let mut text = String::new();
            for _ in 0..3 {
                reader.read_line(&mut text).unwrap();
            }
            (&stream).write_all(answer.as_bytes()).unwrap();
            let _ = reader.read_line(&mut text);
            asked.push(text);
        }
        asked
    });
    (port, thread)
}

const SYNC: &str = "walt_init_done=1; . /bin/_walt_internal_/walt-script-common; trap - EXIT
    . /bin/_walt_internal_/walt-clock-sync";

#[test]
fn a_clock_that_cannot_be_set_is_tried_five_times_and_fails() {
    let (port, asked) = server(5, "10.0\n('EXCEPTION', 'no clock here')\n");
    let Some(node) = Node::new(port) else { return };
    let output = node.run(SYNC);
    assert!(!output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("failed 5 times"), "{said}");
    assert_eq!(said.matches("no clock here").count(), 5, "{said}");
    for call in asked.join().unwrap() {
        assert_eq!(call, "REQ_API_SESSION\nNSAPI\n('API_CALL', 'sync_clock', (), {})\n('CLOSE')\n");
    }
}

#[test]
fn a_server_that_is_away_fails_too() {
    // Nobody listens there any more.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let Some(node) = Node::new(port) else { return };
    let output = node.run(SYNC);
    assert!(!output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.matches("no answer from the server").count(), 5, "{said}");
}

#[test]
fn a_call_prints_its_result() {
    let (port, asked) = server(1, "10.0\n('RESULT', {'a': (1, ')')})\n");
    let Some(node) = Node::new(port) else { return };
    let output = node.run("walt-rpc some.method 1 \"'two words'\"");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "{'a': (1, ')')}\n");
    let call = "('API_CALL', 'some.method', ( 1, 'two words',), {})\n";
    assert_eq!(asked.join().unwrap(), [format!("REQ_API_SESSION\nNSAPI\n{call}('CLOSE')\n")]);
}

#[test]
fn labels_of_switch_ports_are_quoted() {
    let (port, asked) = server(1, "10.0\n('RESULT', None)\n");
    let Some(node) = Node::new(port) else { return };
    let output = node.run(r#"/bin/walt-report-lldp-neighbor aa:bb "Port 'x' \ y""#);
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    let call = r"('API_CALL', 'report_lldp_neighbor', ( 'aa:bb', 'Port \'x\' \\ y',), {})";
    assert!(asked.join().unwrap()[0].contains(call));
}

#[test]
fn the_net_service_names_the_hook_of_the_boot_mode() {
    let Some(node) = Node::new(1) else { return };
    let root = node.0.path();
    let hook = |mode: &str| {
        let command =
            format!("export walt_boot_mode={mode}; walt-net-service-handler --reboot-hook");
        String::from_utf8(node.run(&command).stdout).unwrap()
    };
    assert_eq!(hook("network"), "");
    std::fs::write(root.join("bin/walt-reboot"), "").unwrap();
    assert_eq!(hook("network"), "/bin/walt-reboot\n");
    std::fs::write(root.join("bin/walt-network-reboot"), "").unwrap();
    assert_eq!(hook("network"), "/bin/walt-network-reboot\n");
    assert_eq!(hook("hybrid-volatile"), "");
    std::fs::write(root.join("bin/walt-hybrid-reboot"), "").unwrap();
    assert_eq!(hook("hybrid-persistent"), "/bin/walt-hybrid-reboot\n");
}
