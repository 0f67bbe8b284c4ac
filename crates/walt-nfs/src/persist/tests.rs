#![allow(clippy::unwrap_used)]

use std::fs;

use super::*;
use crate::handle::{HandleKey, PersistObject};

fn tree(path: &Path, kernel_handles: bool) -> PersistTree {
    PersistTree { kernel_handles, ..PersistTree::open(path).unwrap() }
}

fn look_up(tree: &PersistTree, path: &str) -> PersistObject {
    let mut name = PersistObject::Root;
    for part in path.split('/') {
        let parent = tree.object(&name).unwrap();
        let object = Object::of(open_path(parent.fd.as_fd(), part).unwrap()).unwrap();
        name = tree.name_of(&object, &parent, part.as_bytes()).unwrap();
    }
    name
}

/// Names given before a restart (another `PersistTree`) and a rename still lead to the file.
fn names_last(base: &Path, kernel_handles: bool) {
    let dir = tempfile::tempdir_in(base).unwrap();
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    fs::write(dir.path().join("a/b/file"), b"x").unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("a/link")).unwrap();
    let before = tree(dir.path(), kernel_handles);
    let file = look_up(&before, "a/b/file");
    let link = look_up(&before, "a/link");
    let directory = look_up(&before, "a/b");
    assert_eq!(before.object(&file).unwrap().attributes.kind, ftype3::NF3REG);
    let key = HandleKey::new(&[0; 32]);
    assert!(key.persist(&PersistId::derive("x"), true, &file).len() <= 64);

    let after = tree(dir.path(), kernel_handles);
    assert_eq!(after.object(&file).unwrap().attributes.size, 1);
    assert_eq!(after.object(&link).unwrap().attributes.kind, ftype3::NF3LNK);
    assert!(after.object(&directory).unwrap().is_directory());
    fs::rename(dir.path().join("a/b"), dir.path().join("moved")).unwrap();
    let after = tree(dir.path(), kernel_handles);
    assert_eq!(after.object(&file).unwrap().attributes.size, 1);
    assert_eq!(after.resolve("moved").unwrap(), directory);

    fs::remove_file(dir.path().join("moved/file")).unwrap();
    assert_eq!(after.object(&file).err(), Some(nfsstat3::NFS3ERR_STALE));
}

#[test]
fn names_last_with_kernel_handles() {
    let dir = tempfile::tempdir().unwrap();
    if PersistTree::open(dir.path()).unwrap().kernel_handles {
        names_last(dir.path(), true);
    } else {
        eprintln!("this file system or user has no kernel handles: not tested");
    }
}

#[test]
fn names_last_with_inode_numbers() {
    names_last(&std::env::temp_dir(), false);
}

#[test]
fn names_last_in_memory() {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() {
        names_last(shm, false);
        if PersistTree::open(shm).unwrap().kernel_handles {
            names_last(shm, true);
        }
    }
}

#[test]
fn a_replaced_directory_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p");
    let trees = PersistTrees::default();
    let id = PersistId::derive("p");
    assert_eq!(trees.tree(&id, &path).err(), Some(nfsstat3::NFS3ERR_STALE));
    fs::create_dir(&path).unwrap();
    let first = trees.tree(&id, &path).unwrap();
    assert!(Arc::ptr_eq(&first, &trees.tree(&id, &path).unwrap()));
    fs::rename(&path, dir.path().join("old")).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(!Arc::ptr_eq(&first, &trees.tree(&id, &path).unwrap()));
}
