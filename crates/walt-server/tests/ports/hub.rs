//! A platform of one node at 127.0.0.1; 127.0.0.2 is nobody.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use walt_model::{DeviceType, Mac, NetSetup};
use walt_proto::spooled::ClockOffset;
use walt_server::ports::{
    BootFileOf, Caller, DeviceInfo, NodeHub, NodeInfo, NodeLine, Ports, PortsConfig, Registration,
    Safe, SpooledLine,
};

pub const NODE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
pub const MAC: Mac = Mac([0x52, 0x54, 0, 1, 2, 3]);

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Line { stream: String, timestamp: SystemTime, text: String },
    Confirmed(u64),
    Lost(u64),
    Registered(Registration),
    Neighbour(Mac, String),
    Clock(ClockOffset),
}

#[derive(Default)]
pub struct FakeHub {
    events: Mutex<Vec<Event>>,
    changed: Notify,
    connections: AtomicU64,
    /// The last line of the only spool.
    spooled: AtomicU64,
    /// There is no room for lines: who can wait waits.
    pub full: AtomicBool,
}

impl FakeHub {
    fn tell(&self, event: Event) {
        self.events.lock().push(event);
        self.changed.notify_waiters();
    }

    pub fn events(&self) -> Vec<Event> {
        self.events.lock().clone()
    }

    /// Waits for so many events.
    pub async fn wait_events(&self, count: usize) -> Vec<Event> {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if self.events.lock().len() >= count {
                    return self.events();
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), wait)
            .await
            .unwrap_or_else(|_| panic!("expected {count} events, got {:?}", self.events()))
    }

    pub async fn wait_lines(&self, count: usize) -> Vec<(String, String)> {
        let events = self.wait_events(count).await;
        let line = |event| match event {
            Event::Line { stream, text, .. } => Some((stream, text)),
            _ => None,
        };
        events.into_iter().filter_map(line).collect()
    }
}

impl NodeHub for FakeHub {
    fn caller(&self, ip: Ipv4Addr) -> Option<Caller> {
        let caller =
            Caller { mac: MAC, name: "n1".parse().unwrap(), device_type: DeviceType::Node };
        (ip == NODE).then_some(caller)
    }

    fn log<'a>(
        &'a self,
        issuer: &'a Caller,
        stream: &'a str,
        lines: Vec<NodeLine>,
    ) -> BoxFuture<'a, ()> {
        assert_eq!(issuer.mac, MAC);
        assert_ne!(stream, "panic", "as asked");
        if self.full.load(Ordering::Relaxed) {
            return Box::pin(std::future::pending());
        }
        self.log_now(issuer, stream, lines);
        Box::pin(async {})
    }

    fn log_now(&self, issuer: &Caller, stream: &str, lines: Vec<NodeLine>) {
        assert_eq!(issuer.mac, MAC);
        for NodeLine { timestamp, text } in lines {
            self.tell(Event::Line { stream: stream.to_owned(), timestamp, text });
        }
    }

    fn spooled<'a>(
        &'a self,
        _issuer: &'a Caller,
        _session: Arc<str>,
    ) -> BoxFuture<'a, Result<u64, String>> {
        let last = self.spooled.load(Ordering::Relaxed);
        Box::pin(async move { Ok(last) })
    }

    fn log_spooled<'a>(
        &'a self,
        _issuer: &'a Caller,
        _session: Arc<str>,
        lines: Vec<SpooledLine>,
    ) -> BoxFuture<'a, Option<Safe>> {
        for SpooledLine { seq, stream, timestamp, text } in lines {
            if self.spooled.fetch_max(seq, Ordering::Relaxed) < seq {
                self.tell(Event::Line { stream: stream.to_string(), timestamp, text });
            }
        }
        Box::pin(async {
            let safe: Safe = Box::pin(async { true });
            Some(safe)
        })
    }

    fn clock_measured(&self, _issuer: &Caller, measured: ClockOffset) {
        self.tell(Event::Clock(measured));
    }

    fn boot_confirmed(&self, _ip: Ipv4Addr) -> u64 {
        let number = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        self.tell(Event::Confirmed(number));
        number
    }

    fn boot_lost(&self, _ip: Ipv4Addr, connection: u64) {
        self.tell(Event::Lost(connection));
    }

    fn boot_file(&self, of: BootFileOf, path: &str) -> Option<(File, u64)> {
        let known = of == BootFileOf::Mac(MAC) || of == BootFileOf::Ip(NODE);
        if !known || path != "/start.ipxe" {
            return None;
        }
        let file = tempfile::tempfile().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"#!ipxe\necho hello\nboot\n....", 0)
            .unwrap();
        Some((file, 27))
    }

    fn register_device(&self, registration: Registration) -> BoxFuture<'_, Result<(), String>> {
        self.tell(Event::Registered(registration));
        Box::pin(async { Ok(()) })
    }

    fn device_info(&self, mac: Mac) -> Option<DeviceInfo> {
        let node = NodeInfo {
            is_virtual: true,
            model: "pc-x86-64".parse().unwrap(),
            image: "me/img:latest".to_owned(),
            booted: false,
            gateway: None,
            netmask: Ipv4Addr::new(255, 255, 255, 0),
            netsetup: NetSetup::Lan,
        };
        (mac == MAC).then(|| DeviceInfo {
            mac,
            ip: Some(NODE),
            name: "n1".parse().unwrap(),
            device_type: DeviceType::Node,
            conf: BTreeMap::from([("kexec.allow".to_owned(), serde_json::json!(false))]),
            in_walt_net: true,
            node: Some(node),
        })
    }

    fn lldp_neighbor<'a>(
        &'a self,
        reporter: &'a Caller,
        switch: Mac,
        label: &'a str,
    ) -> BoxFuture<'a, ()> {
        assert_eq!(reporter.mac, MAC);
        self.tell(Event::Neighbour(switch, label.to_owned()));
        Box::pin(async {})
    }
}

/// The ports, served on free port numbers.
pub struct Platform {
    pub hub: Arc<FakeHub>,
    pub streams: SocketAddr,
    pub rpc: SocketAddr,
    pub netconsole: SocketAddr,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Platform {
    pub fn start() -> Self {
        let mut config = PortsConfig::new(Ipv4Addr::UNSPECIFIED);
        (config.streams, config.rpc, config.netconsole) = (0, 0, 0);
        let ports = Ports::bind(config).unwrap();
        let at_loopback = |address: SocketAddr| SocketAddr::from((NODE, address.port()));
        let [streams, rpc, netconsole] = ports.addresses().unwrap().map(at_loopback);
        let hub = Arc::new(FakeHub::default());
        let cancel = CancellationToken::new();
        let task = tokio::spawn(ports.serve(Arc::clone(&hub) as Arc<dyn NodeHub>, cancel.clone()));
        Self { hub, streams, rpc, netconsole, cancel, task }
    }

    /// Stops serving, and waits for the end of it.
    pub async fn stop(self) -> Arc<FakeHub> {
        self.cancel.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.task).await.unwrap().unwrap();
        self.hub
    }
}

/// Connects from an address.
pub async fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(to).await.unwrap()
}

/// Connects as the node, and sends.
pub async fn send(to: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = connect(NODE, to).await;
    stream.write_all(bytes).await.unwrap();
    stream
}

/// Reads exactly these bytes.
pub async fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut received = vec![0; bytes.len()];
    tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut received))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&received), String::from_utf8_lossy(bytes));
}

/// Expects that the server closes without another byte.
pub async fn expect_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is a close too.
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest))
        .await
        .expect("not closed");
    assert_eq!(String::from_utf8_lossy(&rest), "");
}

pub fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}
