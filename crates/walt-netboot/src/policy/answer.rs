//! What the platform tells a DHCP client, and which boot file suits it.

use std::net::Ipv4Addr;

use bytes::Bytes;
use ipnet::Ipv4Net;

use super::quirks::{Boots, firmware_of};
use super::request::DhcpRequest;

/// Lease time of every answer, in seconds: min = max = default.
pub const LEASE_SECONDS: u32 = 6_000_000;
/// Boot file of BIOS PXE ROMs: an iPXE with an embedded script.
pub const UNDIONLY_FILE: &str = "pxe/walt-x86-undionly.kpxe";
/// Boot file of 64-bit x86 UEFI firmware, by TFTP or HTTP: an iPXE EFI program.
pub const EFI_X64_FILE: &str = "pxe/walt-x86-64.efi";
/// Boot file of 32-bit x86 UEFI firmware.
pub const EFI_X86_FILE: &str = "pxe/walt-x86-32.efi";
/// Boot file of 64-bit ARM UEFI firmware.
pub const EFI_ARM64_FILE: &str = "pxe/walt-arm64.efi";
/// Boot file of an iPXE that is not a known node yet: [`generic_script`], served by this crate.
pub const GENERIC_SCRIPT: &str = "walt.ipxe";
/// Boot file of an iPXE that is a known node: the script of its image.
pub const NODE_SCRIPT: &str = "start.ipxe";
/// Vendor class of BIOS PXE ROMs, of Raspberry Pi firmware and of BIOS iPXE.
pub(super) const BIOS_PXE_CLASS: &str = "PXEClient:Arch:00000:UNDI:002001";
/// PXE sub-option 9 (boot menu): type 0, 17 bytes of text; what Raspberry Pi firmware looks for.
/// No end mark (255) follows: ISC's server, which the original runs, sends none.
const RASPBERRY_PI_VENDOR_OPTIONS: &[u8] = b"\x09\x14\x00\x00\x11Raspberry Pi Boot";

/// The decision about a DHCP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DhcpDecision {
    /// Answer with this.
    Answer(Box<DhcpAnswer>),
    /// Refuse what was requested, with the text sent as option 56. Only a REQUEST is refused so; for
    /// other kinds it is [`DhcpDecision::Silent`].
    Nak(String),
    /// Do not answer, and why (for logs).
    Silent(String),
}

/// The content of an OFFER or ACK; becomes bytes in `dhcp::answer`.
///
/// DNS, NTP and TFTP servers are `server`; domain and search list are `walt`; the lease time is
/// [`LEASE_SECONDS`]; mask and broadcast address are those of `network`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpAnswer {
    /// The client's address (not sent in the answer to an INFORM).
    pub ip: Ipv4Addr,
    /// The server's address in the network: siaddr and options 6, 42, 54, 66.
    pub server: Ipv4Addr,
    /// The network: options 1 and 28.
    pub network: Ipv4Net,
    /// Name of the device, registered ones only (option 12).
    pub hostname: Option<String>,
    /// Default router (option 3), only for devices behind NAT.
    pub router: Option<Ipv4Addr>,
    /// What to boot: see [`boot_choice`].
    pub boot: BootChoice,
}

impl DhcpAnswer {
    /// The answer of an unregistered client without boot file; set the other fields as needed.
    pub fn new(ip: Ipv4Addr, server: Ipv4Addr, network: Ipv4Net) -> Self {
        Self { ip, server, network, hostname: None, router: None, boot: BootChoice::default() }
    }
}

/// What a DHCP answer says about booting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootChoice {
    /// Boot file: header field `file` (and option 67 when the client asks for it or it is long).
    pub file: Option<String>,
    /// Vendor class identifier of the answer (option 60).
    pub vendor_class: Option<&'static str>,
    /// Vendor-specific information (option 43).
    pub vendor_options: Option<&'static [u8]>,
}

/// What the platform knows about the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KnownClient {
    /// Never seen, or a device that is no node.
    Unknown,
    /// A registered node, whose image has a boot script for its model.
    Node,
}

/// What this client is told to boot: what its row of [`FIRMWARES`](super::quirks::FIRMWARES) says.
pub fn boot_choice(request: &DhcpRequest, who: KnownClient, server: Ipv4Addr) -> BootChoice {
    let file = |name: &str| BootChoice { file: Some(name.to_owned()), ..BootChoice::default() };
    match firmware_of(request).boots {
        Boots::Nothing => BootChoice::default(),
        Boots::Script => file(match who {
            KnownClient::Node => NODE_SCRIPT,
            KnownClient::Unknown => GENERIC_SCRIPT,
        }),
        Boots::RaspberryPiMenu => BootChoice {
            file: None,
            vendor_class: Some("PXEClient"),
            vendor_options: Some(RASPBERRY_PI_VENDOR_OPTIONS),
        },
        Boots::Tftp(name) => file(name),
        Boots::Http(name) => BootChoice {
            file: Some(format!("http://{server}/boot/{name}")),
            vendor_class: Some("HTTPClient"),
            vendor_options: None,
        },
    }
}

/// The script of [`GENERIC_SCRIPT`]: tells the server the model by a second DHCP exchange (which
/// registers the node), then runs the script of the image given to it.
///
/// It does what the script embedded in WalT's own iPXE does: CPU bit "long mode", user class, DHCP, chain;
/// and it knows ARM.
pub fn generic_script() -> Bytes {
    Bytes::from_static(
        b"#!ipxe\n\
          iseq ${buildarch} arm64 && set user-class walt.node.pc-arm-64 && goto told ||\n\
          cpuid --ext 29 && set user-class walt.node.pc-x86-64 || set user-class walt.node.pc-x86-32\n\
          :told\n\
          dhcp || reboot\n\
          chain tftp://${next-server}/start.ipxe || reboot\n",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{DhcpKind, Mac};

    const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 152, 1);
    const QEMU: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
    const PI: [u8; 6] = [0xdc, 0xa6, 0x32, 1, 2, 3];

    fn choice(
        mac: [u8; 6],
        vendor: &str,
        user: &str,
        architectures: &[u16],
        who: KnownClient,
    ) -> BootChoice {
        let request = DhcpRequest {
            vendor_class: vendor.to_owned(),
            user_class: user.to_owned(),
            user_classes: vec![user.to_owned()],
            architectures: architectures.to_vec(),
            ..DhcpRequest::bare(DhcpKind::Discover, Mac(mac))
        };
        boot_choice(&request, who, SERVER)
    }

    fn file(vendor: &str, user: &str, architectures: &[u16], who: KnownClient) -> Option<String> {
        let choice = choice(QEMU, vendor, user, architectures, who);
        assert_eq!((choice.vendor_class, choice.vendor_options), (None, None));
        choice.file
    }

    #[test]
    fn as_the_original_decides() {
        use KnownClient::{Node, Unknown};
        for who in [Node, Unknown] {
            assert_eq!(
                file(BIOS_PXE_CLASS, "walt.node.pc-x86-64", &[0], who),
                None,
                "its script runs"
            );
            assert_eq!(file(BIOS_PXE_CLASS, "", &[0], who).as_deref(), Some(UNDIONLY_FILE));
            assert_eq!(file(BIOS_PXE_CLASS, "", &[], who), None, "no architecture");
            assert_eq!(
                file("PXEClient:Arch:00000:UNDI:002002", "", &[0], who),
                None,
                "another class"
            );
            assert_eq!(file("walt.node.rpi-4-b", "", &[], who), None, "u-boot asks by itself");
            assert_eq!(file("", "", &[], who), None, "an operating system");
        }
        let pi = choice(PI, BIOS_PXE_CLASS, "", &[0], Unknown);
        assert_eq!(pi.vendor_class, Some("PXEClient"));
        assert_eq!(pi.vendor_options.map(<[u8]>::len), Some(22));
        assert_eq!(pi.file, None);
        assert_eq!(
            choice(PI, "", "", &[0], Unknown),
            BootChoice::default(),
            "a Pi without this class"
        );
        assert_eq!(choice(PI, BIOS_PXE_CLASS, "walt.node.x", &[0], Unknown), BootChoice::default());
    }

    #[test]
    fn beyond_the_original() {
        use KnownClient::{Node, Unknown};
        const UEFI: &str = "PXEClient:Arch:00007:UNDI:003001";
        for (vendor, architecture) in [(BIOS_PXE_CLASS, 0), (UEFI, 7)] {
            assert_eq!(file(vendor, "iPXE", &[architecture], Node).as_deref(), Some(NODE_SCRIPT));
            assert_eq!(
                file(vendor, "iPXE", &[architecture], Unknown).as_deref(),
                Some(GENERIC_SCRIPT)
            );
        }
        assert_eq!(file(UEFI, "", &[7], Unknown).as_deref(), Some(EFI_X64_FILE));
        assert_eq!(
            file("PXEClient:Arch:00009:UNDI:003001", "", &[9], Node).as_deref(),
            Some(EFI_X64_FILE)
        );
        assert_eq!(
            file("PXEClient:Arch:00011:UNDI:003001", "", &[11], Node).as_deref(),
            Some(EFI_ARM64_FILE)
        );
        assert_eq!(
            file("PXEClient:Arch:00006:UNDI:003001", "", &[6], Node).as_deref(),
            Some(EFI_X86_FILE)
        );
        for (architecture, name) in
            [(16, "walt-x86-64.efi"), (15, "walt-x86-32.efi"), (19, "walt-arm64.efi")]
        {
            let class = format!("HTTPClient:Arch:{architecture:05}:UNDI:003001");
            let http = choice(QEMU, &class, "", &[architecture], Unknown);
            assert_eq!(http.file, Some(format!("http://192.168.152.1/boot/pxe/{name}")));
            assert_eq!(http.vendor_class, Some("HTTPClient"));
        }
    }
}
