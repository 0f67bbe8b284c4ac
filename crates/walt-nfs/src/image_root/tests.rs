#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::create_dir(root.join("etc")).unwrap();
    fs::write(root.join("usr/bin/su"), b"setuid").unwrap();
    fs::set_permissions(root.join("usr/bin/su"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(root.join("usr/bin/su"), root.join("etc/su-too")).unwrap();
    symlink("usr/bin", root.join("bin")).unwrap();
    symlink("/usr", root.join("etc/absolute")).unwrap();
    symlink("../../../../etc", root.join("usr/up")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    dir
}

fn open(dir: &Path) -> ImageRoot {
    ImageRoot::open(RootId::derive("t"), &dir.join("tree"), &dir.join("state/index")).unwrap()
}

#[test]
fn attributes_are_those_of_the_tree() {
    let dir = tree();
    let image = open(dir.path());
    let index = image.index();
    for path in ["", "usr", "etc/su-too", "etc"] {
        let node = image.resolve(path.as_bytes()).unwrap();
        let real = fs::symlink_metadata(dir.path().join("tree").join(path)).unwrap();
        assert_eq!(index.mode(node), real.mode() & 0o7777, "{path}");
        assert_eq!(index.uid(node), real.uid());
        assert_eq!(index.gid(node), real.gid());
        assert_eq!(index.size(node), real.size());
        assert_eq!(index.path(node), path.as_bytes());
    }
}

#[test]
fn hard_links_share_a_node() {
    let dir = tree();
    let image = open(dir.path());
    assert_eq!(image.resolve(b"usr/bin/su").unwrap(), image.resolve(b"etc/su-too").unwrap());
}

#[test]
fn paths_follow_links_inside_the_tree() {
    let dir = tree();
    let image = open(dir.path());
    let su = image.resolve(b"usr/bin/su").unwrap();
    assert_eq!(image.resolve(b"/bin/./su"), Some(su));
    assert_eq!(image.resolve(b"etc/absolute/bin/su"), Some(su));
    assert_eq!(image.resolve(b"usr/up/su-too"), Some(su));
    assert_eq!(image.resolve(b"../../usr/bin/su"), Some(su));
    assert_eq!(image.resolve(b"loop"), None);
    assert_eq!(image.resolve(b"usr/bin/su/x"), None);
    assert_eq!(image.resolve(b"nothing"), None);
}

#[test]
fn files_are_read() {
    let dir = tree();
    let image = open(dir.path());
    let su = image.resolve(b"bin/su").unwrap();
    let read = |offset, count| {
        let mut out = b">".to_vec();
        image.read(su, offset, count, &mut out).unwrap();
        out
    };
    assert_eq!(read(0, 16), b">setuid");
    assert_eq!(read(3, 2), b">ui");
    assert_eq!(read(99, 16), b">");
}

#[test]
fn the_index_is_kept_and_a_damaged_one_is_made_again() {
    let dir = tree();
    let first = open(dir.path());
    let file = store::file(&first.id(), &dir.path().join("state/index"));
    let written = fs::metadata(&file).unwrap().modified().unwrap();
    let sound = fs::read(&file).unwrap();
    assert_eq!(open(dir.path()).files(), first.files());
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), written);

    for at in [0, 10, 25, 130, sound.len() - 1] {
        let mut damaged = sound.clone();
        damaged[at] ^= 1;
        fs::write(&file, &damaged).unwrap();
        assert!(matches!(store::load(first.id(), &file), Err(ImageRootError::BadIndex { .. })));
    }
    fs::write(&file, &sound[..sound.len() / 2]).unwrap();
    assert_eq!(open(dir.path()).files(), first.files());
    assert!(fs::read(&file).unwrap() == sound, "a walk is repeatable");
    ImageRoot::remove_index(&first.id(), &dir.path().join("state/index")).unwrap();
    assert!(!file.exists());
}

#[test]
fn a_tree_swapped_for_links_is_not_read() {
    let dir = tree();
    let image = open(dir.path());
    let su = image.resolve(b"bin/su").unwrap();
    let path = dir.path().join("tree").join("etc/su-too");
    fs::remove_file(&path).unwrap();
    fs::remove_file(dir.path().join("tree/usr/bin/su")).unwrap();
    symlink("/etc/passwd", &path).unwrap();
    symlink("/etc/passwd", dir.path().join("tree/usr/bin/su")).unwrap();
    assert!(image.read(su, 0, 16, &mut Vec::new()).is_err());
}
