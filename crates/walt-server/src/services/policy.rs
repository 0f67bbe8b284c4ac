//! The decisions behind DHCP, TFTP, HTTP boot and DNS.

use std::net::Ipv4Addr;
use std::time::Instant;

use ipnet::Ipv4Net;
use walt_model::{DeviceType, Identity, Mac, NetSetup, NodeModel};
use walt_netboot::policy::quirks::{Firmware, firmware_of};
use walt_netboot::policy::{
    BootEvent, BootObservation, BootPolicy, DhcpAnswer, DhcpDecision, DhcpKind, DhcpRequest,
    FileDecision, FilePlace, FileRequest, KnownClient, Via, boot_choice,
};

use super::Services;
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
        let mut device = platform.registry.by_mac(mac);
        let ip = match request.kind {
            DhcpKind::Inform => request.client_ip,
            _ => {
                let hold = firmware_of(request).holds_offer;
                platform.registry.offer(mac, request.wanted_ip(), Instant::now(), hold)
            }
        };
        let Some(ip) = ip else {
            return DhcpDecision::Silent(format!("no free address is left in {subnet}"));
        };
        platform.firmwares.note(request, ip);
        let says_node = loader(&request.vendor_class, &request.user_class) == Loader::Walt;
        let chosen = request.server_id.is_none_or(|server| server == subnet.server());
        if request.kind == DhcpKind::Request
            && says_node
            && chosen
            && request.wanted_ip() == Some(ip)
            && device.as_ref().is_none_or(|device| device.node.is_none())
        {
            // Before the answer, which tells the node its name: it finds its `/persist` by it.
            self.dhcp_bound(request, ip);
            if let Some(node) = platform.registry.by_mac(mac).filter(|device| device.node.is_some())
            {
                device = Some(node);
            }
        }
        let who = match device.as_ref().and_then(|device| device.node.as_ref()) {
            Some(node) if runs(&request.architectures, &node.model) => KnownClient::Node,
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
        let mac = Mac(request.mac.0);
        let said = Identity::of(&request.vendor_class, &request.user_class, mac).model;
        let known = self.0.registry.by_mac(mac);
        let node = known.as_ref().and_then(|device| device.node.as_ref());
        let was_node = node.is_some();
        let other_model = node.is_some_and(|node| said.is_some_and(|said| said != node.model));
        let settled =
            known.is_some_and(|device| device.kind != DeviceType::Unknown && device.ip == Some(ip));
        if settled && !other_model {
            return;
        }
        // A node that is being changed by a user is looked at when it asks again.
        let changing = self.0.changing.try_lock();
        if other_model && changing.is_err() {
            return;
        }
        self.seen(&Sighting {
            vendor_class: &request.vendor_class,
            user_class: &request.user_class,
            mac,
            ip,
            hostname: &request.hostname,
        });
        if was_node {
            return;
        }
        if let Some(Device { node: Some(node), .. }) = self.0.registry.by_mac(mac) {
            // The first boot of this node began with the exchange that made it one.
            let loader = loader(&request.vendor_class, &request.user_class);
            let image = node.image.to_string();
            self.0.boots.discover(mac, &image, loader, crate::platform::now_ms());
        }
    }

    fn firmware(&self, client: Ipv4Addr) -> &'static Firmware {
        self.0.firmwares.at(client)
    }

    fn boot_file(&self, client: Ipv4Addr, request: &FileRequest) -> FileDecision {
        let found = match &request.place {
            FilePlace::Platform(path) => self.platform_file(path),
            FilePlace::Node(path) => match self.0.registry.by_ip(client) {
                Some(device) if device.node.is_some() => self.node_file(&device, path),
                _ => self.file_of_nobody(client, path),
            },
        };
        found.into()
    }

    fn resolve(&self, name: &str) -> Option<Ipv4Addr> {
        self.0.registry.by_dns_name(name)?.ip
    }

    fn reverse(&self, ip: Ipv4Addr) -> Option<String> {
        Some(self.0.registry.by_ip(ip)?.name.to_string())
    }

    fn observe(&self, event: BootObservation) {
        self.0.counters.note(&event.event);
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

/// Whether a machine with this architecture (option 93) can be this model: an iPXE of another one is to
/// tell its model again. Models of PCs are named after their processor.
fn runs(architectures: &[u16], model: &NodeModel) -> bool {
    // PXE and HTTP boot of 32-bit and 64-bit ARM, then those of PCs.
    let is_arm = |number: &u16| matches!(number, 10 | 11 | 18 | 19);
    let is_pc = |number: &u16| matches!(number, 0 | 6 | 7 | 9 | 15 | 16);
    let pc_model = model.as_str().starts_with("pc-x86");
    !(architectures.iter().any(is_arm) && pc_model || architectures.iter().any(is_pc) && !pc_model)
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
    fn a_loader_of_another_processor_tells_its_model_again() {
        let model = |text: &str| text.parse::<NodeModel>().unwrap();
        for (architectures, name, fits) in [
            (&[7_u16][..], "pc-x86-64", true),
            (&[0], "pc-x86-32", true),
            (&[11], "pc-x86-64", false),
            (&[0], "rpi-4-b", false),
            (&[19], "pc-arm-64", true),
            (&[], "rpi-4-b", true),
        ] {
            assert_eq!(runs(architectures, &model(name)), fits, "{architectures:?} {name}");
        }
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
