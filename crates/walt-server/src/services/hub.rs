//! What the node ports ask and tell.

use std::fs::File;
use std::net::Ipv4Addr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use walt_logs::{Clock, LogRecord, SpooledBatch, StreamName, Timestamp};
use walt_model::{DeviceType, Mac, NetSetup, platform_lines};
use walt_proto::spooled::ClockOffset;

use super::Services;
use super::boot_files::Found;
use crate::boot::{Stage, StageKind};
use crate::platform::ms_of;
use crate::ports::{
    BootFileOf, Caller, DeviceInfo, NodeHub, NodeInfo, NodeLine, Registration, Safe, SpooledLine,
};
use crate::presence::Connection;
use crate::registry::discovery::Sighting;

// A name that the ports let through is one the store keeps.
const _: () = assert!(walt_proto::log_stream::STREAM_NAME_MAX == walt_logs::MAX_STREAM_NAME_BYTES);

/// Stream of the injected init: its lines are stages of the boot.
const INIT_STREAM: &str = "walt-init";

impl Services {
    /// Lines of a device as the store takes them; those of its boot are stages of it too.
    fn records(&self, issuer: &Caller, stream: &str, lines: Vec<NodeLine>) -> Vec<LogRecord> {
        let name = match stream.parse::<StreamName>() {
            Ok(name) => name,
            // The ports refuse such names, and tell who sent them.
            Err(error) => {
                tracing::error!("log lines of {}: {error}", issuer.name);
                return Vec::new();
            }
        };
        if stream == INIT_STREAM {
            for line in &lines {
                let at = ms_of(line.timestamp);
                let stage = Stage::instant(StageKind::Init, line.text.clone(), at);
                self.0.boots.observe(issuer.mac, |boot| boot.note(stage));
            }
        }
        let record = |line: NodeLine| {
            LogRecord::line(issuer.mac, name.clone(), line.timestamp.into(), line.text)
        };
        lines.into_iter().map(record).collect()
    }
}

impl NodeHub for Services {
    fn caller(&self, ip: Ipv4Addr) -> Option<Caller> {
        let device = self.0.registry.by_ip(ip)?;
        Some(Caller { mac: device.mac, name: device.name, device_type: device.kind })
    }

    fn log<'a>(
        &'a self,
        issuer: &'a Caller,
        stream: &'a str,
        lines: Vec<NodeLine>,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            // Refused only when the server stops.
            let _ = self.0.logs.sink().push_all(self.records(issuer, stream, lines)).await;
        })
    }

    fn log_now(&self, issuer: &Caller, stream: &str, lines: Vec<NodeLine>) {
        let sink = self.0.logs.sink();
        for record in self.records(issuer, stream, lines) {
            // What is refused is counted, and told in the stream.
            let _ = sink.push(record);
        }
    }

    fn spooled<'a>(
        &'a self,
        issuer: &'a Caller,
        session: Arc<str>,
    ) -> BoxFuture<'a, Result<u64, String>> {
        Box::pin(async move {
            let last = self.0.logs.spooled(issuer.mac, session).await;
            last.map_err(|error| error.to_string())
        })
    }

    fn log_spooled<'a>(
        &'a self,
        issuer: &'a Caller,
        session: Arc<str>,
        lines: Vec<SpooledLine>,
    ) -> BoxFuture<'a, Option<Safe>> {
        Box::pin(async move {
            let mut batch = SpooledBatch { issuer: issuer.mac, session, lines: Vec::new() };
            for line in lines {
                // A name the store refuses is refused again when it is sent again: such lines are left out.
                let Ok(stream) = line.stream.parse::<StreamName>() else { continue };
                let date = line.timestamp.into();
                let record = LogRecord::line(issuer.mac, stream, date, line.text);
                batch.lines.push((line.seq, record));
            }
            let written = self.0.logs.sink().push_spooled(batch).await.ok()?;
            let safe: Safe = Box::pin(async move { written.await.is_ok() });
            Some(safe)
        })
    }

    fn clock_measured(&self, issuer: &Caller, measured: ClockOffset) {
        let ClockOffset { offset, uncertainty } = measured;
        let clock = Clock { measured: Timestamp::now(), offset, uncertainty };
        self.0.logs.note_clock(issuer.mac, clock).detach();
    }

    fn boot_confirmed(&self, ip: Ipv4Addr) -> u64 {
        match self.0.registry.by_ip(ip) {
            Some(device) if device.node.is_some() => self.0.node_up(&device).0,
            _ => 0,
        }
    }

    fn boot_lost(&self, ip: Ipv4Addr, connection: u64) {
        if let Some(device) = self.0.registry.by_ip(ip) {
            self.0.node_lost(&device, Connection(connection));
        }
    }

    fn boot_file(&self, of: BootFileOf, path: &str) -> Option<(File, u64)> {
        // As by TFTP and HTTP: nothing above the boot folder, even inside the image.
        if path.split('/').any(|part| part == "..") {
            return None;
        }
        let device = match of {
            BootFileOf::Mac(mac) => self.0.registry.by_mac(mac),
            BootFileOf::Ip(ip) => self.0.registry.by_ip(ip),
        }?;
        match self.node_file(&device, path.trim_start_matches('/')) {
            Found::File(file, size) => Some((file, size)),
            Found::Missing | Found::Denied(_) => None,
        }
    }

    fn register_device(&self, registration: Registration) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let subnet = self.0.registry.subnet();
            if !crate::registry::addresses::may_hold(subnet, registration.ip) {
                return Err(format!("{} is no address for a device of {subnet}", registration.ip));
            }
            self.seen(&Sighting {
                vendor_class: &registration.vendor_class,
                user_class: &registration.user_class,
                mac: registration.mac,
                ip: registration.ip,
                hostname: registration.proposed_name.as_deref().unwrap_or_default(),
            });
            Ok(())
        })
    }

    fn device_info(&self, mac: Mac) -> Option<DeviceInfo> {
        let device = self.0.registry.by_mac(mac)?;
        let subnet = self.0.registry.subnet();
        let netsetup = device.netsetup();
        let node = device.node.as_ref().map(|node| NodeInfo {
            is_virtual: device.is_virtual,
            model: node.model.clone(),
            image: node.image.to_string(),
            booted: self.0.presence.is_booted(mac),
            gateway: (netsetup == NetSetup::Nat).then(|| subnet.server()),
            netmask: subnet.netmask(),
            netsetup,
        });
        Some(DeviceInfo {
            mac,
            ip: device.ip,
            name: device.name,
            device_type: device.kind,
            conf: device.settings,
            in_walt_net: device.ip.is_some_and(|ip| subnet.contains(ip)),
            node,
        })
    }

    fn lldp_neighbor<'a>(
        &'a self,
        reporter: &'a Caller,
        switch: Mac,
        port_label: &'a str,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Some(neighbor) = self.0.registry.by_mac(switch) else { return };
            tracing::debug!(node = %reporter.name, switch = %neighbor.name, port_label, "neighbour");
            if neighbor.kind == DeviceType::Unknown
                && let Ok(device) =
                    self.0.registry.change(switch, |device| device.kind = DeviceType::Switch)
            {
                self.0.save(&device).detach();
                self.0.say(
                    platform_lines::DEVICES_STREAM,
                    &format!(
                        "node {} is connected on {} so {} is a switch",
                        reporter.name, device.name, device.name
                    ),
                );
            }
        })
    }
}
