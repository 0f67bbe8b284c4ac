//! TCP 12345: calls from nodes and boot programs.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use walt_model::{DeviceType, Mac, NetSetup};
use walt_proto::python::PyValue;
use walt_proto::request::{HeaderReader, StreamRequest};
use walt_proto::rpc::{RpcCall, RpcEvent, RpcInterface, RpcSession, version_line};

use super::hub::{DeviceInfo, NodeHub, Registration};
use super::listener::Drops;
use super::streams::header_line;

/// The version announced: that of the protocol, which nothing checks on the wire.
const VERSION: &str = "10.0";

/// How long a session may be silent between calls.
const IDLE: Duration = Duration::from_secs(300);

/// Longest text argument, in bytes.
const TEXT_MAX: usize = 255;

/// Serves the connections of the port.
pub(super) struct Rpc {
    pub(super) hub: Arc<dyn NodeHub>,
    pub(super) drops: Arc<Drops>,
}

impl Rpc {
    /// Serves one connection to its end.
    pub(super) async fn connection(self: Arc<Self>, mut stream: TcpStream, ip: Ipv4Addr) {
        let mut header = HeaderReader::new();
        let Some(request) = header_line(&mut stream, &mut header).await else { return };
        if StreamRequest::parse(&request) != Some(StreamRequest::ApiSession) {
            return self.drops.note(ip.into(), "not a request for calls");
        }
        let Some(interface) = header_line(&mut stream, &mut header).await else { return };
        let interface = match RpcInterface::parse(&interface) {
            Some(interface @ (RpcInterface::Node | RpcInterface::Virtual)) => interface,
            Some(_) => {
                return self
                    .drops
                    .note(ip.into(), "clients of the original are not served: use walt");
            }
            None => return self.drops.note(ip.into(), "unknown interface of calls"),
        };
        if stream.write_all(&version_line(VERSION)).await.is_err() {
            return;
        }
        let mut session = RpcSession::new();
        session.feed(&header.into_rest());
        let mut buffer = vec![0; 4096];
        loop {
            match session.next_event() {
                Ok(Some(RpcEvent::Call(call))) => {
                    let value = self.answer(interface, ip, &call).await.unwrap_or_else(|error| {
                        self.drops
                            .note(ip.into(), format_args!("call of {:.60}: {error}", call.path));
                        PyValue::Str(error)
                    });
                    let answer = session.result(value);
                    if !matches!(timeout(IDLE, stream.write_all(&answer)).await, Ok(Ok(()))) {
                        return;
                    }
                    continue;
                }
                Ok(Some(RpcEvent::Close)) => return,
                Ok(None) => {}
                Err(error) => return self.drops.note(ip.into(), error),
            }
            match timeout(IDLE, stream.read(&mut buffer)).await {
                Ok(Ok(n)) if n > 0 => session.feed(&buffer[..n]),
                _ => return,
            }
        }
    }

    /// The result of a call; an error is returned to the caller as text, as the original does.
    async fn answer(
        &self,
        interface: RpcInterface,
        ip: Ipv4Addr,
        call: &RpcCall,
    ) -> Result<PyValue, String> {
        match (interface, call.path.as_str()) {
            (RpcInterface::Node, "sync_clock") => Ok(PyValue::Int(next_whole_second().await)),
            (RpcInterface::Node, "report_lldp_neighbor") => {
                let switch = parse_mac(text_arg(call, 0, "sw_mac")?)?;
                let label = text_arg(call, 1, "sw_port_lldp_label")?;
                let caller = self.hub.caller(ip);
                if let Some(node) = caller.filter(|caller| caller.device_type == DeviceType::Node) {
                    self.hub.lldp_neighbor(&node, switch, label).await;
                }
                Ok(PyValue::None)
            }
            (RpcInterface::Virtual, "register_device") => {
                let registration = Registration {
                    vendor_class: text_arg(call, 0, "vci")?.to_owned(),
                    user_class: text_arg(call, 1, "uci")?.to_owned(),
                    ip: text_arg(call, 2, "ip")?.parse().map_err(|_| "bad argument 'ip'")?,
                    mac: parse_mac(text_arg(call, 3, "mac")?)?,
                    proposed_name: Some(text_arg(call, 4, "name").unwrap_or_default().to_owned())
                        .filter(|name| !name.is_empty()),
                };
                self.hub.register_device(registration).await.map(|()| PyValue::None)
            }
            (RpcInterface::Virtual, "get_device_info") => {
                let mac = parse_mac(text_arg(call, 0, "mac")?)?;
                Ok(self.hub.device_info(mac).map_or(PyValue::None, |info| info_dict(&info)))
            }
            _ => Err("no such method".to_owned()),
        }
    }
}

/// An argument given by position or by name; `None` counts as empty.
fn text_arg<'a>(call: &'a RpcCall, index: usize, name: &str) -> Result<&'a str, String> {
    let named = || call.kwargs.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    match call.args.get(index).or_else(named) {
        Some(PyValue::Str(text))
            if text.len() <= TEXT_MAX && !text.chars().any(char::is_control) =>
        {
            Ok(text)
        }
        Some(PyValue::None) => Ok(""),
        Some(_) => Err(format!("bad argument '{name}'")),
        None => Err(format!("missing argument '{name}'")),
    }
}

fn parse_mac(text: &str) -> Result<Mac, String> {
    text.parse().map_err(|_| "bad MAC address".to_owned())
}

fn info_dict(info: &DeviceInfo) -> PyValue {
    let ip = info.ip.map_or(PyValue::None, |ip| PyValue::str(ip.to_string()));
    let conf = info.conf.iter().map(|(key, value)| (key.as_str(), PyValue::from_json(value)));
    let mut entries = vec![
        ("mac", PyValue::str(info.mac.to_string())),
        ("ip", ip),
        ("name", PyValue::str(info.name.as_str())),
        ("type", PyValue::str(info.device_type.as_str())),
        ("conf", PyValue::dict(conf)),
        ("in_walt_net", PyValue::Bool(info.in_walt_net)),
    ];
    if let Some(node) = &info.node {
        entries.extend([
            ("virtual", PyValue::Bool(node.is_virtual)),
            ("model", PyValue::str(node.model.as_str())),
            ("image", PyValue::str(node.image.as_str())),
            ("booted", PyValue::Bool(node.booted)),
            ("gateway", PyValue::Str(node.gateway.map_or_else(String::new, |ip| ip.to_string()))),
            ("netmask", PyValue::str(node.netmask.to_string())),
            ("netsetup", PyValue::str(if node.netsetup == NetSetup::Nat { "NAT" } else { "LAN" })),
        ]);
    }
    PyValue::dict(entries)
}

/// Waits for the system clock to reach its next whole second, and gives it (Unix time).
async fn next_whole_second() -> i64 {
    let since_epoch =
        || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let target = Duration::from_secs(since_epoch().as_secs() + 1);
    loop {
        let now = since_epoch();
        match target.checked_sub(now) {
            Some(left) if !left.is_zero() => {
                // At most a second, even if the clock is set back meanwhile.
                tokio::time::sleep(left.min(Duration::from_secs(1))).await;
                if since_epoch() + Duration::from_secs(2) < target {
                    return i64::try_from(since_epoch().as_secs()).unwrap_or(i64::MAX);
                }
            }
            _ => return i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        }
    }
}
