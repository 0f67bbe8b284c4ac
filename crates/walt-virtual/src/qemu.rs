//! The command line of a node's QEMU, and where its firmware is.

use std::path::{Path, PathBuf};

use crate::accel::Accel;
use crate::spec::{Firmware, NodeSpec};

/// Name of the emulator.
pub const PROGRAM: &str = "qemu-system-x86_64";
/// QMP socket, in the node's directory.
pub const QMP_SOCKET: &str = "qmp.sock";
/// Serial console socket, in the node's directory.
pub const CONSOLE_SOCKET: &str = "console.sock";
/// Everything the console printed, in the node's directory.
pub const CONSOLE_LOG: &str = "console.log";
/// QEMU's own messages, in the node's directory.
pub const MESSAGES: &str = "qemu.log";
/// Process id, written by QEMU, in the node's directory.
pub const PID_FILE: &str = "qemu.pid";
/// UEFI variables of this node, in its directory.
pub const UEFI_VARS: &str = "uefi-vars.fd";

/// A UEFI firmware: the code, shared, and the blank variables each node gets a copy of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uefi {
    /// Code image.
    pub code: PathBuf,
    /// Blank variables image.
    pub vars: PathBuf,
}

impl Uefi {
    /// Looks where `WALT_OVMF_CODE` and `WALT_OVMF_VARS` say, then where Debian (`ovmf`), Fedora and
    /// QEMU itself (as packaged by Nix, beside its program) keep it.
    pub fn find() -> Option<Self> {
        if let (Some(code), Some(vars)) =
            (std::env::var_os("WALT_OVMF_CODE"), std::env::var_os("WALT_OVMF_VARS"))
        {
            return Some(Self { code: code.into(), vars: vars.into() });
        }
        let mut candidates = vec![
            ("/usr/share/OVMF/OVMF_CODE_4M.fd".into(), "/usr/share/OVMF/OVMF_VARS_4M.fd".into()),
            ("/usr/share/OVMF/OVMF_CODE.fd".into(), "/usr/share/OVMF/OVMF_VARS.fd".into()),
            (
                "/usr/share/edk2/ovmf/OVMF_CODE.fd".into(),
                "/usr/share/edk2/ovmf/OVMF_VARS.fd".into(),
            ),
        ];
        for dir in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
            if let Ok(program) = dir.join(PROGRAM).canonicalize() {
                let share =
                    program.parent().and_then(Path::parent).map(|prefix| prefix.join("share/qemu"));
                if let Some(share) = share {
                    candidates
                        .push((share.join("edk2-x86_64-code.fd"), share.join("edk2-i386-vars.fd")));
                }
                break;
            }
        }
        candidates
            .into_iter()
            .map(|(code, vars): (PathBuf, PathBuf)| Self { code, vars })
            .find(|uefi| uefi.code.exists() && uefi.vars.exists())
    }
}

/// Arguments of the QEMU of a node. It is to be run in the node's directory: its sockets and files
/// are named relative to it (socket paths are limited to 108 bytes). The guest waits for a first
/// `cont`, so that nothing it prints is missed.
pub fn arguments(spec: &NodeSpec, accel: Accel, uefi: Option<&Uefi>) -> Vec<String> {
    let mut args: Vec<String> = Vec::new();
    let mut add = |option: &str, value: String| {
        args.push(option.to_owned());
        args.push(value);
    };
    let mac = spec.mac_text();
    add("-name", format!("walt-{}", spec.name));
    // Absolute: it also tells whose QEMU this is.
    add("-pidfile", spec.dir.join(PID_FILE).to_string_lossy().into_owned());
    add(
        "-accel",
        match accel {
            Accel::Kvm => "kvm".into(),
            Accel::Tcg => "tcg,thread=multi".into(),
        },
    );
    // graphics=off: SeaBIOS and iPXE speak on the serial port.
    add("-machine", "q35,graphics=off".into());
    add("-cpu", "max".into());
    add("-m", format!("{}M", spec.ram_mb));
    add("-smp", spec.cpu_cores.to_string());
    add("-uuid", uuid(&spec.mac));
    // Node scripts know a virtual node by this vendor.
    add("-smbios", format!("type=1,manufacturer=QEMU,serial={mac}"));
    add("-rtc", "base=utc,clock=host".into());
    add("-display", "none".into());
    add("-chardev", format!("socket,id=qmp,path={QMP_SOCKET},server=on,wait=off"));
    add("-mon", "chardev=qmp,mode=control".into());
    add(
        "-chardev",
        format!(
            "socket,id=console,path={CONSOLE_SOCKET},server=on,wait=off,logfile={CONSOLE_LOG},logappend=on"
        ),
    );
    add("-serial", "chardev:console".into());
    add(
        "-netdev",
        format!("tap,id=net0,ifname={},script=no,downscript=no,vhost=off", spec.tap_name()),
    );
    match (spec.firmware, uefi) {
        (Firmware::Uefi, Some(uefi)) => {
            // The firmware's own network boot, as on real machines: no iPXE ROM on the card.
            add("-device", format!("virtio-net-pci,netdev=net0,mac={mac},bootindex=1,romfile="));
            let code = option_value(&uefi.code);
            add("-drive", format!("if=pflash,unit=0,format=raw,readonly=on,file={code}"));
            add("-drive", format!("if=pflash,unit=1,format=raw,file={UEFI_VARS}"));
        }
        _ => {
            add("-device", format!("virtio-net-pci,netdev=net0,mac={mac},bootindex=1"));
            // When the network gave nothing, try again (milliseconds).
            add("-boot", "order=n,reboot-timeout=2000".into());
        }
    }
    if !spec.disks.is_empty() {
        add("-device", "virtio-scsi-pci,id=scsi0".into());
    }
    for index in 0..spec.disks.len() {
        let file = option_value(&crate::disk::file(index));
        // What the guest gives back or fills with zeros takes no place.
        add(
            "-drive",
            format!(
                "file={file},format=raw,id=disk{index},if=none,discard=unmap,detect-zeroes=unmap"
            ),
        );
        // Images may look for disks of this name.
        add(
            "-device",
            format!("scsi-hd,drive=disk{index},bus=scsi0.0,scsi-id={index},product=QEMU-DISK"),
        );
    }
    add("-device", "virtio-rng-pci".into());
    add("-device", "pvpanic".into());
    // A panicked guest is left to its own `panic=` setting; the supervisor sees it and decides.
    add("-action", "panic=none".into());
    args.extend(["-nodefaults", "-no-user-config", "-S"].map(str::to_owned));
    args
}

/// A path in QEMU's option syntax, where a comma is doubled.
fn option_value(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

/// A stable UUID (version 8, RFC 9562) ending with the node's MAC address.
fn uuid(mac: &[u8; 6]) -> String {
    let tail = mac.map(|byte| format!("{byte:02x}")).concat();
    format!("77616c74-0000-8000-8000-{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use walt_model::settings::{BootDelay, Disk};

    #[test]
    fn command_lines() {
        let mut spec = NodeSpec {
            name: "v1".into(),
            mac: [0x52, 0x54, 0, 1, 2, 3],
            firmware: Firmware::Bios,
            ram_mb: 512,
            cpu_cores: 2,
            disks: Vec::new(),
            boot_delay: BootDelay::Seconds(0),
            bridge: "walt-net".into(),
            dir: "/state/a,b".into(),
        };
        let line = arguments(&spec, Accel::Tcg, None).join(" ");
        for wanted in [
            "-pidfile /state/a,b/qemu.pid",
            "-accel tcg,thread=multi",
            "-m 512M -smp 2",
            "manufacturer=QEMU",
            "ifname=wt525400010203,",
            "virtio-net-pci,netdev=net0,mac=52:54:00:01:02:03,bootindex=1 -boot order=n",
            "-uuid 77616c74-0000-8000-8000-525400010203",
        ] {
            assert!(line.contains(wanted), "{wanted} in {line}");
        }
        assert!(!line.contains("scsi"), "{line}");
        spec.disks = vec![Disk { bytes: 1, template: Default::default() }; 2];
        spec.firmware = Firmware::Uefi;
        let uefi = Uefi { code: "/code.fd".into(), vars: "/vars.fd".into() };
        let line = arguments(&spec, Accel::Kvm, Some(&uefi)).join(" ");
        for wanted in [
            "-accel kvm ",
            "romfile= ",
            "readonly=on,file=/code.fd",
            "file=uefi-vars.fd",
            "-device virtio-scsi-pci,id=scsi0 -drive file=disks/disk_0.dd,format=raw,id=disk0,if=none",
            "-device scsi-hd,drive=disk1,bus=scsi0.0,scsi-id=1,product=QEMU-DISK",
        ] {
            assert!(line.contains(wanted), "{wanted} in {line}");
        }
    }
}
