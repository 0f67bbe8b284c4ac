//! The kernel of a model and its modules.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use super::model::is_virtual;
use super::programs::directory;
use super::{Finding, Level};
use crate::inside::Inside;

/// Names the kernel has in `/boot/<model>/`.
const KERNELS: &[&str] = &["kernel", "vmlinuz", "bzImage", "Image"];
/// Names an initrd has there.
const INITRDS: &[&str] = &["initrd", "initrd.img", "initramfs", "fit.uboot"];
/// Where modules are.
const MODULES: &str = "/lib/modules";
/// Largest kernel and largest list of modules read, in bytes.
const LARGEST_KERNEL: u64 = 64 << 20;
const LARGEST_LIST: usize = 8 << 20;

/// The findings about the kernel of a model.
pub(super) fn look(inside: &Inside, model: &str) -> Vec<Finding> {
    let boot = format!("/boot/{model}");
    let kernel = KERNELS.iter().find_map(|name| inside.open_file(format!("{boot}/{name}")).ok());
    let Some(kernel) = kernel else { return Vec::new() };
    let places: Vec<String> = directory(inside, MODULES)
        .and_then(|path| inside.list(path).ok())
        .unwrap_or_default()
        .into_iter()
        .filter_map(|name| name.into_string().ok())
        .filter(|name| directory(inside, &format!("{MODULES}/{name}")).is_some())
        .collect();
    let version = match (version(kernel), places.as_slice()) {
        (Some(version), _) => version,
        // A kernel that does not tell: the modules that are there are its own.
        (None, [one]) => one.clone(),
        (None, _) => return Vec::new(),
    };
    if !places.contains(&version) {
        let there = if places.is_empty() {
            "none are there".into()
        } else {
            format!("those of {} are there", places.join(", "))
        };
        let level = if places.is_empty() { Level::Note } else { Level::Warning };
        return vec![Finding::new(
            level,
            format!("There are no modules for the kernel, {version}: {there}"),
            "drivers that are neither in the kernel nor in its initrd cannot be loaded",
            format!("install the modules of {version}, or put the kernel of the modules in {boot}"),
        )];
    }
    let initrd = INITRDS.iter().any(|name| inside.exists(format!("{boot}/{name}")));
    modules(inside, &version, model, initrd)
}

/// The findings about the modules of a version.
fn modules(inside: &Inside, version: &str, model: &str, initrd: bool) -> Vec<Finding> {
    let list = |name: &str| {
        let bytes = inside.read(format!("{MODULES}/{version}/{name}"), LARGEST_LIST).ok()?;
        Some(names(&String::from_utf8_lossy(&bytes)))
    };
    let Some(loadable) = list("modules.dep") else {
        return vec![Finding::warning(
            format!("{MODULES}/{version}/modules.dep is missing"),
            "no module can be found by its name",
            format!("RUN depmod {version}"),
        )];
    };
    // Without that list nothing can be said about what is not a file.
    let Some(builtin) = list("modules.builtin") else { return Vec::new() };
    let lacks = |module: &str| !loadable.contains(module) && !builtin.contains(module);
    let mut findings = Vec::new();
    let install = "use a kernel that has it";
    if lacks("overlay") {
        let why = "the changes of a node are kept above its image by an overlay file system";
        findings.push(Finding::vital(
            format!("The kernel {version} has no overlay file system (module overlay)"),
            why,
            install,
        ));
    }
    let missing: Vec<&str> = ["nfs", "nfsv3"].into_iter().filter(|name| lacks(name)).collect();
    if !missing.is_empty() && !other_root(inside) {
        findings.push(Finding::vital(
            format!("The kernel {version} has no NFS version 3 (module {})", missing.join(" and ")),
            "nodes read their files from the server over NFS",
            install,
        ));
    } else if !initrd && !builtin.contains("nfs") {
        findings.push(Finding::warning(
            format!("/boot/{model} has no initrd, and NFS is a module of the kernel {version}"),
            "a kernel without initrd needs NFS built in to reach its root",
            "make an initrd (see `walt help show image-from-scratch`)",
        ));
    }
    if is_virtual(model) && lacks("virtio_net") {
        findings.push(Finding::warning(
            format!("The kernel {version} has no driver for the network of virtual nodes (module virtio_net)"),
            "virtual nodes do not boot this image",
            install,
        ));
    }
    findings
}

/// Whether the image brings another way to its root than NFS (feature `nbfs2` of its specification).
fn other_root(inside: &Inside) -> bool {
    inside
        .read("/etc/walt/image.spec", 64 << 10)
        .is_ok_and(|text| String::from_utf8_lossy(&text).contains("nbfs"))
}

/// Names of the modules of a `modules.dep` or `modules.builtin` (depmod(8)): `kernel/fs/nfs/nfs.ko.xz: ...` is `nfs`.
fn names(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| {
            let path = line.split(':').next()?;
            let file = path.rsplit('/').next()?;
            let (name, _) = file.split_once(".ko")?;
            Some(name.replace('-', "_"))
        })
        .collect()
}

/// Version of a kernel, e.g. `6.1.0-56-cloud-amd64`; none when its file does not tell.
fn version(mut kernel: File) -> Option<String> {
    let mut head = [0; 1024];
    kernel.read_exact(&mut head).ok()?;
    // x86: Documentation/arch/x86/boot.rst, fields header and kernel_version.
    if head[0x202..0x206] == *b"HdrS" {
        let place = u64::from(u16::from_le_bytes([head[0x20e], head[0x20f]]));
        if place == 0 {
            return None;
        }
        kernel.seek(SeekFrom::Start(place + 0x200)).ok()?;
        let mut text = Vec::new();
        kernel.take(256).read_to_end(&mut text).ok()?;
        return first_word(&text);
    }
    // 64-bit ARM, not compressed (Documentation/arch/arm64/booting.rst): the banner stands in it.
    if head[0x38..0x3c] == *b"ARMd" {
        kernel.seek(SeekFrom::Start(0)).ok()?;
        let mut content = Vec::new();
        kernel.take(LARGEST_KERNEL).read_to_end(&mut content).ok()?;
        let banner = b"Linux version ";
        let mut rest = content.as_slice();
        while let Some(place) = rest.iter().position(|byte| *byte == b'L') {
            rest = &rest[place..];
            if let Some(text) = rest.strip_prefix(banner)
                && text.first().is_some_and(u8::is_ascii_digit)
            {
                return first_word(&text[..text.len().min(256)]);
            }
            rest = &rest[1..];
        }
    }
    None
}

fn first_word(text: &[u8]) -> Option<String> {
    let end = text.iter().position(|byte| byte.is_ascii_whitespace() || *byte == 0)?;
    let word = std::str::from_utf8(&text[..end]).ok()?;
    // It becomes the name of a folder.
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
    (word.starts_with(|c: char| c.is_ascii_digit()) && word.chars().all(plain))
        .then(|| word.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;
    use std::io::Write;

    /// A file that says it is an x86 kernel of this version.
    pub fn pc_kernel(version: &str) -> Vec<u8> {
        let mut bytes = vec![0; 0x800];
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        bytes[0x20e..0x210].copy_from_slice(&0x300_u16.to_le_bytes());
        let text = format!("{version} (builder) #1 SMP\0");
        bytes[0x500..0x500 + text.len()].copy_from_slice(text.as_bytes());
        bytes
    }

    fn told(content: &[u8]) -> Option<String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        version(file)
    }

    #[test]
    fn versions() {
        assert_eq!(told(&pc_kernel("6.1.0-56-cloud-amd64")).unwrap(), "6.1.0-56-cloud-amd64");
        assert_eq!(told(&pc_kernel("../../etc")), None);
        assert_eq!(told(b"short"), None);
        let mut arm = vec![0; 4096];
        arm[0x38..0x3c].copy_from_slice(b"ARMd");
        arm[2000..2030].copy_from_slice(b"Linux version %s\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        arm[3000..3030].copy_from_slice(b"Linux version 6.1.0-arm64 (x) ");
        assert_eq!(told(&arm).unwrap(), "6.1.0-arm64");
    }

    #[test]
    fn lists() {
        let text = "kernel/fs/nfs/nfs.ko: kernel/net/sunrpc.ko\nkernel/drivers/net/virtio-net.ko.xz:\nnonsense\n";
        assert_eq!(names(text), BTreeSet::from(["nfs".to_owned(), "virtio_net".to_owned()]));
    }
}
