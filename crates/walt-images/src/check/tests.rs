use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::elf::tests::program;
use super::elf::{AARCH64, X86_64};
use super::kernel::tests::pc_kernel;
use super::*;

const VERSION: &str = "6.1.0-56-cloud-amd64";
const SCRIPT: &str = "#!ipxe\nchain http://${next-server}/boot/more.ipxe || reboot\n";
const MORE: &str = "#!ipxe\ninitrd initrd || reboot\nkernel kernel initrd=initrd || reboot\n";
const LIST: &str =
    "kernel/fs/nfs/nfs.ko:\nkernel/fs/nfs/nfsv3.ko:\nkernel/drivers/net/virtio_net.ko:\n";

fn write(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The files of an image that boots PCs, after a change.
fn image(change: impl FnOnce(&Path)) -> (tempfile::TempDir, Inside) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for name in ["busybox", "dash", "tar"] {
        write(root, &format!("usr/bin/{name}"), program(X86_64, None));
    }
    write(root, "usr/sbin/sshd", program(X86_64, None));
    write(root, "usr/lib/systemd/systemd", program(X86_64, Some("/lib64/ld.so")));
    write(root, "usr/lib64/ld.so", "");
    for name in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), root.join(name)).unwrap();
    }
    symlink("dash", root.join("usr/bin/sh")).unwrap();
    symlink("/lib/systemd/systemd", root.join("usr/sbin/init")).unwrap();
    write(root, "boot/pc-x86-64/start.ipxe", SCRIPT);
    write(root, "boot/pc-x86-64/more.ipxe", MORE);
    write(root, "boot/pc-x86-64/initrd", "");
    write(root, "boot/vmlinuz", pc_kernel(VERSION));
    symlink("/boot/vmlinuz", root.join("boot/pc-x86-64/kernel")).unwrap();
    write(root, &format!("usr/lib/modules/{VERSION}/modules.dep"), LIST);
    write(
        root,
        &format!("usr/lib/modules/{VERSION}/modules.builtin"),
        "kernel/fs/overlayfs/overlay.ko\n",
    );
    change(root);
    let inside = Inside::enter(root).unwrap();
    (dir, inside)
}

fn found(change: impl FnOnce(&Path)) -> Vec<Finding> {
    let (_dir, inside) = image(change);
    files(&inside, &["pc-x86-64".to_owned()])
}

fn remove(path: &'static str) -> impl FnOnce(&Path) {
    move |root| std::fs::remove_file(root.join(path)).unwrap()
}

#[test]
fn a_good_image() {
    assert_eq!(found(|_| ()), []);
}

/// Each change gives this finding, and no worse one.
fn expect(level: Level, text: &str, change: impl FnOnce(&Path)) {
    let found = found(change);
    assert!(
        matches!(found.as_slice(), [one, ..] if one.level == level && one.what.contains(text)),
        "{text}: {found:#?}"
    );
}

#[test]
fn broken_images() {
    use Level::{Note, Vital, Warning};
    expect(Vital, "/bin/busybox is missing", remove("usr/bin/busybox"));
    expect(Vital, "/sbin/init is missing", remove("usr/sbin/init"));
    expect(Vital, "/sbin/init leads to no program", remove("usr/lib/systemd/systemd"));
    expect(Vital, "/sbin/init needs /lib64/ld.so", remove("usr/lib64/ld.so"));
    expect(Warning, "/bin/sh is missing", remove("usr/bin/sh"));
    expect(Warning, "neither sshd nor dropbear", remove("usr/sbin/sshd"));
    expect(Warning, "no tar", remove("usr/bin/tar"));
    expect(Vital, "start.ipxe is missing", remove("boot/pc-x86-64/start.ipxe"));
    expect(Vital, "more.ipxe is missing", remove("boot/pc-x86-64/more.ipxe"));
    expect(Vital, "initrd is missing", remove("boot/pc-x86-64/initrd"));
    expect(Vital, "kernel is a link to /boot/vmlinuz, which is not there", remove("boot/vmlinuz"));
    expect(Vital, "no folder /boot/pc-x86-64", |root| {
        std::fs::remove_dir_all(root.join("boot/pc-x86-64")).unwrap();
    });
    expect(Vital, "may not be executed", |root| {
        let path = root.join("usr/bin/busybox");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    });
    expect(Vital, "is a program for 64-bit ARM", |root| {
        write(root, "usr/bin/busybox", program(AARCH64, None));
    });
    expect(Warning, "extra is a link to nowhere", |root| {
        symlink("nowhere", root.join("boot/pc-x86-64/extra")).unwrap();
    });
    expect(Warning, "no modules for the kernel, 5.10.1: those of", |root| {
        write(root, "boot/vmlinuz", pc_kernel("5.10.1"));
    });
    expect(Note, "none are there", |root| {
        std::fs::remove_dir_all(root.join("usr/lib/modules")).unwrap();
    });
    let list = |name: &'static str, text: &'static str| {
        move |root: &Path| write(root, &format!("usr/lib/modules/{VERSION}/{name}"), text)
    };
    expect(Vital, "no overlay file system", list("modules.builtin", ""));
    expect(
        Vital,
        "no NFS version 3 (module nfsv3)",
        list("modules.dep", "a/nfs.ko:\na/virtio_net.ko:\n"),
    );
    expect(Warning, "network of virtual nodes", list("modules.dep", "a/nfs.ko:\na/nfsv3.ko:\n"));
    expect(Warning, "modules.dep is missing", |root| {
        std::fs::remove_file(root.join(format!("usr/lib/modules/{VERSION}/modules.dep"))).unwrap();
    });
}

#[test]
fn other_families() {
    let (_dir, inside) = image(|root| {
        write(root, "boot/rpi-3-b/start.uboot", "");
        write(root, "boot/rpi-4-b/config.txt", "[all]\nkernel=kernel8 # ours\n");
        write(root, "boot/rpi-5-b/cmdline.txt", "");
    });
    let what = |model: &str| -> Vec<(Level, String)> {
        let found = boot_files::look(&inside, model);
        found.into_iter().map(|finding| (finding.level, finding.what)).collect()
    };
    assert!(
        matches!(what("rpi-3-b").as_slice(), [(Level::Warning, text)] if text.contains("fit.uboot"))
    );
    assert_eq!(what("rpi-4-b"), [(Level::Vital, "/boot/rpi-4-b/kernel8 is missing".to_owned())]);
    assert!(
        matches!(what("rpi-5-b").as_slice(), [(Level::Vital, text)] if text.contains("config.txt"))
    );
    assert_eq!(what("../../etc"), []);
}

#[test]
fn hostile_images_are_only_read() {
    let (_dir, inside) = image(|root| {
        std::fs::remove_dir_all(root.join("boot")).unwrap();
        symlink("/proc/self", root.join("boot")).unwrap();
        std::fs::remove_file(root.join("usr/bin/busybox")).unwrap();
        symlink("busybox", root.join("usr/bin/busybox")).unwrap();
        let lists = root.join(format!("usr/lib/modules/{VERSION}/modules.dep"));
        std::fs::remove_file(&lists).unwrap();
        symlink("/dev/zero", lists).unwrap();
    });
    let found = files(&inside, &["pc-x86-64".to_owned()]);
    assert!(found.iter().any(|one| one.what == "/bin/busybox leads to no program"), "{found:#?}");
    assert!(found.iter().any(|one| one.what == "There is no folder /boot/pc-x86-64"), "{found:#?}");
}
