//! A platform without images in a network namespace of its own: it starts, answers, stops, and leaves
//! nothing. Needs root, `ip`, `nsenter` and podman; says so and passes where they are missing.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const SERVER: &str = env!("CARGO_BIN_EXE_walt-server");
const CONF: &str = "network:\n  walt-net:\n    raw-device: null\n    ip: 192.168.213.1/24\n";

fn usable() -> bool {
    let has = |program: &str| {
        Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
    };
    let root = std::fs::metadata("/proc/self").is_ok_and(|about| about.uid() == 0);
    let usable = root && has("podman") && has("nsenter");
    if !usable {
        eprintln!("skipped: needs root, podman and nsenter");
    }
    usable
}

/// A namespace and directories, removed with everything in them.
struct Bench {
    name: String,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(what: &str) -> Self {
        let name = format!("walt-{what}-{}", std::process::id());
        let added = Command::new("ip").args(["netns", "add", &name]).status().unwrap();
        assert!(added.success());
        let up =
            Command::new("ip").args(["-n", &name, "link", "set", "lo", "up"]).status().unwrap();
        assert!(up.success());
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("server.conf"), CONF).unwrap();
        Self { name, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg(SERVER).arg("run");
        for (option, place) in [
            ("--config", "server.conf"),
            ("--state-dir", "state"),
            ("--run-dir", "run"),
            ("--pxe-dir", "pxe"),
        ] {
            command.arg(option).arg(self.path(place));
        }
        command.arg("--stop-nodes-on-exit").stderr(Stdio::piped()).stdout(Stdio::null());
        command
    }

    fn start(&self) -> Child {
        let mut child = self.command().spawn().unwrap();
        let limit = Instant::now() + Duration::from_secs(60);
        while !self.answers() {
            if let Some(status) = child.try_wait().unwrap() {
                let mut said = String::new();
                child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                panic!("the server ended with {status}: {said}");
            }
            assert!(Instant::now() < limit, "no answer after 60 s");
            std::thread::sleep(Duration::from_millis(100));
        }
        child
    }

    fn answers(&self) -> bool {
        UnixStream::connect(self.path("run/api.sock")).is_ok()
            && self.call("GET", "/api/v1/health", "").0 == 200
    }

    /// Status and body of a request.
    fn call(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(self.path("run/api.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: w\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A refusal may come, and the connection be closed, before all was sent.
        let _ = stream.write_all(body.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, body.to_owned())
    }

    fn interfaces(&self) -> Vec<String> {
        let output = Command::new("ip").args(["-n", &self.name, "-br", "link"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    }

    fn mounts(&self) -> Vec<String> {
        let text = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let dir = self.dir.path().to_str().unwrap();
        text.lines().filter(|line| line.contains(dir)).map(str::to_owned).collect()
    }

    fn processes(&self) -> Vec<PathBuf> {
        let inside = std::fs::metadata(Path::new("/run/netns").join(&self.name)).unwrap().ino();
        let all = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        all.filter(|process| {
            std::fs::metadata(process.join("ns/net")).is_ok_and(|ns| ns.ino() == inside)
        })
        .collect()
    }

    fn assert_nothing_is_left(&self) {
        assert_eq!(self.interfaces(), ["lo"]);
        assert_eq!(self.mounts(), Vec::<String>::new());
        assert_eq!(self.processes(), Vec::<PathBuf>::new());
        assert!(!self.path("run/api.sock").exists());
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for process in self.processes() {
            if let Some(pid) = process.file_name().and_then(|name| name.to_str()) {
                let _ = Command::new("kill").args(["-9", pid]).status();
            }
        }
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

fn stop(mut child: Child) {
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let limit = Instant::now() + Duration::from_secs(30);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < limit, "still there 30 s after SIGTERM");
        std::thread::sleep(Duration::from_millis(50));
    };
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(status.success(), "{status}: {said}");
    assert!(!said.contains("ERROR"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_platform_starts_answers_and_leaves_nothing() {
    if !usable() {
        return;
    }
    let bench = Bench::new("life");
    let server = bench.start();

    let (status, body) = bench.call("GET", "/api/v1/health", "");
    assert_eq!((status, body.as_str()), (200, r#"{"state":"ready","problems":[]}"#));
    let (_, body) = bench.call("GET", "/api/v1/version", "");
    assert!(body.contains(r#""user":"root""#), "{body}");
    let (_, body) = bench.call("GET", "/api/v1/devices", "");
    assert!(body.contains(r#""name":"walt-server","ip":"192.168.213.1""#), "{body}");
    assert_eq!(bench.call("GET", "/api/v1/nodes", ""), (200, "[]".to_owned()));
    assert!(bench.interfaces().iter().any(|name| name.starts_with("walt-net")));

    let (status, body) = bench.call("GET", "/api/v1/nodes/n1", "");
    assert_eq!(status, 404);
    assert!(body.contains("No device with name 'n1' found."), "{body}");
    let (status, body) = bench.call("POST", "/api/v1/nodes/reboot", r#"{"set":"walt-server"}"#);
    assert_eq!(status, 400);
    assert!(body.contains("is not a node, it is a server"), "{body}");
    let (status, body) = bench.call("POST", "/api/v1/nodes", r#"{"name":"-x"}"#);
    assert_eq!(status, 400, "{body}");
    assert_eq!(bench.call("POST", "/api/v1/nodes/boot", "{not json").0, 400);
    let (status, body) = bench.call("POST", "/api/v1/nodes/boot", r#"{"set":"n1","image":"x"}"#);
    assert_eq!(status, 404);
    assert!(body.contains("No such image 'x'"), "{body}");
    let huge = format!(r#"{{"name":"{}"}}"#, "x".repeat(1 << 20));
    assert!(matches!(bench.call("POST", "/api/v1/nodes", &huge).0, 400 | 413));
    assert_eq!(bench.call("GET", "/api/v1/../../etc/passwd", "").0, 404);
    let all = r#"{"history":"full","issuers":"server"}"#;
    assert_eq!(bench.call("POST", "/api/v1/logs/query", all).0, 200);
    assert_eq!(bench.call("POST", "/api/v1/logs/query", "{}").0, 400);
    let (status, body) = bench.call("POST", "/api/v1/logs/query", r#"{"history":"-5x:"}"#);
    assert_eq!(status, 400);
    assert!(body.contains("Invalid relative date"), "{body}");
    assert_eq!(bench.call("POST", "/api/v1/checkpoints", r#"{"name":"cp1"}"#).0, 200);
    assert_eq!(bench.call("POST", "/api/v1/checkpoints", r#"{"name":"cp1"}"#).0, 409);
    assert_eq!(bench.call("DELETE", "/api/v1/checkpoints/cp1", "").0, 200);
    assert_eq!(bench.call("GET", "/api/v1/health", "").0, 200);

    // A second server on the same state is refused, and the first one is not disturbed.
    let second = bench.command().output().unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another walt-server"), "{said}");
    assert_eq!(bench.call("GET", "/api/v1/health", "").0, 200);

    stop(server);
    bench.assert_nothing_is_left();
}

#[test]
fn a_killed_server_starts_again() {
    if !usable() {
        return;
    }
    let bench = Bench::new("kill");
    let mut server = bench.start();
    let interfaces = bench.interfaces();
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(bench.interfaces(), interfaces);
    let server = bench.start();
    assert_eq!(bench.interfaces(), interfaces);
    stop(server);
    bench.assert_nothing_is_left();
}

fn check_config(text: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server.conf");
    std::fs::write(&path, text).unwrap();
    Command::new(SERVER).arg("check-config").arg("--config").arg(&path).output().unwrap()
}

#[test]
fn configurations_are_checked_with_line_and_key() {
    let good = check_config(CONF);
    assert!(good.status.success());
    assert_eq!(good.stdout, b"ok\n");
    for (text, line, key) in [
        (CONF.replace("/24", "/33"), "line 4", "network.walt-net.ip"),
        (CONF.replace("raw-device", "raw-devise"), "line 3", "raw-devise"),
        ("network: [".to_owned(), "line", ""),
    ] {
        let bad = check_config(&text);
        assert_eq!(bad.status.code(), Some(1));
        let said = String::from_utf8_lossy(&bad.stderr).into_owned();
        assert!(said.contains(line) && said.contains(key), "{said}");
        assert!(bad.stdout.is_empty());
    }
}

#[test]
fn a_missing_interface_is_named_and_nothing_is_made() {
    if !usable() {
        return;
    }
    let bench = Bench::new("miss");
    let conf = CONF.replace("null", "eth77");
    std::fs::write(bench.path("server.conf"), conf).unwrap();
    let output = bench.command().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("eth77"), "{said}");
    bench.assert_nothing_is_left();
}
