//! UDP 12342: kernel messages of nodes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::UdpSocket;
use tracing::warn;
use walt_model::platform_lines::NETCONSOLE_STREAM;
use walt_proto::netconsole::{DATAGRAM_MAX, Netconsole};

use super::hub::{NodeHub, NodeLine};
use super::listener::Drops;

/// Most nodes with an unfinished line at a time.
const SENDERS_MAX: usize = 4096;

/// Records what comes, for ever.
pub(super) async fn run(socket: Arc<UdpSocket>, hub: Arc<dyn NodeHub>, drops: Arc<Drops>) {
    let mut lines: Netconsole<Ipv4Addr> = Netconsole::new(SENDERS_MAX);
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let (size, peer) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                warn!(%error, "cannot receive kernel messages");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let IpAddr::V4(ip) = peer.ip().to_canonical() else { continue };
        let Some(caller) = hub.caller(ip) else {
            lines.forget(&ip);
            drops.note(ip.into(), "kernel messages of an unknown device");
            continue;
        };
        let timestamp = SystemTime::now();
        let complete = lines.feed(&ip, &buffer[..size]);
        if !complete.is_empty() {
            let records = complete.into_iter().map(|text| NodeLine { timestamp, text }).collect();
            // One loop for all nodes: it never waits.
            hub.log_now(&caller, NETCONSOLE_STREAM, records);
        }
    }
}
