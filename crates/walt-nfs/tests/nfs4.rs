//! NFSv4 on the wire: what is read, and what is refused.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use common::nfs4::{Ops, op};
use common::*;
use walt_nfs::NfsEvent;

const IMAGE: &str = "/nodes/one/fs";
const ROFS: u32 = 30;
const BADXDR: u32 = 10_036;

struct Place {
    dir: tempfile::TempDir,
    shelf: Arc<Shelf>,
    server: TestServer,
}

fn serve() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    make_tree(&tree);
    let persist = dir.path().join("persist");
    fs::create_dir(&persist).unwrap();
    let shelf = Shelf::default().with_image(IMAGE, &tree, dir.path());
    let shelf = Arc::new(shelf.with_persist("/nodes/one/persist", &persist, true));
    let server = TestServer::start(shelf.clone());
    Place { dir, shelf, server }
}

impl Place {
    fn client(&self) -> Client {
        Client::connect(self.server.address)
    }
}

fn handle_of(client: &mut Client, path: &str) -> Vec<u8> {
    let path = format!("{IMAGE}{path}");
    let lookups = path.split('/').filter(|name| !name.is_empty()).count();
    client.compound(0, &Ops::root().walk(&path).handle()).walked(lookups).handle()
}

/// type, size, fsid, fileid, mode, numlinks, owner, owner_group, time_modify
const SEEN: [u32; 9] = [1, 4, 8, 20, 33, 35, 36, 37, 53];

/// Compares a file with the real one; its directory told the same of it.
fn compare(client: &mut Client, handle: &[u8], path: &Path, seen: &mut BTreeMap<u64, u64>) {
    let real = fs::symlink_metadata(path).unwrap();
    let mut results = client.compound(0, &Ops::file(handle).attributes(&SEEN));
    let mut values = results.walked(0).attributes().values;
    let (kind, size) = (values.u32(), values.u64());
    values.fixed(16);
    let file_id = values.u64();
    assert_eq!(size, real.size(), "{path:?}");
    assert_eq!(values.u32(), real.mode() & 0o7777, "{path:?}");
    assert_eq!(values.u32(), real.nlink() as u32, "{path:?}");
    assert_eq!(values.opaque(), real.uid().to_string().as_bytes());
    assert_eq!(values.opaque(), real.gid().to_string().as_bytes());
    assert_eq!((values.u64() as i64, values.u32()), (real.mtime(), real.mtime_nsec() as u32));
    assert!(values.is_at_end());
    let known = seen.entry(real.ino()).or_insert(file_id);
    assert_eq!(*known, file_id, "hard links have one file id: {path:?}");
    match kind {
        2 => {
            let mut entries = list(client, handle, 2048);
            let names = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = names.map(|name| name.as_bytes().to_vec()).collect();
            names.sort();
            entries.sort();
            let listed: Vec<_> = entries.iter().map(|(name, _)| name.clone()).collect();
            assert_eq!(listed, names, "{path:?}");
            for (name, told) in entries {
                let name = String::from_utf8(name).unwrap();
                let mut results = client.compound(0, &Ops::file(handle).lookup(&name).handle());
                let child = results.walked(1).handle();
                assert_eq!(child, told, "{name}");
                compare(client, &child, &path.join(name), seen);
            }
        }
        5 => {
            let mut results = client.compound(0, &Ops::file(handle).op(op::READLINK));
            let target = results.walked(0).ok(op::READLINK).opaque();
            assert_eq!(target, fs::read_link(path).unwrap().as_os_str().as_bytes());
        }
        1 => {
            let mut results = client.compound(0, &Ops::file(handle).read(0, 1 << 20));
            results.walked(0).ok(op::READ);
            assert_eq!(results.u32(), 1, "the end");
            assert!(results.opaque() == fs::read(path).unwrap(), "{path:?}");
        }
        _ => {}
    }
}

/// Names and handles of a directory, in pages of `max` bytes.
fn list(client: &mut Client, handle: &[u8], max: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut all, mut cookie) = (Vec::new(), 0);
    loop {
        let mut page = client.compound(0, &Ops::file(handle).list(cookie, max, &[19]));
        assert!(page.bytes.len() <= max as usize + 64);
        page.walked(0).ok(op::READDIR).fixed(8);
        while page.u32() == 1 {
            cookie = page.u64();
            assert!(cookie > 2, "0 to 2 are reserved");
            let name = page.opaque();
            all.push((name, page.values().values.opaque()));
        }
        if page.u32() == 1 {
            return all;
        }
    }
}

#[test]
fn the_tree_is_that_of_the_directory() {
    let place = serve();
    let mut client = place.client();
    let root = handle_of(&mut client, "");
    compare(&mut client, &root, &place.dir.path().join("tree"), &mut BTreeMap::new());
}

#[test]
fn handles_are_those_of_version_3() {
    let place = serve();
    let mut client = place.client();
    let root = client.mount(IMAGE);
    assert_eq!(handle_of(&mut client, ""), root.data.as_ref());
    let su = client.walk(&root, "usr/bin/su").unwrap();
    assert_eq!(handle_of(&mut client, "/usr/bin/su"), su.data.as_ref());
}

#[test]
fn folders_lead_to_image_roots_and_nowhere_else() {
    let place = serve();
    let mut client = place.client();
    let mut results = client.compound(0, &Ops::root().attributes(&[1, 8, 20, 33, 55]).handle());
    let mut values = results.walked(0).attributes().values;
    assert_eq!(values.u32(), 2);
    let fsid = values.fixed(16);
    let file_id = values.u64();
    assert_eq!((values.u32(), values.u64()), (0o555, file_id));
    let root = results.handle();
    let listed = list(&mut client, &root, 4096);
    assert_eq!(listed.iter().map(|(name, _)| &name[..]).collect::<Vec<_>>(), [b"nodes"]);
    let one = client.compound(0, &Ops::root().walk("nodes/one").handle()).walked(2).handle();
    // The file system changes at the root of the image, and it says what it hides.
    let mut results = client.compound(0, &Ops::file(&one).list(0, 4096, &[8, 20, 55]));
    results.walked(0).ok(op::READDIR).fixed(8);
    assert_eq!((results.u32(), results.u64() > 2, results.opaque()), (1, true, b"fs".to_vec()));
    let mut values = results.values().values;
    assert_ne!(values.fixed(16), fsid);
    assert_ne!(values.u64(), values.u64(), "fileid and mounted_on_fileid");
    assert_eq!((results.u32(), results.u32()), (0, 1));

    let mut status = |ops: &Ops| client.compound(0, ops).status;
    let noent = 2;
    assert_eq!(status(&Ops::root().walk("nodes/one/persist")), noent, "version 3 only");
    for path in ["nothing", "nodes/two", "nodes/one/other", "nodes/one/fs/nothing", "\u{e9}"] {
        assert_eq!(status(&Ops::root().walk(path)), noent, "{path}");
    }
    assert_eq!(status(&Ops::root().lookup("forbidden")), 13);
    for name in [".", "..", "a/b", "a\0b"] {
        assert_eq!(status(&Ops::root().lookup(name)), 10_041, "{name}");
    }
    assert_eq!(status(&Ops::root().lookup("")), 22);
    assert_eq!(status(&Ops::root().lookup(&"x".repeat(256))), 63);
    let up = |path: &str| Ops::root().walk(path).op(op::LOOKUPP).handle();
    assert_eq!(status(&up("")), noent);
    assert_eq!(status(&up(IMAGE)), noent);
    let mut results = client.compound(0, &up("nodes/one"));
    let nodes = results.walked(2).ok(op::LOOKUPP).handle();
    assert_eq!(client.compound(0, &Ops::root().lookup("nodes").handle()).walked(1).handle(), nodes);
    // Folders that are gone, handles that were never given, and those of persistent directories.
    let persist = client.mount("/nodes/one/persist");
    let mut status = |handle: &[u8]| client.compound(0, &Ops::file(handle)).status;
    assert_eq!(status(persist.data.as_ref()), 70);
    assert_eq!(status(&[1; 20]), 10_001);
    assert_eq!(status(&[0; 129]), BADXDR);
    for bit in 0..one.len() * 8 {
        let mut forged = one.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(status(&forged), 0, "bit {bit}");
    }
    assert_eq!(status(&one), 0);
    place.shelf.images.lock().unwrap().clear();
    assert_eq!(status(&one), 70);
}

#[test]
fn nothing_can_be_changed() {
    let place = serve();
    let mut client = place.client();
    let id = client.client_id(1);
    // COMMIT, CREATE, LINK, REMOVE, RENAME, SETATTR, WRITE: the arguments do not matter.
    for number in [5, 6, 11, 28, 29, 34, 38] {
        let ops = Ops::root().walk(IMAGE).op(number).fixed(&[0; 64]);
        let mut results = client.compound(0, &ops);
        assert_eq!(results.status, ROFS, "operation {number}");
        assert_eq!(results.walked(3).status_of(number), ROFS);
        if number == op::SETATTR {
            assert_eq!(results.u32(), 0, "no attribute was set");
        }
        assert!(results.is_at_end());
    }
    let bin = Ops::root().walk(IMAGE).walk("usr/bin");
    for (sequence, access, create) in [(1, 2, 0), (2, 3, 0), (3, 1, 1), (4, 3, 1)] {
        let ops = bin.clone().open_with(id, sequence, access, create).u32(0).opaque(b"su");
        assert_eq!(client.compound(0, &ops).status, ROFS, "access {access} create {create}");
    }
    // Without a file nothing is said about the file system.
    assert_eq!(client.compound(0, &Ops::default().op(op::SETATTR).fixed(&[0; 24])).status, 10_020);
}

#[test]
fn access_follows_modes_and_credentials() {
    let place = serve();
    let mut user = place.client().acting_as(1000, 1000, &[]);
    let mut root = place.client();
    let access = |client: &mut Client, path: &str| {
        let path = format!("{IMAGE}/{path}");
        let lookups = path.split('/').filter(|name| !name.is_empty()).count();
        let mut results =
            client.compound(0, &Ops::root().walk(&path).op(op::ACCESS).u32(0xffff_ffff));
        results.walked(lookups).ok(op::ACCESS);
        (results.u32(), results.u32())
    };
    assert_eq!(access(&mut root, "usr/bin/secret"), (0x3f, 1));
    assert_eq!(access(&mut root, "usr/bin/su"), (0x3f, 0x21));
    assert_eq!(access(&mut user, "usr/bin/su"), (0x3f, 0x21));
    assert_eq!(access(&mut user, "usr/bin/secret"), (0x3f, 0));
    assert_eq!(access(&mut user, "usr"), (0x3f, 3));
    let secret = handle_of(&mut root, "/usr/bin/secret");
    assert_eq!(user.compound(0, &Ops::file(&secret).read(0, 10)).status, 13);
    let id = user.client_id(1);
    let bin = Ops::root().walk(IMAGE).walk("usr/bin");
    assert_eq!(user.compound(0, &bin.open(id, 1, "secret")).status, 13);
}

#[test]
fn reads_at_all_places() {
    let place = serve();
    let mut client = place.client();
    let su = handle_of(&mut client, "/usr/bin/su");
    // The second reads are from memory.
    for (offset, count) in
        [(0, 100_000), (0, 10), (99_990, 100), (100_000, 5), (u64::MAX, 1)].repeat(2)
    {
        let mut results = client.compound(0, &Ops::file(&su).read(offset, count));
        results.walked(0).ok(op::READ);
        let expected = 100_000_u64.saturating_sub(offset).min(count.into());
        let ended = offset.saturating_add(expected) >= 100_000;
        assert_eq!(results.u32(), u32::from(ended), "{offset} {count}");
        assert_eq!(results.opaque(), vec![7; expected as usize]);
        assert!(results.is_at_end());
    }
    let mut status = |path: &str| {
        let ops = Ops::root().walk(IMAGE).walk(path).read(0, 1);
        client.compound(0, &ops).status
    };
    assert_eq!((status("usr"), status("fifo"), status("bin")), (21, 22, 22));
    // Operations after a read that had to wait for the disk.
    let other = place.dir.path().join("tree/usr/bin/su");
    assert_eq!(fs::metadata(other).unwrap().size(), 100_000);
    let ops = Ops::file(&su).read(0, 100_000).attributes(&[4]).read(5, 5);
    let mut results = client.compound(0, &ops);
    results.walked(0).ok(op::READ).fixed(8 + 100_000);
    assert_eq!(results.attributes().values.u64(), 100_000);
    assert_eq!(results.ok(op::READ).fixed(16)[8..13], [7; 5]);
}

#[test]
fn a_reply_has_an_end() {
    let place = serve();
    fs::write(place.dir.path().join("large"), vec![1; 3_000_000]).unwrap();
    let tree = place.dir.path().join("large-tree");
    fs::create_dir(&tree).unwrap();
    fs::rename(place.dir.path().join("large"), tree.join("large")).unwrap();
    let shelf = Shelf::default().with_image("/large", &tree, &place.dir.path().join("other"));
    let server = TestServer::start(Arc::new(shelf));
    let mut client = Client::connect(server.address);
    let mut ops = Ops::root().walk("large/large");
    for _ in 0..40 {
        ops = ops.read(0, u32::MAX);
    }
    let results = client.compound(0, &ops);
    assert!(results.bytes.len() <= (1 << 20) + 64 * 1024, "{}", results.bytes.len());
    assert!(results.bytes.len() > 1 << 20);
}

#[test]
fn attributes_are_verified() {
    let place = serve();
    let mut client = place.client();
    let file = Ops::root().walk(IMAGE).walk("etc/os-release");
    let verify = |number, map: &[u32], values: &[u8]| {
        file.clone().op(number).bitmap(map).opaque(values).handle()
    };
    let (size, other) = (8_u64.to_be_bytes(), 9_u64.to_be_bytes());
    let mut status = |ops: &Ops| client.compound(0, ops).status;
    assert_eq!(status(&verify(op::VERIFY, &[4], &size)), 0);
    assert_eq!(status(&verify(op::VERIFY, &[4], &other)), 10_027);
    assert_eq!(status(&verify(op::NVERIFY, &[4], &size)), 10_009);
    assert_eq!(status(&verify(op::NVERIFY, &[4], &other)), 0);
    assert_eq!(status(&verify(op::VERIFY, &[12], &size)), 10_032, "no access lists");
    assert_eq!(status(&verify(op::VERIFY, &[11], &[0; 4])), 22, "rdattr_error");
    // Those that are not supported are left out of GETATTR.
    let all: Vec<u32> = (0..96).collect();
    for (minor, last) in [(0, 2), (1, 3)] {
        let mut ops = file.clone().attributes(&all);
        if minor > 0 {
            let client_id = client.exchange_id(1);
            let session = client.session(client_id);
            ops = ops.in_slot(&session, 1, false);
        }
        let mut results = client.compound(minor, &ops);
        if minor > 0 {
            results.ok(op::SEQUENCE).fixed(36);
        }
        let mut values = results.walked(5).attributes();
        assert_eq!(values.map.len(), last, "minor version {minor}");
        assert_eq!(values.map[0] & 1 << 12, 0);
        let supported = values.values.u32() as usize;
        let supported: Vec<u32> = (0..supported).map(|_| values.values.u32()).collect();
        assert_eq!(supported, values.map, "all that is supported was told");
    }
}

#[test]
fn security_saved_files_and_public_root() {
    let place = serve();
    let mut client = place.client();
    let ops = Ops::default().op(op::PUTPUBFH).op(op::SAVEFH).walk(IMAGE);
    let ops = ops.op(op::SECINFO).opaque(b"etc").op(op::RESTOREFH).handle();
    let mut results = client.compound(0, &ops);
    results.ok(op::PUTPUBFH).ok(op::SAVEFH).ok(op::LOOKUP).ok(op::LOOKUP).ok(op::LOOKUP);
    results.ok(op::SECINFO);
    assert_eq!((results.u32(), results.u32(), results.u32()), (2, 1, 0), "AUTH_SYS, AUTH_NONE");
    let root = results.ok(op::RESTOREFH).handle();
    assert_eq!(client.compound(0, &Ops::root().handle()).walked(0).handle(), root);
    let mut status = |ops: &Ops| client.compound(0, ops).status;
    assert_eq!(status(&Ops::root().op(op::RESTOREFH)), 10_030);
    assert_eq!(status(&Ops::default().op(op::SAVEFH)), 10_020);
    assert_eq!(status(&Ops::default().handle()), 10_020);
    assert_eq!(status(&Ops::root().walk(IMAGE).lookup("bin").lookup("su")), 10_029, "a link");
    assert_eq!(status(&Ops::root().walk(IMAGE).walk("etc/os-release").lookup("x")), 20);
    assert_eq!(status(&Ops::root().op(op::READLINK)), 22);
}

#[test]
fn cookies_and_small_pages() {
    let place = serve();
    let mut client = place.client();
    let deep = handle_of(&mut client, "/usr/lib/deep");
    for max in [256, 1000, 1 << 20] {
        assert_eq!(list(&mut client, &deep, max).len(), 301, "pages of {max} bytes");
    }
    let mut status = |ops: &Ops| client.compound(0, ops).status;
    assert_eq!(status(&Ops::file(&deep).list(0, 20, &[])), 10_005);
    assert_eq!(status(&Ops::file(&deep).list(1, 1000, &[])), 10_003);
    assert_eq!(status(&Ops::file(&deep).list(u64::MAX, 1000, &[])), 0);
    assert_eq!(status(&Ops::root().walk(IMAGE).walk("fifo").list(0, 1000, &[])), 20);
}

#[test]
fn mounts_are_observed() {
    let place = serve();
    let mut client = place.client();
    client.compound(0, &Ops::root().lookup("forbidden"));
    for _ in 0..3 {
        client.compound(0, &Ops::root().walk(IMAGE).walk("etc/os-release").read(0, 1));
    }
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
    assert_eq!(kinds, ["denied /forbidden", "granted /nodes/one/fs", "lookup", "read"]);
}

#[test]
fn bad_compounds_are_answered() {
    let place = serve();
    let mut client = place.client();
    let mut answer = |minor, ops: &Ops| {
        let results = client.compound(minor, ops);
        (results.status, results.count)
    };
    assert_eq!(answer(3, &Ops::root()), (10_021, 0), "minor version");
    assert_eq!(answer(u32::MAX, &Ops::root()), (10_021, 0));
    let many = (0..65).fold(Ops::default(), |ops, _| ops.op(op::PUTROOTFH));
    assert_eq!(answer(0, &many), (10_018, 0));
    assert_eq!(answer(1, &many), (10_070, 0));
    let many = (0..64).fold(Ops::default(), |ops, _| ops.op(op::PUTROOTFH));
    assert_eq!(answer(0, &many), (0, 64));
    assert_eq!(answer(0, &Ops::default()), (0, 0), "nothing to do");
    let mut missing = Ops::root();
    missing.count = 2;
    assert_eq!(answer(0, &missing), (BADXDR, 2));
    for number in [0, 2, 40, 53, 10_044, u32::MAX] {
        let mut results = client.compound(0, &Ops::root().op(number));
        assert_eq!((results.status, results.count), (10_044, 2));
        assert_eq!(results.walked(0).status_of(10_044), 10_044);
    }
    // GARBAGE_ARGS: no tag, a tag without an end, no count.
    for args in [&[][..], &[0xff; 8], &[0, 0, 0, 0, 0, 0, 0, 0]] {
        client.xid += 1;
        let mut message = client.message(NFS, 4, 1, &nfs3_types::xdr_codec::Void);
        message.extend(args);
        client.send(&message);
        assert_eq!(client.receive().unwrap()[23], 4);
    }
    assert!(client.raw(NFS, 4, 0, &nfs3_types::xdr_codec::Void).is_empty(), "NULL");
}

#[test]
fn truncated_operations_never_hurt() {
    let place = serve();
    let mut client = place.client();
    let id = client.client_id(1);
    let zero = [0; 16];
    let all = [
        Ops::root().walk(IMAGE).walk("etc").open(id, 1, "os-release").read(0, 10),
        Ops::root().walk(IMAGE).list(0, 4096, &[1, 4, 33]).attributes(&[1]),
        Ops::root().op(op::VERIFY).bitmap(&[1]).opaque(&[0, 0, 0, 2]),
        Ops::root()
            .op(op::LOCK)
            .u32(1)
            .u32(0)
            .u64(0)
            .u64(1)
            .u32(1)
            .u32(1)
            .fixed(&zero)
            .u32(1)
            .u64(id),
        Ops::root().op(op::LOCKT).u32(1).u64(0).u64(1).u64(id).opaque(b"me"),
        Ops::root().op(op::LOCKU).u32(1).u32(1).fixed(&zero).u64(0).u64(1),
        Ops::root().close(1, &zero).op(op::OPEN_CONFIRM).fixed(&zero).u32(1),
        Ops::root().op(op::OPEN_DOWNGRADE).fixed(&zero).u32(1).u32(1).u32(0),
        Ops::default().op(op::SETCLIENTID).fixed(&[1; 8]).opaque(b"x").u32(1).opaque(b"tcp"),
        Ops::default().op(op::RELEASE_LOCKOWNER).u64(id).opaque(b"me"),
        Ops::default().op(op::RENEW).u64(id),
        Ops::default().op(op::EXCHANGE_ID).fixed(&[1; 8]).opaque(b"x").u32(0).u32(0).u32(1),
        nfs4::create_session(id, 1),
        Ops::default().op(op::DESTROY_SESSION).fixed(&zero),
        Ops::default().op(op::DESTROY_CLIENTID).u64(id),
        Ops::default().op(op::BIND_CONN_TO_SESSION).fixed(&zero).u32(3).u32(0),
        Ops::root().in_slot(&zero, 1, true),
    ];
    for ops in &all {
        for minor in [0, 1] {
            let whole = ops.compound(minor);
            let head = Ops::default().compound(minor).len();
            for cut in head..whole.len() {
                client.xid += 1;
                let mut message = client.message(NFS, 4, 1, &nfs3_types::xdr_codec::Void);
                message.extend(&whole[..cut]);
                client.send(&message);
                let results = nfs4::Results::of(results(client.xid, &client.receive().unwrap()));
                assert_ne!(results.status, 0, "{cut} bytes");
                // And what is no number of anything.
                let mut wrong = whole.clone();
                wrong[cut] ^= 0x81;
                client.xid += 1;
                let mut message = client.message(NFS, 4, 1, &nfs3_types::xdr_codec::Void);
                message.extend(wrong);
                client.send(&message);
                client.receive().unwrap();
            }
        }
    }
    client.compound(0, &Ops::root().handle()).walked(0).handle();
}

#[test]
fn libnfs_reads_it_too() {
    let place = serve();
    let port = place.server.address.port();
    let url = |path: &str| format!("nfs://127.0.0.1{IMAGE}{path}?version=4&nfsport={port}");
    let listing = String::from_utf8(libnfs("nfs-ls", &["-R", &url("")])).unwrap();
    for name in ["etc/os-release", "usr/bin/su", "usr/lib/deep/file 299 é", "usr/absolute"] {
        assert!(
            listing.lines().any(|line| line.ends_with(&format!(" {name}"))),
            "{name}:\n{listing}"
        );
    }
    assert_eq!(listing.lines().count(), 315);
    assert_eq!(libnfs("nfs-cat", &[&url("/etc/os-release")]), b"ID=test\n");
    let copy = place.dir.path().join("copy");
    libnfs("nfs-cp", &[&url("/usr/bin/su"), copy.to_str().unwrap()]);
    assert_eq!(fs::read(copy).unwrap(), vec![7; 100_000]);
}
