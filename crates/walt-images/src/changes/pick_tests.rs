#![allow(clippy::unwrap_used)]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::changes::Layer;

/// A directory as the upper directory of a node has it, by a shell script that makes it.
fn upper(script: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let upper = dir.path().join("upper");
    std::fs::create_dir(&upper).unwrap();
    let status = Command::new("sh").arg("-ec").arg(script).current_dir(&upper).status().unwrap();
    assert!(status.success());
    (dir, upper)
}

/// The tar a node with GNU tar sends.
fn tar(upper: &Path) -> Vec<u8> {
    let output = Command::new("tar")
        .args(["-c", "-f", "-", "--format=posix", "--numeric-owner", "--xattrs"])
        .args(["--xattrs-include=*", "--sort=name", "-C"])
        .arg(upper)
        .arg(".")
        .output()
        .unwrap();
    assert!(output.status.success());
    output.stdout
}

fn layer(dir: &Path, tar: &[u8], selection: &Selection) -> Result<(Layer, Summary), ChangesError> {
    let mut writer = LayerWriter::create(&dir.join("layer.tar"))?;
    let mut summary = Summary::default();
    layer_of(&mut &*tar, selection, &mut writer, &mut summary)?;
    Ok((writer.finish()?, summary))
}

fn names(layer: &Layer) -> Vec<String> {
    let output =
        Command::new("tar").args(["-t", "--quoting-style=literal", "-f"]).arg(&layer.path).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|name| name.trim_end_matches('/').to_owned()).collect()
}

#[test]
fn removed_replaced_linked_and_odd() {
    let script = "
        mkdir -p etc/a etc/empty usr/bin/_walt_internal_ var/log/app root
        mknod etc/gone c 0 0
        ln etc/gone etc/gone-too
        echo 1 >etc/a/one
        ln etc/a/one etc/a/two
        ln -s /etc/passwd etc/a/link
        mkfifo etc/fifo
        mknod etc/null c 1 3
        echo x >usr/bin/_walt_internal_/x
        echo x >var/log/app/log
        echo x >root/'a
b é'
        echo x >root/Cargo.lock
        : >root/x.lock
        : >root/.wh.odd
        chown 1234:5678 etc/a/one
        chmod 4755 etc/a/one
        python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"etc/socket\")'";
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let (dir, upper) = upper(script);
    let (layer, summary) = layer(dir.path(), &tar(&upper), &Selection::default()).unwrap();
    let names = names(&layer);
    let expected = [
        "etc",
        "etc/a",
        "etc/a/link",
        "etc/a/one",
        "etc/a/two",
        "etc/empty",
        "etc/.wh.gone",
        "etc/.wh.gone-too",
        "root",
        "root/Cargo.lock",
        "root/a",
        "b é",
        "usr",
        "usr/bin",
        "var",
        "var/log",
        "var/log/app",
    ];
    let mut sorted: Vec<&str> = names.iter().map(|name| name.trim_end_matches('/')).collect();
    sorted.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(sorted, expected);
    assert_eq!((summary.removed, summary.skipped), (2, 3), "{summary:?}");
    let listing =
        Command::new("tar").args(["-tv", "--numeric-owner", "-f"]).arg(&layer.path).output();
    let listing = String::from_utf8(listing.unwrap().stdout).unwrap();
    assert!(listing.contains("-rwsr-xr-x 1234/5678"), "{listing}");
    assert!(listing.contains("etc/a/two link to etc/a/one"), "{listing}");
}

#[test]
fn what_the_boot_made_is_left_out() {
    let (dir, upper) = upper("mkdir -p etc old/sub; echo boot >etc/boot; echo boot >old/sub/x");
    let tar_of = |path: &Path| tar(path);
    std::thread::sleep(std::time::Duration::from_millis(50));
    let marker = dir.path().join("ready");
    std::fs::write(&marker, "").unwrap();
    let ready = std::fs::metadata(&marker).unwrap();
    use std::os::unix::fs::MetadataExt;
    let since = (ready.mtime(), u32::try_from(ready.mtime_nsec()).unwrap());
    std::thread::sleep(std::time::Duration::from_millis(50));
    std::fs::write(upper.join("etc/user"), "x").unwrap();
    symlink("user", upper.join("etc/link")).unwrap();
    // An old date is no old change.
    let dated =
        Command::new("touch").args(["-d", "2001-01-01"]).arg(upper.join("etc/user")).status();
    assert!(dated.unwrap().success());
    let selection = Selection { since: Some(since), ..Selection::default() };
    let (layer, summary) = layer(dir.path(), &tar_of(&upper), &selection).unwrap();
    assert_eq!(names(&layer), ["etc", "etc/link", "etc/user"]);
    assert_eq!((summary.changed, summary.removed), (3, 0));
}

#[test]
fn a_tar_that_ends_early_or_lies_makes_no_layer() {
    let (dir, upper) = upper("mkdir etc; head -c 100000 /dev/zero >etc/zero");
    let whole = tar(&upper);
    for (index, end) in [0, 100, 512, 5_000, 60_000].into_iter().enumerate() {
        let dir = dir.path().join(index.to_string());
        std::fs::create_dir(&dir).unwrap();
        let error = layer(&dir, &whole[..end], &Selection::default()).unwrap_err();
        assert!(matches!(error, ChangesError::Read(_)), "{end}: {error}");
    }
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.as_ustar_mut().unwrap().name[..10].copy_from_slice(b"../escaped");
    header.set_size(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_cksum();
    builder.append(&header, &[][..]).unwrap();
    let error = layer(dir.path(), &builder.into_inner().unwrap(), &Selection::default());
    assert!(matches!(error, Err(ChangesError::Malformed(_))));
}

#[test]
fn directories_that_hide_the_image_are_taken_whole() {
    // Attributes of the overlay cannot be set on every file system: the tar is written here.
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LayerWriter::create(&dir.path().join("in.tar")).unwrap();
    let old = (1000, 0);
    let folder = |path: &str, mtime, opaque: bool| Entry {
        path: path.into(),
        kind: b'5',
        mode: 0o755,
        mtime,
        ctime: Some(mtime),
        xattrs: if opaque { vec![(OPAQUE.to_vec(), b"y".to_vec())] } else { Vec::new() },
        ..Entry::default()
    };
    let file = |path: &str| Entry {
        path: path.into(),
        kind: b'0',
        mode: 0o644,
        mtime: old,
        ctime: Some(old),
        ..Entry::default()
    };
    for entry in [
        folder("new", (3000, 0), true),
        file("new/before"),
        folder("old", old, true),
        file("old/before"),
        folder("plain", old, false),
    ] {
        writer.add(&entry, &mut std::io::empty()).unwrap();
    }
    let tar = std::fs::read(writer.finish().unwrap().path).unwrap();
    let hidden = HashMap::from([(b"plain".to_vec(), vec![b"x".to_vec()])]);
    // The tar has no ctime: what is known beside it counts.
    let changed = ["new/before", "old", "old/before", "plain"];
    let changed = changed.iter().map(|path| (path.as_bytes().to_vec(), 1000)).collect();
    let selection = Selection { since: Some((2000, 0)), changed, hidden, ..Selection::default() };
    let (layer, summary) = layer(dir.path(), &tar, &selection).unwrap();
    assert_eq!(names(&layer), ["new", "new/.wh..wh..opq", "new/before", "plain", "plain/.wh.x"]);
    assert_eq!(summary.removed, 2);
}

#[test]
fn references_of_the_overlay_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LayerWriter::create(&dir.path().join("in.tar")).unwrap();
    let entry = Entry {
        path: b"moved".to_vec(),
        kind: b'5',
        xattrs: vec![(INDIRECT[0].to_vec(), b"/etc".to_vec())],
        ..Entry::default()
    };
    writer.add(&entry, &mut std::io::empty()).unwrap();
    let tar = std::fs::read(writer.finish().unwrap().path).unwrap();
    let error = layer(dir.path(), &tar, &Selection::default()).unwrap_err();
    assert!(matches!(error, ChangesError::Unfit(_)));
}

#[test]
fn paths_that_fill_the_memory_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = LayerWriter::create(&dir.path().join("in.tar")).unwrap();
    for number in 0..100 {
        let path = format!("{number:0200}").into_bytes();
        let entry = Entry { path, kind: b'0', ..Entry::default() };
        writer.add(&entry, &mut std::io::empty()).unwrap();
    }
    let tar = std::fs::read(writer.finish().unwrap().path).unwrap();
    let within = |most: usize| {
        let mut writer = LayerWriter::create(&dir.path().join(format!("layer-{most}"))).unwrap();
        let (selection, mut summary) = (Selection::default(), Summary::default());
        layer_within(most, &mut &*tar, &selection, &mut writer, &mut summary)
    };
    within(20_000).unwrap();
    assert!(matches!(within(19_999), Err(ChangesError::TooLarge(_))));
}
