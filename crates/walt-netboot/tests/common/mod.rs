//! A small platform in a temporary directory, and foreign clients.

#![allow(dead_code, clippy::unwrap_used)]

use std::collections::HashMap;
use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use tokio_util::sync::CancellationToken;
use walt_netboot::policy::{
    BootEvent, BootObservation, BootPolicy, DhcpAnswer, DhcpDecision, DhcpKind, DhcpRequest,
    FileDecision, FilePlace, FileRequest, KnownClient, Mac, boot_choice,
};

/// A policy over `root/nodes/<ip>/tftp/` and `root/pxe/`, which remembers what it saw.
pub struct Platform {
    pub root: tempfile::TempDir,
    pub server: Ipv4Addr,
    pub network: Ipv4Net,
    leases: Mutex<HashMap<Mac, Ipv4Addr>>,
    bound: Mutex<Vec<(Mac, Ipv4Addr, String)>>,
    returned: Mutex<Vec<DhcpKind>>,
    events: Mutex<Vec<BootEvent>>,
}

impl Platform {
    pub fn new(server: Ipv4Addr, network: &str) -> Arc<Self> {
        Arc::new(Self {
            root: tempfile::tempdir().unwrap(),
            server,
            network: network.parse().unwrap(),
            leases: Mutex::default(),
            bound: Mutex::default(),
            returned: Mutex::default(),
            events: Mutex::default(),
        })
    }

    pub fn on_loopback() -> Arc<Self> {
        Self::new(Ipv4Addr::LOCALHOST, "127.0.0.0/8")
    }

    /// Writes a boot file of the node 127.0.0.1.
    pub fn put(&self, path: &str, content: &[u8]) -> PathBuf {
        self.put_for("127.0.0.1", path, content)
    }

    pub fn put_for(&self, node: &str, path: &str, content: &[u8]) -> PathBuf {
        self.write(&format!("nodes/{node}/tftp/{path}"), content)
    }

    pub fn write(&self, path: &str, content: &[u8]) -> PathBuf {
        let path = self.root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    pub fn events(&self) -> Vec<BootEvent> {
        self.events.lock().unwrap().clone()
    }

    /// Waits for an event: some come after the client has what it wanted.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&BootEvent) -> bool) -> BootEvent {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let events = self.events();
            if let Some(event) = events.iter().find(|event| wanted(event)) {
                return event.clone();
            }
            assert!(Instant::now() < end, "{what} was not seen in {events:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Hardware address, address and class of those that got an ACK.
    pub fn bound(&self) -> Vec<(Mac, Ipv4Addr, String)> {
        self.bound.lock().unwrap().clone()
    }

    pub fn returned(&self) -> Vec<DhcpKind> {
        self.returned.lock().unwrap().clone()
    }
}

impl BootPolicy for Platform {
    fn dhcp(&self, request: &DhcpRequest) -> DhcpDecision {
        let mut leases = self.leases.lock().unwrap();
        let next = u32::from(self.network.network()) + 20 + u32::try_from(leases.len()).unwrap();
        let ip = *leases.entry(request.mac).or_insert(Ipv4Addr::from(next));
        let answer = DhcpAnswer {
            hostname: Some(format!("vnode{}", ip.octets()[3])),
            router: Some(self.server),
            boot: boot_choice(request, KnownClient::Unknown, self.server),
            ..DhcpAnswer::new(ip, self.server, self.network)
        };
        DhcpDecision::Answer(Box::new(answer))
    }

    fn dhcp_bound(&self, request: &DhcpRequest, ip: Ipv4Addr) {
        let class = request.vendor_class.clone();
        self.bound.lock().unwrap().push((request.mac, ip, class));
    }

    fn dhcp_returned(&self, request: &DhcpRequest) {
        self.returned.lock().unwrap().push(request.kind);
    }

    fn boot_file(&self, client: Ipv4Addr, request: &FileRequest) -> FileDecision {
        let path = match &request.place {
            FilePlace::Platform(path) => self.root.path().join(path),
            FilePlace::Node(path) => self.root.path().join(format!("nodes/{client}/tftp/{path}")),
        };
        match File::open(path) {
            Ok(file) => match file.metadata() {
                Ok(metadata) if metadata.is_file() => {
                    FileDecision::File { file, size: metadata.len() }
                }
                _ => FileDecision::Missing,
            },
            Err(_) => FileDecision::Missing,
        }
    }

    fn resolve(&self, name: &str) -> Option<Ipv4Addr> {
        (name == "vnode1").then_some(Ipv4Addr::new(127, 0, 0, 20))
    }

    fn reverse(&self, ip: Ipv4Addr) -> Option<String> {
        (ip.octets()[3] == 20).then(|| "vnode1".to_owned())
    }

    fn observe(&self, event: BootObservation) {
        self.events.lock().unwrap().push(event.event);
    }
}

/// Runs services beside the test; stops them at the end.
pub struct Services {
    runtime: Option<tokio::runtime::Runtime>,
    pub stop: CancellationToken,
}

impl Services {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        Self { runtime: Some(runtime), stop: CancellationToken::new() }
    }

    /// Binds a service with `bind` and runs it with `run`.
    pub fn start<S, F: Future<Output = ()> + Send + 'static>(
        &self,
        bind: impl FnOnce() -> S,
        run: impl FnOnce(S, CancellationToken) -> F,
    ) {
        let runtime = self.runtime.as_ref().unwrap();
        let _inside = runtime.enter();
        runtime.spawn(run(bind(), self.stop.clone()));
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

/// A command of a Debian package; fails with the name of the package when it is missing.
pub fn tool(name: &str, package: &str) -> Command {
    let found = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .unwrap_or_default()
        .into_iter()
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file());
    match found {
        Some(path) => Command::new(path),
        None => panic!("'{name}' is missing: install the Debian package '{package}'"),
    }
}

/// Runs a command, which must succeed.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Bytes in which no two blocks are alike.
pub fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Fails without printing megabytes.
pub fn same_content(received: &Path, expected: &[u8]) {
    let received =
        std::fs::read(received).unwrap_or_else(|error| panic!("{}: {error}", received.display()));
    assert_eq!(received.len(), expected.len(), "length");
    assert!(received == expected, "content differs");
}
