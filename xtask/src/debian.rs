//! The Debian packages this repository needs: the one list, with the reason of each.
//!
//! `docs/debian-packages.md` is printed from this table (`cargo xtask packages --markdown`), and
//! `cargo xtask test` fails when the two differ.

/// What a package is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Running a platform: `cargo xtask demo`, or the server by hand.
    Platform,
    /// Building the default node image.
    Image,
    /// Running the tests and the benchmarks.
    Test,
}

/// One Debian package.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// Its name in Debian.
    pub name: &'static str,
    /// Since when it is needed.
    pub need: Need,
    /// What it is used for, in a few words.
    pub why: &'static str,
    /// Whether it is taken from the backports suite of the release.
    pub backports: bool,
}

const fn stable(name: &'static str, need: Need, why: &'static str) -> Package {
    Package { name, need, why, backports: false }
}

/// Debian 12's own QEMU (7.2) conflicts with a newer `qemu-utils`, which some machines carry.
const fn backports(name: &'static str, need: Need, why: &'static str) -> Package {
    Package { name, need, why, backports: true }
}

/// The list.
pub const PACKAGES: &[Package] = &[
    stable("ca-certificates", Need::Platform, "certificates of registries"),
    stable("iproute2", Need::Platform, "network namespace of the private platform"),
    stable("iputils-ping", Need::Platform, "`walt node ping`"),
    stable("openssh-client", Need::Platform, "shells, commands and copies on nodes"),
    stable("podman", Need::Platform, "holds the images"),
    stable("buildah", Need::Platform, "changes the images"),
    stable("skopeo", Need::Platform, "moves the images"),
    stable("runc", Need::Platform, "runs containers where crun refuses the machine's cgroups"),
    stable("git", Need::Platform, "fetches what images are built from"),
    stable("tar", Need::Platform, "file transfers"),
    stable("qemu-user-static", Need::Platform, "runs programs of images for other CPUs"),
    backports("qemu-system-x86", Need::Platform, "virtual nodes"),
    stable("ovmf", Need::Platform, "UEFI firmware of virtual nodes"),
    stable("ipxe", Need::Platform, "network boot loaders sent to BIOS and UEFI machines"),
    backports("ipxe-qemu", Need::Platform, "network boot ROM of BIOS virtual nodes"),
    stable(
        "util-linux",
        Need::Platform,
        "`nsenter` into the platform's namespace; builds apart from other processes",
    ),
    stable("mmdebstrap", Need::Image, "makes the Debian of the node image"),
    stable("debian-archive-keyring", Need::Image, "checks what mmdebstrap downloads"),
    stable("python3-minimal", Need::Image, "writes the image's OCI layout"),
    stable("arch-test", Need::Image, "tells whether arm64 programs run on this machine"),
    stable("mtools", Need::Image, "boot media: FAT file systems"),
    stable("dosfstools", Need::Image, "boot media: FAT file systems"),
    stable("gdisk", Need::Image, "boot media: partition tables"),
    stable("e2fsprogs", Need::Image, "disks of virtual nodes"),
    stable("u-boot-tools", Need::Image, "U-Boot scripts and environments"),
    stable("gcc-arm-linux-gnueabihf", Need::Image, "node agent for 32-bit ARM: linker"),
    stable("libc6-dev-armhf-cross", Need::Image, "node agent for 32-bit ARM: static C library"),
    backports("qemu-system-arm", Need::Test, "arm64 nodes"),
    stable("qemu-efi-aarch64", Need::Test, "UEFI firmware of arm64 nodes"),
    stable("u-boot-qemu", Need::Test, "U-Boot of arm64 nodes"),
    stable("nbd-client", Need::Test, "foreign client of the swap service"),
    stable("libnbd-bin", Need::Test, "foreign client of the swap service"),
    stable("postgresql", Need::Test, "database of an original platform, to be imported"),
    stable("python3-venv", Need::Test, "the original's node package"),
    stable("expect", Need::Test, "types in node shells and consoles"),
    stable("docker-registry", Need::Test, "a real registry of images"),
    stable("openssl", Need::Test, "certificates of the test registry"),
    stable("isc-dhcp-client", Need::Test, "foreign DHCP client"),
    stable("udhcpc", Need::Test, "foreign DHCP client"),
    stable("tftp-hpa", Need::Test, "foreign TFTP client"),
    stable("atftp", Need::Test, "foreign TFTP client"),
    stable("curl", Need::Test, "foreign TFTP and HTTP client"),
    stable("libnfs-utils", Need::Test, "foreign NFS client"),
    stable("bind9-dnsutils", Need::Test, "foreign DNS client"),
    stable("busybox-static", Need::Test, "tiny images of the image store's tests"),
    stable("dropbear-bin", Need::Test, "checks the host key given to dropbear"),
    stable("kea-admin", Need::Test, "perfdhcp, a foreign DHCP load"),
    stable("ndisc6", Need::Test, "foreign client of router advertisements"),
    stable("postgresql", Need::Test, "what the logs are measured against"),
    stable("nix-bin", Need::Test, "syntax and lock of the flake"),
    stable("procps", Need::Test, "looks for processes that are left"),
    stable("nftables", Need::Test, "switches HTTP off under loaders that fall back to TFTP"),
    stable("jq", Need::Test, "reads `--json` answers"),
    stable("socat", Need::Test, "sends malformed packets"),
    stable("attr", Need::Test, "extended attributes of squashed images"),
    stable("shellcheck", Need::Test, "lints the shell scripts"),
];
