//! Image roots, seen by our own client and by the tools of libnfs.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use common::*;
use nfs3_types::mount::{mountres3, mountstat3};
use nfs3_types::nfs3::*;
use nfs3_types::xdr_codec::Opaque;
use walt_nfs::NfsEvent;

struct Place {
    dir: tempfile::TempDir,
    shelf: Arc<Shelf>,
    server: TestServer,
}

fn serve(make: impl FnOnce(&Path)) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    make(&tree);
    let shelf = Arc::new(Shelf::default().with_image("/image", &tree, dir.path()));
    let server = TestServer::start(shelf.clone());
    Place { dir, shelf, server }
}

fn compare(client: &mut Client, handle: &nfs_fh3, path: &Path, seen: &mut BTreeMap<u64, u64>) {
    let real = fs::symlink_metadata(path).unwrap();
    let attr = client.getattr(handle).unwrap();
    assert_eq!(attr.mode, real.mode() & 0o7777, "{path:?}");
    assert_eq!(attr.nlink, real.nlink() as u32, "{path:?}");
    assert_eq!((attr.uid, attr.gid), (real.uid(), real.gid()));
    assert_eq!(attr.size, real.size(), "{path:?}");
    assert_eq!(attr.mtime.seconds, real.mtime() as u32);
    assert_eq!(attr.mtime.nseconds, real.mtime_nsec() as u32);
    let known = seen.entry(real.ino()).or_insert(attr.fileid);
    assert_eq!(*known, attr.fileid, "hard links have one file id: {path:?}");
    match attr.type_ {
        ftype3::NF3DIR => {
            let mut real: Vec<_> = fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().as_bytes().to_vec())
                .collect();
            real.sort();
            let entries = client.list(handle, 4096);
            let mut names: Vec<_> = entries.iter().map(|e| e.name.as_ref().to_vec()).collect();
            names.sort();
            assert_eq!(names, real, "{path:?}");
            for entry in entries {
                let name = std::str::from_utf8(entry.name.as_ref()).unwrap();
                let child = client.lookup(handle, name).unwrap();
                assert_eq!(entry.name_handle, Nfs3Option::Some(child.clone()));
                assert_eq!(entry.name_attributes.unwrap().fileid, entry.fileid);
                compare(client, &child, &path.join(name), seen);
            }
        }
        ftype3::NF3LNK => {
            let target = fs::read_link(path).unwrap();
            assert_eq!(client.readlink(handle), target.as_os_str().as_bytes());
        }
        ftype3::NF3REG => {
            let bytes = client.read(handle, 0, 1 << 20).unwrap();
            assert!(bytes == fs::read(path).unwrap(), "{path:?}");
        }
        _ => {}
    }
}

#[test]
fn the_tree_is_that_of_the_directory() {
    let place = serve(make_tree);
    let mut client = Client::connect(place.server.address);
    let root = client.mount("/image");
    compare(&mut client, &root, &place.dir.path().join("tree"), &mut BTreeMap::new());
    let su = client.walk(&root, "usr/bin/su").unwrap();
    assert_eq!(client.getattr(&su).unwrap().mode, 0o4755, "setuid is kept");
}

#[test]
fn libnfs_sees_the_same_names_and_sizes() {
    let place = serve(make_tree);
    let listing = libnfs("nfs-ls", &["-R", &place.server.url("/image")]);
    let listing = String::from_utf8(listing).unwrap();
    let tree = place.dir.path().join("tree");
    let mut expected = Vec::new();
    let mut todo = vec![tree.clone()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let real = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(&tree).unwrap().to_str().unwrap();
            expected.push((name.to_owned(), real.size()));
            if real.is_dir() {
                todo.push(path);
            }
        }
    }
    for (name, size) in &expected {
        let line = listing.lines().find(|line| line.ends_with(&format!(" {name}")));
        let line = line.unwrap_or_else(|| panic!("{name} is not in the listing:\n{listing}"));
        assert!(line.split_whitespace().any(|w| w == size.to_string()), "{line}");
    }
    assert_eq!(listing.lines().count(), expected.len());
    assert_eq!(libnfs("nfs-cat", &[&place.server.url("/image/etc/os-release")]), b"ID=test\n");
}

#[test]
fn large_directories_come_in_pages() {
    let place = serve(|root| {
        for n in 0..5000 {
            fs::write(root.join(format!("entry-{n}")), b"").unwrap();
        }
    });
    let mut client = Client::connect(place.server.address);
    let root = client.mount("/image");
    for maxcount in [512, 4096, 65_536, 1 << 20] {
        let names: std::collections::BTreeSet<Vec<u8>> = client
            .list(&root, maxcount)
            .into_iter()
            .map(|entry| entry.name.as_ref().to_vec())
            .collect();
        assert_eq!(names.len(), 5000, "pages of {maxcount} bytes");
    }
    // READDIR too, with pages that hold a few names.
    let (mut cookie, mut count) = (0, 0);
    loop {
        let args = READDIR3args {
            dir: root.clone(),
            cookie,
            cookieverf: cookieverf3::default(),
            count: 1024,
        };
        let results = client.raw(NFS, 3, NFS_PROGRAM::NFSPROC3_READDIR as u32, &args);
        assert!(results.len() <= 1028);
        let page = decode::<READDIR3res<'static>>(&results).unwrap();
        let entries = page.reply.entries.into_inner();
        count += entries.len();
        cookie = entries.last().map_or(cookie, |entry| entry.cookie);
        if page.reply.eof {
            break;
        }
    }
    assert_eq!(count, 5002);
    assert_eq!(client.page(&root, 0, 100, 100).err(), Some(nfsstat3::NFS3ERR_TOOSMALL));
    assert!(client.page(&root, u64::MAX, 4096, 4096).unwrap().1, "past the end");
    let listing = libnfs("nfs-ls", &[&place.server.url("/image")]);
    assert_eq!(listing.split(|byte| *byte == b'\n').count() - 1, 5000);
}

#[test]
fn a_large_file_is_read_whole() {
    let mut state = 1_u32;
    let content: Vec<u8> = (0..50_000_001)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    let place = serve(|root| fs::write(root.join("large"), &content).unwrap());
    let copy = place.dir.path().join("copy");
    libnfs("nfs-cp", &[&place.server.url("/image/large"), copy.to_str().unwrap()]);
    assert!(fs::read(copy).unwrap() == content, "libnfs");
    let mut client = Client::connect(place.server.address);
    let root = client.mount("/image");
    let file = client.lookup(&root, "large").unwrap();
    for (offset, count) in [(0, 1 << 20), (49_999_999, 4096), (50_000_001, 10), (17, 70_000)] {
        let end = (offset + count).min(content.len());
        let bytes = client.read(&file, offset as u64, count as u32).unwrap();
        assert!(bytes == content[offset..end], "{offset}");
    }
    assert!(client.read(&file, u64::MAX, 10).unwrap().is_empty());
}

#[test]
fn nothing_can_be_changed() {
    let place = serve(make_tree);
    let mut client = Client::connect(place.server.address);
    let root = client.mount("/image");
    let file = client.walk(&root, "etc/os-release").unwrap();
    let rofs = nfsstat3::NFS3ERR_ROFS;
    let setattr: SETATTR3res = client.call(
        NFS_PROGRAM::NFSPROC3_SETATTR,
        &SETATTR3args {
            object: file.clone(),
            new_attributes: sattr3::default(),
            guard: sattrguard3::None,
        },
    );
    assert!(matches!(setattr, SETATTR3res::Err((s, _)) if s == rofs));
    let write: WRITE3res = client.call(
        NFS_PROGRAM::NFSPROC3_WRITE,
        &WRITE3args {
            file: file.clone(),
            offset: 0,
            count: 1,
            stable: stable_how::UNSTABLE,
            data: Opaque::borrowed(b"x"),
        },
    );
    assert!(matches!(write, WRITE3res::Err((s, _)) if s == rofs));
    let create: CREATE3res = client.call(
        NFS_PROGRAM::NFSPROC3_CREATE,
        &CREATE3args { where_: entry(&root, "new"), how: createhow3::UNCHECKED(sattr3::default()) },
    );
    assert!(matches!(create, CREATE3res::Err((s, _)) if s == rofs));
    let remove: REMOVE3res =
        client.call(NFS_PROGRAM::NFSPROC3_REMOVE, &REMOVE3args { object: entry(&root, "bin") });
    assert!(matches!(remove, REMOVE3res::Err((s, _)) if s == rofs));
    let rename: RENAME3res = client.call(
        NFS_PROGRAM::NFSPROC3_RENAME,
        &RENAME3args { from: entry(&root, "bin"), to: entry(&root, "nib") },
    );
    assert!(matches!(rename, RENAME3res::Err((s, _)) if s == rofs));
    let link: LINK3res =
        client.call(NFS_PROGRAM::NFSPROC3_LINK, &LINK3args { file, link: entry(&root, "other") });
    assert!(matches!(link, LINK3res::Err((s, _)) if s == rofs));
}

fn access(client: &mut Client, object: &nfs_fh3) -> u32 {
    let args = ACCESS3args { object: object.clone(), access: 0x3f };
    let res: ACCESS3res = client.call(NFS_PROGRAM::NFSPROC3_ACCESS, &args);
    res.unwrap().access
}

#[test]
fn access_follows_modes_and_credentials() {
    let place = serve(make_tree);
    let mut root_user = Client::connect(place.server.address);
    let mut user = Client::connect(place.server.address).acting_as(1000, 1000, &[]);
    let root = root_user.mount("/image");
    let secret = root_user.walk(&root, "usr/bin/secret").unwrap();
    let su = root_user.walk(&root, "usr/bin/su").unwrap();
    assert_eq!(access(&mut root_user, &secret), ACCESS3_READ);
    assert_eq!(access(&mut root_user, &su), ACCESS3_READ | ACCESS3_EXECUTE);
    assert_eq!(access(&mut user, &su), ACCESS3_READ | ACCESS3_EXECUTE);
    assert_eq!(access(&mut user, &secret), 0);
    assert_eq!(access(&mut user, &root), ACCESS3_READ | ACCESS3_LOOKUP);
    assert_eq!(user.read(&secret, 0, 10), Err(nfsstat3::NFS3ERR_ACCES));
    assert_eq!(root_user.read(&secret, 0, 10).unwrap(), b"secret");
}

#[test]
fn no_extended_access_lists() {
    let place = serve(make_tree);
    let mut client = Client::connect(place.server.address);
    let root = client.mount("/image");
    assert!(client.raw(NFSACL, 3, 0, &nfs3_types::xdr_codec::Void).is_empty());
    let args = ACCESS3args { object: root, access: 0xf };
    let results = client.raw(NFSACL, 3, 1, &args);
    assert_eq!(results[..8], [0, 0, 0, 0, 0, 0, 0, 1]);
    let tail = &results[8 + 84..];
    assert_eq!(tail, [[0, 0, 0, 0xf], [0; 4], [0; 4], [0; 4], [0; 4]].concat());
}

#[test]
fn dots_stay_inside() {
    let place = serve(make_tree);
    let mut client = Client::connect(place.server.address);
    let root = client.mount("/image");
    assert_eq!(client.lookup(&root, "..").unwrap(), root);
    assert_eq!(client.lookup(&root, ".").unwrap(), root);
    let bin = client.walk(&root, "usr/bin").unwrap();
    assert_eq!(client.walk(&bin, "../..").unwrap(), root);
    for name in ["etc/os-release", "../tree", "", "nothing"] {
        assert_eq!(client.lookup(&root, name), Err(nfsstat3::NFS3ERR_NOENT));
    }
    let long = "x".repeat(256);
    assert_eq!(client.lookup(&root, &long), Err(nfsstat3::NFS3ERR_NAMETOOLONG));
    let file = client.walk(&root, "etc/os-release").unwrap();
    assert_eq!(client.lookup(&file, "x"), Err(nfsstat3::NFS3ERR_NOTDIR));
    assert_eq!(client.read(&bin, 0, 1), Err(nfsstat3::NFS3ERR_ISDIR));
}

#[test]
fn mounts_are_granted_or_denied_and_observed() {
    let place = serve(make_tree);
    let mut client = Client::connect(place.server.address);
    let status = |result| match result {
        mountres3::Err(status) => status as u32,
        mountres3::Ok(_) => 0,
    };
    let noent = mountstat3::MNT3ERR_NOENT as u32;
    assert_eq!(status(client.try_mount("/other")), noent);
    assert_eq!(status(client.try_mount("/image/nothing")), noent);
    assert_eq!(status(client.try_mount("/forbidden")), mountstat3::MNT3ERR_ACCES as u32);
    assert_eq!(
        status(client.try_mount("/image/etc/os-release")),
        mountstat3::MNT3ERR_NOTDIR as u32
    );
    let root = client.mount("/image/");
    let etc = client.lookup(&root, "etc").unwrap();
    assert_eq!(client.mount("/image/usr/absolute"), etc, "links are followed");
    client.mount("/image");
    let file = client.lookup(&etc, "os-release").unwrap();
    client.lookup(&etc, "os-release").unwrap();
    client.read(&file, 0, 1).unwrap();
    let observed = place.shelf.observed.lock().unwrap();
    let kinds: Vec<_> = observed
        .iter()
        .map(|o| match &o.event {
            NfsEvent::MountGranted { path, .. } => format!("granted {path}"),
            NfsEvent::MountDenied { path, .. } => format!("denied {path}"),
            NfsEvent::Unmounted { path } => format!("unmounted {path}"),
            NfsEvent::FirstLookup { .. } => "lookup".to_owned(),
            NfsEvent::FirstRead { .. } => "read".to_owned(),
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "denied /other",
            "denied /image/nothing",
            "denied /forbidden",
            "denied /image/etc/os-release",
            "granted /image/",
            "lookup",
            "granted /image/usr/absolute",
            "granted /image",
            "read",
        ]
    );
}

#[test]
fn handles_survive_a_restart_and_cannot_be_forged() {
    let place = serve(make_tree);
    let mut client = Client::connect(place.server.address);
    let root = client.mount("/image");
    let file = client.walk(&root, "etc/os-release").unwrap();
    for at in 0..file.data.len() {
        let mut bytes = file.data.to_vec();
        bytes[at] ^= 0x10;
        let forged = nfs_fh3 { data: Opaque::owned(bytes) };
        let refused = client.getattr(&forged).unwrap_err();
        assert!(matches!(refused, nfsstat3::NFS3ERR_BADHANDLE | nfsstat3::NFS3ERR_STALE));
    }
    let foreign = nfs_fh3 { data: Opaque::owned(vec![1; 20]) };
    assert_eq!(client.getattr(&foreign).err(), Some(nfsstat3::NFS3ERR_BADHANDLE));

    let address = place.server.stop();
    let again =
        Shelf::default().with_image("/image", &place.dir.path().join("tree"), place.dir.path());
    let server = TestServer::start_at(Arc::new(again), address);
    let mut client = Client::connect(server.address);
    assert_eq!(client.read(&file, 0, 100).unwrap(), b"ID=test\n");
    drop(server);

    let server = TestServer::start(Arc::new(Shelf::default()));
    let mut client = Client::connect(server.address);
    assert_eq!(
        client.getattr(&file).err(),
        Some(nfsstat3::NFS3ERR_STALE),
        "a root that is no longer served"
    );
}
