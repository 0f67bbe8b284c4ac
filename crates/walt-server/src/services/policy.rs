//! The decisions behind DHCP, TFTP, HTTP boot and DNS.

use std::net::Ipv4Addr;
use std::time::Instant;

use ipnet::Ipv4Net;
use walt_model::{DeviceType, Mac, NetSetup, NodeModel};
use walt_netboot::policy::{
    BootEvent, BootObservation, BootPolicy, DhcpAnswer, DhcpDecision, DhcpKind, DhcpRequest,
    FileDecision, FilePlace, FileRequest, KnownClient, Via, boot_choice,
};

use super::Services;
use super::boot_files::Found;
use crate::boot::{Boot, Loader};
use crate::platform::ms_of;
use crate::registry::Device;
use crate::registry::discovery::Sighting;

impl BootPolicy for Services {
    fn dhcp(&self, request: &DhcpRequest) -> DhcpDecision {
        let platform = &self.0;
        let subnet = platform.registry.subnet();
        let Ok(network) = Ipv4Net::new(subnet.network(), subnet.prefix_len()) else {
            return DhcpDecision::Silent("the network is not usable".into());
        };
        let mac = Mac(request.mac.0);
        let device = platform.registry.by_mac(mac);
        let ip = match request.kind {
            DhcpKind::Inform => request.client_ip,
            _ => platform.registry.offer(mac, request.wanted_ip(), Instant::now()),
        };
        let Some(ip) = ip else {
            return DhcpDecision::Silent(format!("no free address is left in {subnet}"));
        };
        let who = match &device {
            Some(device) if device.node.is_some() => KnownClient::Node,
            _ => KnownClient::Unknown,
        };
        if request.kind == DhcpKind::Discover
            && let Some(Device { node: Some(node), .. }) = &device
        {
            let image = node.image.to_string();
            let loader = loader(&request.vendor_class, &request.user_class);
            platform.boots.discover(mac, &image, loader, crate::platform::now_ms());
        }
        let mut answer = DhcpAnswer::new(ip, subnet.server(), network);
        if let Some(device) = &device {
            answer.hostname = Some(device.name.to_string());
            answer.router = (device.netsetup() == NetSetup::Nat).then(|| subnet.server());
        }
        answer.boot = boot_choice(request, who, subnet.server());
        DhcpDecision::Answer(Box::new(answer))
    }

    fn dhcp_bound(&self, request: &DhcpRequest, ip: Ipv4Addr) {
        let known = self.0.registry.by_mac(Mac(request.mac.0));
        let settled =
            known.is_some_and(|device| device.kind != DeviceType::Unknown && device.ip == Some(ip));
        if settled {
            return;
        }
        self.seen(&Sighting {
            vendor_class: &request.vendor_class,
            user_class: &request.user_class,
            mac: Mac(request.mac.0),
            ip,
            hostname: &request.hostname,
        });
    }

    fn boot_file(&self, client: Ipv4Addr, request: &FileRequest) -> FileDecision {
        let found = match &request.place {
            FilePlace::Platform(path) => self.platform_file(path),
            FilePlace::Node(path) => match self.0.registry.by_ip(client) {
                Some(device) if device.node.is_some() => self.node_file(&device, path),
                _ => self.static_file(path),
            },
        };
        match found {
            Found::File(file, size) => FileDecision::File { file, size },
            Found::Missing => FileDecision::Missing,
            Found::Denied(why) => FileDecision::Denied(why),
        }
    }

    fn resolve(&self, name: &str) -> Option<Ipv4Addr> {
        self.0.registry.by_dns_name(name)?.ip
    }

    fn reverse(&self, ip: Ipv4Addr) -> Option<String> {
        Some(self.0.registry.by_ip(ip)?.name.to_string())
    }

    fn observe(&self, event: BootObservation) {
        let registry = &self.0.registry;
        let device = match (event.mac, event.ip) {
            (Some(mac), _) => registry.by_mac(Mac(mac.0)),
            (None, Some(ip)) => registry.by_ip(ip),
            (None, None) => None,
        };
        let Some(device) = device else { return };
        let Some(node) = &device.node else { return };
        let at_ms = ms_of(event.at);
        let ip = event.ip.map(|ip| ip.to_string()).unwrap_or_default();
        self.0.boots.observe(device.mac, |boot| note(boot, event.event, &ip, &node.model, at_ms));
    }
}

/// Writes an observation in the time line of a boot.
fn note(boot: &mut Boot, event: BootEvent, ip: &str, model: &NodeModel, at_ms: u64) {
    match event {
        // The beginning of the exchange was noted when it was decided.
        BootEvent::Offer { .. } => {}
        BootEvent::Ack { vendor_class, user_class, .. } => {
            boot.leased(loader(&vendor_class, &user_class), ip, at_ms, None);
        }
        BootEvent::Nak { reason } => boot.leased(Loader::Firmware, ip, at_ms, Some(&reason)),
        BootEvent::Silent { kind: DhcpKind::Discover, reason } => {
            boot.leased(Loader::Firmware, ip, at_ms, Some(&reason));
        }
        BootEvent::Silent { .. } => {}
        BootEvent::FileSized { via, path, .. } => boot.file_sized(&path, word(via)),
        BootEvent::FileStart { via, path, .. } => boot.file_begun(&path, word(via), at_ms),
        BootEvent::FileEnd { via, path, bytes, .. } => {
            boot.file_ended(&path, word(via), Some(bytes), at_ms, None);
        }
        BootEvent::FileBroken { via, path, bytes, reason, .. } => {
            boot.file_ended(&path, word(via), Some(bytes), at_ms, Some(&reason));
        }
        BootEvent::FileMissing { via, path } => {
            let why = format!("there is no such file in /boot/{model} of image {}", boot.image);
            boot.file_ended(&path, word(via), None, at_ms, Some(&why));
        }
        BootEvent::FileDenied { via, path, reason } => {
            boot.file_ended(&path, word(via), None, at_ms, Some(&reason));
        }
    }
}

fn word(via: Via) -> &'static str {
    match via {
        Via::Tftp => "tftp",
        Via::Http => "http",
    }
}

/// Which program of the boot chain sent this DHCP message.
fn loader(vendor_class: &str, user_class: &str) -> Loader {
    if user_class.starts_with("walt.node") || vendor_class.starts_with("walt.node") {
        Loader::Walt
    } else if user_class.contains("iPXE") {
        Loader::Ipxe
    } else if vendor_class.starts_with("PXEClient") || vendor_class.starts_with("HTTPClient") {
        Loader::Firmware
    } else {
        Loader::System
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn loaders_are_told_apart_by_their_classes() {
        let bios = "PXEClient:Arch:00000:UNDI:002001";
        assert_eq!(loader(bios, ""), Loader::Firmware);
        assert_eq!(loader(bios, "iPXE"), Loader::Ipxe);
        assert_eq!(loader(bios, "walt.node.pc-x86-64"), Loader::Walt);
        assert_eq!(loader("walt.node.rpi-4-b", ""), Loader::Walt);
        assert_eq!(loader("HTTPClient:Arch:00016", ""), Loader::Firmware);
        assert_eq!(loader("udhcp 1.35", ""), Loader::System);
    }

    #[test]
    fn observations_make_a_time_line() {
        let mut boot = Boot::begin("created", "me/img:latest", 0);
        boot.discover(Loader::Ipxe, 10);
        let ack = BootEvent::Ack {
            file: None,
            vendor_class: "PXEClient:Arch:00000:UNDI:002001".into(),
            user_class: "iPXE".into(),
        };
        let model = "pc-x86-64".parse().unwrap();
        note(&mut boot, ack, "10.0.0.2", &model, 20);
        let missing = BootEvent::FileMissing { via: Via::Tftp, path: "start.ipxe".into() };
        note(&mut boot, missing, "10.0.0.2", &model, 30);
        assert_eq!(boot.stages.len(), 2);
        assert!(boot.is_over_for(Loader::Ipxe, 40));
    }
}
