//! Catalogue and roots on a real podman, with a store of their own and a tiny busybox image.
//!
//! Needs root, podman and busybox-static; without them the tests say so and pass.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use walt_images::command::Command;
use walt_images::{
    Catalogue, ImageId, PlatformKeys, Podman, RootError, Roots, Store, WaltLayer, mounts,
};

const MODELS: &str = "LABEL walt.node.models=pc-x86-64,qemu";

/// A platform's directories; nothing of it is left when it goes.
struct Platform {
    dir: Option<tempfile::TempDir>,
}

impl Platform {
    fn new() -> Option<Self> {
        let usable = rustix::process::geteuid().is_root()
            && ["/usr/bin/podman", "/bin/busybox"].iter().all(|path| Path::new(path).exists());
        if !usable {
            eprintln!("skipped: needs root, podman and busybox-static");
            return None;
        }
        Some(Self { dir: Some(tempfile::tempdir().unwrap()) })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.as_ref().unwrap().path().join(name)
    }

    fn state(&self) -> PathBuf {
        self.path("state")
    }

    async fn podman(&self) -> Podman {
        let store = Store::At { root: self.path("store"), runroot: self.path("run/store") };
        Podman::open(store, &self.path("run"), CancellationToken::new()).await.unwrap()
    }

    async fn roots(&self) -> Roots {
        self.try_roots().await.unwrap()
    }

    async fn try_roots(&self) -> Result<Roots, RootError> {
        let keys = PlatformKeys::open(&self.state()).await.unwrap();
        Roots::open(self.podman().await, self.state(), keys).await
    }

    /// Imports a directory as an image called `docker.io/<fullname>`.
    async fn import(&self, tree: &Path, fullname: &str) -> ImageId {
        let tar = self.path("image.tar");
        Command::new("tar").arg("-C").arg(tree).arg("-cf").arg(&tar).arg(".").run().await.unwrap();
        let reference = format!("docker.io/{fullname}");
        let args = ["import", "-q", "--change", MODELS, tar.to_str().unwrap(), &reference];
        let answer = self.podman().await.run(&args, Duration::from_secs(60)).await.unwrap();
        String::from_utf8_lossy(&answer.stdout).trim().parse().unwrap()
    }

    /// Mounts left below the platform's directory.
    fn mounts(&self) -> Vec<PathBuf> {
        let base = self.dir.as_ref().unwrap().path().canonicalize().unwrap();
        let all = mounts::current().unwrap();
        all.into_iter().map(|mount| mount.point).filter(|point| point.starts_with(&base)).collect()
    }

    fn root_mounts(&self) -> usize {
        self.mounts()
            .iter()
            .filter(|point| point.starts_with(self.state().canonicalize().unwrap()))
            .count()
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        for point in self.mounts().iter().rev() {
            let _ = mounts::unmount(point, Duration::ZERO);
        }
        drop(self.dir.take());
    }
}

fn layer() -> WaltLayer {
    WaltLayer::new(Ipv4Addr::new(192, 168, 152, 1), "52:54:00:00:00:01")
}

/// A tree with busybox, and the directories every image has.
fn busybox_tree(at: &Path) {
    for dir in
        ["usr/bin", "etc/walt", "root", "boot/pc-x86-64", "boot/common", "proc", "dev", "tmp"]
    {
        std::fs::create_dir_all(at.join(dir)).unwrap();
    }
    std::fs::copy("/bin/busybox", at.join("usr/bin/busybox")).unwrap();
    for name in ["sh", "touch", "cat"] {
        symlink("busybox", at.join("usr/bin").join(name)).unwrap();
    }
    symlink("usr/bin", at.join("bin")).unwrap();
    std::fs::write(at.join("etc/hostname"), "old").unwrap();
    std::fs::write(at.join("etc/resolv.conf"), "nameserver 9.9.9.9\n").unwrap();
    std::fs::write(at.join("boot/common/vmlinuz"), "kernel").unwrap();
    symlink("/boot/common/vmlinuz", at.join("boot/pc-x86-64/kernel")).unwrap();
    std::fs::write(at.join("boot/pc-x86-64/start.ipxe"), "#!ipxe\nset server %(server_ip)s\n")
        .unwrap();
    let spec = "templates: [ /boot/pc-x86-64/start.ipxe ]\n\
        features: { ptp: 'touch /etc/ptp-enabled; cat /proc/net/dev | grep -c :', other: 'touch /etc/other' }\n";
    std::fs::write(at.join("etc/walt/image.spec"), spec).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn catalogue_follows_the_store() {
    let Some(platform) = Platform::new() else { return };
    let tree = platform.path("tree");
    busybox_tree(&tree);
    let id = platform.import(&tree, "alice/busy:latest").await;
    let catalogue = Catalogue::open(platform.podman().await).await.unwrap();

    let entry = catalogue.get("alice/busy:latest").unwrap();
    assert_eq!((entry.owner.as_str(), entry.user_name(), &entry.id), ("alice", "busy", &id));
    assert_eq!(entry.models, ["pc-x86-64", "qemu"]);
    assert_eq!(entry.layers, 1);
    assert!(entry.editable() && entry.size > 1000 && entry.created > 1_600_000_000, "{entry:?}");
    assert_eq!(catalogue.resolve("alice/busy:latest").await.unwrap(), id);
    let error = catalogue.resolve("alice/none:latest").await.unwrap_err().to_string();
    assert!(error.contains("alice/none:latest"), "{error}");

    // A person changes the store behind our back.
    let podman = platform.podman().await;
    for name in ["docker.io/bob/copy:v2", "localhost/walt/mounts:x", "localhost/unrelated:1"] {
        podman.run(&["tag", id.as_str(), name], Duration::from_secs(30)).await.unwrap();
    }
    let before = Instant::now();
    let names: Vec<String> = catalogue.current().await.unwrap().keys().cloned().collect();
    println!("list after a change: {:?}", before.elapsed());
    assert_eq!(names, ["alice/busy:latest", "bob/copy:v2"]);
    let before = Instant::now();
    catalogue.current().await.unwrap();
    println!("list without a change: {:?}", before.elapsed());
    assert!(before.elapsed() < Duration::from_millis(20));

    catalogue.tag(&id, "alice/other:latest").await.unwrap();
    assert!(catalogue.exists("alice/other:latest").await.unwrap());
    catalogue.untag("alice/other:latest").await.unwrap();
    assert!(!catalogue.exists("alice/other:latest").await.unwrap());
    assert!(catalogue.tag(&id, "--all").await.is_err());
    assert!(catalogue.exists("alice/busy:latest").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_is_made_once_used_again_and_released() {
    let Some(platform) = Platform::new() else { return };
    let tree = platform.path("tree");
    busybox_tree(&tree);
    let image = platform.import(&tree, "alice/busy:latest").await;
    let roots = Arc::new(platform.roots().await);
    assert!(matches!(platform.try_roots().await, Err(RootError::InUse(_))));

    let before = Instant::now();
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let (roots, image) = (roots.clone(), image.clone());
            tokio::spawn(async move { roots.ensure(&image, &layer()).await.unwrap() })
        })
        .collect();
    let mut made = Vec::new();
    for task in tasks {
        made.push(task.await.unwrap());
    }
    println!("five callers, one root: {:?}", before.elapsed());
    let root = made[0].clone();
    assert!(made.iter().all(|other| Arc::ptr_eq(other, &root)));
    assert_eq!(platform.root_mounts(), 1);
    drop(made);

    println!("{:#?}", root.report);
    let read = |path: &str| std::fs::read_to_string(root.dir.join(path)).unwrap();
    assert_eq!(read("etc/resolv.conf"), "\ndomain walt\nsearch walt.\nnameserver 192.168.152.1\n");
    assert_eq!(read("etc/resolv.conf.saved"), "nameserver 9.9.9.9\n");
    assert!(!root.dir.join("etc/hostname").exists());
    assert!(read("root/.ssh/authorized_keys").starts_with("ecdsa-sha2-nistp256 "));
    assert_eq!(
        std::fs::metadata(root.dir.join("etc/ssh/ssh_host_ecdsa_key")).unwrap().mode() & 0o7777,
        0o600
    );
    assert!(root.dir.join("etc/dropbear/dropbear_ecdsa_host_key").exists());
    assert_eq!(read("boot/pc-x86-64/start.ipxe"), "#!ipxe\nset server 192.168.152.1\n");
    assert_eq!(
        std::fs::read_link(root.dir.join("boot/pc-x86-64/kernel")).unwrap(),
        Path::new("../common/vmlinuz")
    );
    for file in walt_images::layer_files::FILES {
        let metadata = std::fs::metadata(root.dir.join(&file.path[1..])).unwrap();
        assert_eq!(metadata.mode() & 0o7777, file.mode, "{}", file.path);
    }
    assert!(read("bin/walt-env").contains(image.as_str()));
    // The feature the server has ran in the image, with nothing but a loopback; the other did not.
    assert!(root.dir.join("etc/ptp-enabled").exists() && !root.dir.join("etc/other").exists());
    assert!(
        root.report.done.iter().any(|done| done == "enabled feature ptp: 1\n"),
        "{:?}",
        root.report
    );
    assert_eq!(root.report.warnings, Vec::<String>::new());

    let mut kernel = String::new();
    let mut file = root.open_boot_file("pc-x86-64", "kernel").unwrap();
    std::io::Read::read_to_string(&mut file, &mut kernel).unwrap();
    assert_eq!(kernel, "kernel");
    drop(file);
    for (model, path) in [("pc-x86-64", "none"), ("..", "etc/hosts"), ("", "x"), ("pc-x86-64", "")]
    {
        assert!(root.open_boot_file(model, path).is_err(), "{model} {path}");
    }

    // A server that ends without releasing: the next one finds the mount and uses it.
    let inode = std::fs::metadata(root.dir.join("bin/walt-init")).map(|m| m.ino()).unwrap_or(0);
    drop(roots);
    let roots = platform.roots().await;
    assert!(roots.active().is_empty());
    let before = Instant::now();
    let adopted = roots.ensure(&image, &layer()).await.unwrap();
    println!("found again: {:?}", before.elapsed());
    assert_eq!(adopted.report, root.report);
    assert_eq!(
        inode,
        std::fs::metadata(adopted.dir.join("bin/walt-init")).map(|m| m.ino()).unwrap_or(0)
    );

    // Another layer is another root of the same image; both live side by side.
    let other_layer = WaltLayer { server_ip: Ipv4Addr::new(10, 0, 0, 1), ..layer() };
    let other = roots.ensure(&image, &other_layer).await.unwrap();
    assert_ne!(other.id, adopted.id);
    assert_eq!(platform.root_mounts(), 2);

    // The user's name goes away: the served image stays, until its last root is released.
    let podman = platform.podman().await;
    podman.run(&["rmi", "docker.io/alice/busy:latest"], Duration::from_secs(30)).await.unwrap();
    roots.release(other.id).await.unwrap();
    let exists = ["image", "exists", image.as_str()];
    podman.run(&exists, Duration::from_secs(30)).await.unwrap();
    assert!(adopted.dir.join("bin/busybox").exists());
    assert_eq!(roots.release_all().await.len(), 0);
    assert_eq!(platform.root_mounts(), 0);
    assert!(podman.run(&exists, Duration::from_secs(30)).await.is_err());
    let left: Vec<_> = std::fs::read_dir(platform.state().join("roots"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["lock"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_hide_what_is_below_them() {
    let Some(platform) = Platform::new() else { return };
    let tree = platform.path("tree");
    busybox_tree(&tree);
    std::fs::create_dir_all(tree.join("opt/kept")).unwrap();
    for name in ["opt/gone", "opt/changed", "opt/kept/file"] {
        std::fs::write(tree.join(name), "first").unwrap();
    }
    platform.import(&tree, "alice/base:latest").await;
    // Layers made by containers, as an image shell makes them.
    let podman = platform.podman().await;
    let second = Duration::from_secs(60);
    let mut below = "docker.io/alice/base:latest".to_owned();
    let changes =
        ["rm /opt/gone", "echo second > /opt/changed", "mv /opt/kept /opt/moved", "chown 7:8 /opt"];
    for (index, change) in changes.iter().enumerate() {
        let name = format!("step{index}");
        let run = ["run", "--network", "none", "--name", &name, &below, "/bin/busybox", "sh", "-c"];
        let command = format!("export PATH=/bin; busybox {change}");
        let command = if change.starts_with("echo") { (*change).to_owned() } else { command };
        podman.run(&[&run[..], &[&command]].concat(), second).await.unwrap();
        let above = format!("docker.io/alice/step{index}:latest");
        podman.run(&["commit", "-q", &name, &above], second).await.unwrap();
        podman.run(&["rm", &name], second).await.unwrap();
        below = above;
    }
    let catalogue = Catalogue::open(podman).await.unwrap();
    let entry = catalogue.get("alice/step3:latest").unwrap();
    assert_eq!(entry.layers, 5);
    assert_eq!(entry.models, ["pc-x86-64", "qemu"]);
    let roots = platform.roots().await;
    let root = roots.ensure(&entry.id, &layer()).await.unwrap();
    let opt = root.dir.join("opt");
    assert!(!opt.join("gone").exists() && !opt.join("kept").exists());
    assert_eq!(std::fs::read_to_string(opt.join("changed")).unwrap(), "second\n");
    assert_eq!(std::fs::read_to_string(opt.join("moved/file")).unwrap(), "first");
    let metadata = std::fs::metadata(&opt).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (7, 8));
    // The root directory looks as podman shows it: it has the attributes of the topmost layer.
    assert_eq!(std::fs::metadata(&root.dir).unwrap().mode() & 0o7777, 0o555);
    // Several images share layers and are mounted side by side.
    let base = catalogue.resolve("alice/base:latest").await.unwrap();
    let other = roots.ensure(&base, &layer()).await.unwrap();
    assert!(other.dir.join("opt/gone").exists());
    assert_eq!(roots.release_all().await.len(), 0);
    assert_eq!(platform.root_mounts(), 0);
    println!("mounts of podman itself: {:?}", platform.mounts());
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_links_stay_in_the_image() {
    let Some(platform) = Platform::new() else { return };
    let tree = platform.path("tree");
    std::fs::create_dir_all(tree.join("boot/pc-x86-64")).unwrap();
    std::fs::create_dir_all(tree.join("etc/walt")).unwrap();
    let treasure = platform.path("treasure");
    std::fs::create_dir_all(&treasure).unwrap();
    std::fs::write(treasure.join("file"), "gold").unwrap();
    symlink("/etc", tree.join("bin")).unwrap();
    symlink("../../../../../../../../etc/resolv.conf", tree.join("etc/resolv.conf")).unwrap();
    symlink(&treasure, tree.join("etc/ssh")).unwrap();
    symlink(&treasure, tree.join("root")).unwrap();
    symlink("/etc/passwd", tree.join("etc/hosts")).unwrap();
    symlink("/proc/self/root/etc", tree.join("usr")).unwrap();
    symlink(treasure.join("file"), tree.join("etc/template")).unwrap();
    symlink(treasure.join("file"), tree.join("boot/pc-x86-64/kernel")).unwrap();
    symlink("/proc/1/environ", tree.join("boot/pc-x86-64/environ")).unwrap();
    std::fs::write(
        tree.join("etc/walt/image.spec"),
        "templates: [ /etc/template, ../../../etc/passwd ]\n",
    )
    .unwrap();
    let watched = ["/etc/hosts", "/etc/resolv.conf", "/etc/passwd", "/etc/hostname"];
    let state = || -> BTreeMap<&str, Option<(u64, i64)>> {
        watched
            .iter()
            .map(|path| (*path, std::fs::metadata(path).ok().map(|m| (m.ino(), m.mtime_nsec()))))
            .collect()
    };
    let before = state();

    let image = platform.import(&tree, "mallory/evil:latest").await;
    let roots = platform.roots().await;
    let root = roots.ensure(&image, &layer()).await.unwrap();
    println!("{:#?}", root.report.warnings);
    assert_eq!(before, state());
    assert_eq!(std::fs::read_dir(&treasure).unwrap().count(), 1);
    assert_eq!(std::fs::read(treasure.join("file")).unwrap(), b"gold");
    for path in ["kernel", "environ", "../../../../../../../../etc/passwd"] {
        assert!(root.open_boot_file("pc-x86-64", path).is_err(), "{path}");
    }
    // /bin led to the image's own /etc: the scripts are there.
    for file in walt_images::layer_files::FILES {
        let inside = file.path.replacen("/bin/", "etc/", 1);
        assert!(root.dir.join(&inside).is_file(), "{inside}");
    }
    assert!(root.dir.join("etc/ssh/ssh_host_ecdsa_key").is_file());
    assert!(root.report.warnings.iter().any(|warning| warning.contains("authorized_keys")));
    assert_eq!(roots.release_all().await.len(), 0);
    assert_eq!(platform.root_mounts(), 0);
}

/// Every path the layer touches, as a link of every kind: out of the image, chains, loops.
#[tokio::test(flavor = "multi_thread")]
async fn links_of_every_kind_at_every_path() {
    let Some(platform) = Platform::new() else { return };
    let treasure = platform.path("treasure");
    std::fs::create_dir_all(treasure.join("dir")).unwrap();
    std::fs::write(treasure.join("file"), "gold").unwrap();
    let touched = [
        "etc/hosts",
        "etc/resolv.conf",
        "etc/hostname",
        "etc/localtime",
        "etc/ptpd.conf",
        "etc/ssh/ssh_host_ecdsa_key",
        "etc/dropbear/dropbear_ecdsa_host_key",
        "root/.ssh/authorized_keys",
        "usr/local/bin/walt-echo",
        "etc/template",
        "etc/walt/server.spec",
        "usr/bin/walt-init",
        "usr/bin/walt-env",
        "usr/bin/_walt_internal_/walt-rpc",
        "boot/pc-x86-64/kernel",
    ];
    let roots = platform.roots().await;
    let up = format!("../../../../../../../../../..{}", treasure.join("file").display());
    let out = treasure.join("file");
    for (number, target) in [out.to_str().unwrap(), &up, "/chain/1", "/loop/a"].iter().enumerate() {
        let tree = platform.path(&format!("tree{number}"));
        busybox_tree(&tree);
        std::fs::create_dir_all(tree.join("chain")).unwrap();
        std::fs::create_dir_all(tree.join("loop")).unwrap();
        for step in 1..60 {
            symlink(format!("/chain/../chain/{}", step + 1), tree.join(format!("chain/{step}")))
                .unwrap();
        }
        symlink(&out, tree.join("chain/60")).unwrap();
        symlink("b", tree.join("loop/a")).unwrap();
        symlink("/loop/a", tree.join("loop/b")).unwrap();
        for path in touched {
            std::fs::create_dir_all(tree.join(path).parent().unwrap()).unwrap();
            let _ = std::fs::remove_file(tree.join(path));
            symlink(target, tree.join(path)).unwrap();
        }
        std::fs::write(tree.join("etc/walt/image.spec"), "templates: [ /etc/template ]\n").unwrap();
        let image = platform.import(&tree, &format!("mallory/links{number}:latest")).await;
        let root = roots.ensure(&image, &layer()).await.unwrap();
        for file in walt_images::layer_files::FILES {
            let metadata = std::fs::symlink_metadata(root.dir.join(&file.path[1..])).unwrap();
            assert!(metadata.is_file(), "{target}: {}", file.path);
        }
        for path in ["etc/hosts", "etc/resolv.conf", "etc/ssh/ssh_host_ecdsa_key"] {
            let metadata = std::fs::symlink_metadata(root.dir.join(path)).unwrap();
            assert!(metadata.is_file(), "{target}: {path}");
        }
        assert!(
            root.report.warnings.iter().any(|w| w.contains("/etc/template")),
            "{:?}",
            root.report
        );
        assert!(root.open_boot_file("pc-x86-64", "kernel").is_err(), "{target}");
    }
    assert_eq!(roots.release_all().await.len(), 0);
    assert_eq!(platform.root_mounts(), 0);
    // Directories that lead out are no way for the files nodes need: the image is refused, with a reason.
    for (number, target) in [treasure.join("dir").to_str().unwrap(), "/loop"].iter().enumerate() {
        let tree = platform.path(&format!("dirs{number}"));
        busybox_tree(&tree);
        std::fs::remove_file(tree.join("bin")).unwrap();
        symlink(target, tree.join("bin")).unwrap();
        symlink("loop", tree.join("loop")).unwrap();
        let image = platform.import(&tree, &format!("mallory/dirs{number}:latest")).await;
        let error = roots.ensure(&image, &layer()).await.unwrap_err().to_string();
        assert!(error.contains("/bin/walt-"), "{error}");
    }
    assert_eq!(std::fs::read(&out).unwrap(), b"gold");
    assert_eq!(std::fs::read_dir(&treasure).unwrap().count(), 2);
    assert_eq!(std::fs::read_dir(treasure.join("dir")).unwrap().count(), 0);
}

/// A feature command that never ends, prints without end, and tries to get out.
#[tokio::test(flavor = "multi_thread")]
async fn feature_commands_are_contained() {
    let Some(platform) = Platform::new() else { return };
    let tree = platform.path("tree");
    busybox_tree(&tree);
    let marker = platform.path("escaped");
    let script = format!(
        "#!/bin/sh\nexport PATH=/bin\necho x >{0}; echo x >/proc/1/root{0}; echo x >/../..{0}\n\
         busybox mknod /etc/disk b 8 0 && echo made a device\nbusybox mount -t proc p /tmp && echo mounted\n\
         busybox chroot /proc/1/root /bin/busybox true && echo chrooted\nbusybox yes | busybox head -c 10000000\nexit 3\n",
        marker.display()
    );
    std::fs::write(tree.join("usr/bin/feature"), script).unwrap();
    std::fs::set_permissions(
        tree.join("usr/bin/feature"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    std::fs::write(tree.join("etc/walt/image.spec"), "features: { ptp: /usr/bin/feature }\n")
        .unwrap();
    let image = platform.import(&tree, "mallory/feature:latest").await;
    let roots = platform.roots().await;
    let root = roots.ensure(&image, &layer()).await.unwrap();
    let told: Vec<_> = root.report.warnings.iter().filter(|w| w.contains("feature ptp")).collect();
    assert_eq!(told.len(), 1, "{:?}", root.report);
    assert!(told[0].contains("exit status: 3") && told[0].len() < 4000, "{}", told[0]);
    for done in ["made a device", "mounted", "chrooted"] {
        assert!(!told[0].contains(done), "{}", told[0]);
    }
    assert!(!marker.exists());
    // The steps after it were carried out.
    assert!(root.dir.join("etc/walt/server.spec").is_file());
    assert_eq!(roots.release_all().await.len(), 0);
}

/// Not a test: the server that `a_killed_server_leaves_nothing_half_done` kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by another test"]
async fn victim() {
    let dir = PathBuf::from(std::env::var_os("VICTIM_DIR").unwrap());
    let store = Store::At { root: dir.join("store"), runroot: dir.join("run/store") };
    let podman = Podman::open(store, &dir.join("run"), CancellationToken::new()).await.unwrap();
    let keys = PlatformKeys::open(&dir.join("state")).await.unwrap();
    let roots = Roots::open(podman, dir.join("state"), keys).await.unwrap();
    let image: ImageId = std::env::var("VICTIM_IMAGE").unwrap().parse().unwrap();
    std::fs::write(dir.join("victim-started"), "").unwrap();
    roots.ensure(&image, &layer()).await.unwrap();
    std::fs::write(dir.join("victim-done"), "").unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_leaves_nothing_half_done() {
    let Some(platform) = Platform::new() else { return };
    let tree = platform.path("tree");
    busybox_tree(&tree);
    let image = platform.import(&tree, "alice/busy:latest").await;
    let (started, done) = (platform.path("victim-started"), platform.path("victim-done"));
    let mut interrupted = 0;
    for delay in [40, 60, 80, 100, 130, 160, 5000] {
        let _ = (std::fs::remove_file(&started), std::fs::remove_file(&done));
        let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "victim", "--ignored"])
            .env("VICTIM_DIR", platform.path(""))
            .env("VICTIM_IMAGE", image.as_str())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !started.exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        let deadline = Instant::now() + Duration::from_millis(delay);
        while !done.exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        let complete = done.exists();
        interrupted += usize::from(!complete);

        let roots = platform.roots().await;
        assert!(platform.root_mounts() <= 1);
        let root = roots.ensure(&image, &layer()).await.unwrap();
        println!(
            "killed after {delay} ms (complete: {complete}): {} warnings",
            root.report.warnings.len()
        );
        assert_eq!(root.report.warnings, Vec::<String>::new());
        assert_eq!(
            std::fs::read_to_string(root.dir.join("etc/resolv.conf.saved")).unwrap(),
            "nameserver 9.9.9.9\n"
        );
        assert!(root.dir.join("etc/ptp-enabled").exists());
        assert_eq!(platform.root_mounts(), 1);
        assert_eq!(roots.release_all().await.len(), 0);
        assert_eq!(platform.root_mounts(), 0);
    }
    assert!(interrupted >= 2, "the victim was never killed in the middle");
}

/// A layer made of a tar, put on an image whose layers came compressed and on one that did not.
#[tokio::test]
async fn an_image_gets_a_layer() {
    use walt_images::added_layer::{Note, add_layer};
    use walt_images::changes::{LayerWriter, Selection, Summary, layer_of};

    let Some(platform) = Platform::new() else { return };
    let tree = platform.path("tree");
    for name in ["etc", "dir", "gone"] {
        std::fs::create_dir_all(tree.join(name)).unwrap();
        std::fs::write(tree.join(name).join("old"), "old").unwrap();
    }
    let id = platform.import(&tree, "me/base:latest").await;
    let upper = platform.path("upper");
    let script = "mkdir -p dir etc new; echo new >dir/new; ln dir/new dir/same; mknod gone c 0 0
        mknod etc/old c 0 0; chown 12:34 dir/new; chmod 640 dir/new; touch -d @1000000000.5 dir/new
        setcap cap_net_raw+ep dir/new";
    std::fs::create_dir(&upper).unwrap();
    Command::new("sh").args(["-ec", script]).current_dir(&upper).run().await.unwrap();
    let tar = Command::new("tar")
        .args(["-cf", "-", "--format=posix", "--xattrs", "--xattrs-include=*", "-C"])
        .args([upper.to_str().unwrap(), "."]);
    let tar = tar.run().await.unwrap().stdout;

    let work = platform.path("work");
    std::fs::create_dir(&work).unwrap();
    let mut writer = LayerWriter::create(&work.join("layer")).unwrap();
    let mut summary = Summary::default();
    layer_of(&mut &*tar, &Selection::default(), &mut writer, &mut summary).unwrap();
    let layer = writer.finish().unwrap();
    assert_eq!((summary.removed, summary.changed), (2, 5));

    let podman = platform.podman().await;
    let note = Note { by: "test".into(), at: jiff::Timestamp::UNIX_EPOCH };
    let op = work.join("op");
    std::fs::create_dir(&op).unwrap();
    let tag = "localhost/walt/op:0123";
    let made = add_layer(&podman, &id, &layer, &note, &op, tag).await.unwrap();
    let args = ["image", "inspect", "--format", "{{.Id}}", tag];
    let answer = podman.run(&args, Duration::from_secs(60)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), made.as_str());

    let args = ["image", "mount", made.as_str()];
    let mounted = podman.run(&args, Duration::from_secs(60)).await.unwrap();
    let root = PathBuf::from(String::from_utf8_lossy(&mounted.stdout).trim());
    assert!(!root.join("gone").exists() && !root.join("etc/old").exists());
    assert!(root.join("dir/old").exists() && root.join("new").is_dir());
    let file = std::fs::metadata(root.join("dir/new")).unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (12, 34, 0o640));
    assert_eq!((file.mtime(), file.mtime_nsec()), (1_000_000_000, 500_000_000));
    assert_eq!(file.ino(), std::fs::metadata(root.join("dir/same")).unwrap().ino());
    let capability = Command::new("getcap").arg(root.join("dir/new")).run().await.unwrap();
    assert!(String::from_utf8_lossy(&capability.stdout).contains("cap_net_raw"));
    podman.run(&["image", "umount", "--all"], Duration::from_secs(60)).await.unwrap();
}

/// Podman that does not answer says nothing about a working copy.
#[tokio::test(flavor = "multi_thread")]
async fn a_working_copy_is_there_or_not_or_unknown() {
    use walt_images::session::Working;

    let Some(platform) = Platform::new() else { return };
    let tree = platform.path("tree");
    busybox_tree(&tree);
    let id = platform.import(&tree, "alice/busy:latest").await;
    let store = Store::At { root: platform.path("store"), runroot: platform.path("run/store") };
    let stopped = CancellationToken::new();
    let podman = Podman::open(store, &platform.path("run"), stopped.clone()).await.unwrap();
    let working = Working::create(&podman, "walt-session-0123", &id).await.unwrap();
    assert!(working.exists().await.unwrap());
    assert!(!Working::named(&podman, "walt-session-4567").exists().await.unwrap());
    working.remove().await.unwrap();
    assert!(!working.exists().await.unwrap());
    working.remove().await.unwrap();
    stopped.cancel();
    working.exists().await.unwrap_err();
    working.remove().await.unwrap_err();
}

/// Not a test: the server that `what_is_bound_ends_with_the_server` kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by another test"]
async fn bound_victim() {
    let seconds = std::env::var("VICTIM_SECONDS").unwrap();
    // From a thread that ends before the server does.
    let task = tokio::task::spawn_blocking(move || {
        let sleep = Command::new("sleep").arg(seconds).bound().deadline(Duration::from_secs(900));
        let work = async {
            tokio::select! { _ = sleep.run() => {}, () = std::future::pending() => {} }
        };
        tokio::runtime::Handle::current().spawn(work)
    });
    task.await.unwrap().await.unwrap();
}

#[test]
fn what_is_bound_ends_with_the_server() {
    let seconds = format!("987{}", std::process::id());
    let sleeping = || {
        std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            std::fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| line == format!("sleep\0{seconds}\0").as_bytes())
        })
    };
    let until = |wanted: bool| {
        let limit = Instant::now() + Duration::from_secs(30);
        while sleeping() != wanted {
            assert!(Instant::now() < limit, "running: {}", !wanted);
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "bound_victim", "--ignored"])
        .env("VICTIM_SECONDS", &seconds)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until(true);
    victim.kill().unwrap();
    victim.wait().unwrap();
    until(false);
}
