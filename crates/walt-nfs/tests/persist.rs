//! Persistent directories: changes, owners, handles over restarts, calls sent twice.
//!
//! Acting as other users needs root, as the server does; without it those parts are skipped aloud.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::*;
use nfs3_types::nfs3::*;
use nfs3_types::xdr_codec::{Opaque, Pack, Unpack};

struct Place {
    dir: tempfile::TempDir,
    server: TestServer,
    client: Client,
    root: nfs_fh3,
}

impl Place {
    fn path(&self) -> PathBuf {
        self.dir.path().join("persist")
    }
}

fn shelf(dir: &Path) -> Arc<Shelf> {
    let persist = dir.join("persist");
    let shelf = Shelf::default().with_persist("/rw", &persist, true);
    Arc::new(shelf.with_persist("/ro", &persist, false))
}

fn serve() -> Place {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("persist")).unwrap();
    let server = TestServer::start(shelf(dir.path()));
    let mut client = Client::connect(server.address);
    let root = client.mount("/rw");
    Place { dir, server, client, root }
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("not root: acting as other users is not tested");
    }
    root
}

fn ok<T, E>(result: Nfs3Result<T, E>) -> Result<T, nfsstat3> {
    match result {
        Nfs3Result::Ok(ok) => Ok(ok),
        Nfs3Result::Err((status, _)) => Err(status),
    }
}

fn mode(mode: u32) -> sattr3 {
    sattr3 { mode: Nfs3Option::Some(mode), ..sattr3::default() }
}

impl Place {
    fn try_call<T: Unpack, E: Unpack>(
        &mut self,
        procedure: NFS_PROGRAM,
        args: &impl Pack,
    ) -> Result<T, nfsstat3> {
        ok(self.client.call::<Nfs3Result<T, E>>(procedure, args))
    }

    fn create(&mut self, dir: &nfs_fh3, name: &str, how: createhow3) -> Result<nfs_fh3, nfsstat3> {
        create(&mut self.client, dir, name, how)
    }

    fn mkdir(
        &mut self,
        dir: &nfs_fh3,
        name: &str,
        attributes: sattr3,
    ) -> Result<nfs_fh3, nfsstat3> {
        let args = MKDIR3args { where_: entry(dir, name), attributes };
        self.try_call::<MKDIR3resok, MKDIR3resfail>(NFS_PROGRAM::NFSPROC3_MKDIR, &args)
            .map(|ok| ok.obj.unwrap())
    }

    fn write(
        &mut self,
        file: &nfs_fh3,
        offset: u64,
        data: &[u8],
        stable: stable_how,
    ) -> Result<WRITE3resok, nfsstat3> {
        write(&mut self.client, file, offset, data, stable)
    }

    fn remove(&mut self, dir: &nfs_fh3, name: &str) -> Result<(), nfsstat3> {
        let args = REMOVE3args { object: entry(dir, name) };
        self.try_call::<REMOVE3resok, REMOVE3resfail>(NFS_PROGRAM::NFSPROC3_REMOVE, &args).map(drop)
    }

    fn rmdir(&mut self, dir: &nfs_fh3, name: &str) -> Result<(), nfsstat3> {
        let args = RMDIR3args { object: entry(dir, name) };
        self.try_call::<RMDIR3resok, RMDIR3resfail>(NFS_PROGRAM::NFSPROC3_RMDIR, &args).map(drop)
    }

    fn rename(
        &mut self,
        from: &nfs_fh3,
        old: &str,
        to: &nfs_fh3,
        new: &str,
    ) -> Result<(), nfsstat3> {
        let args = RENAME3args { from: entry(from, old), to: entry(to, new) };
        self.try_call::<RENAME3resok, RENAME3resfail>(NFS_PROGRAM::NFSPROC3_RENAME, &args).map(drop)
    }

    fn setattr(
        &mut self,
        object: &nfs_fh3,
        new_attributes: sattr3,
        guard: sattrguard3,
    ) -> Result<(), nfsstat3> {
        let args = SETATTR3args { object: object.clone(), new_attributes, guard };
        self.try_call::<SETATTR3resok, SETATTR3resfail>(NFS_PROGRAM::NFSPROC3_SETATTR, &args)
            .map(drop)
    }
}

fn create(
    client: &mut Client,
    dir: &nfs_fh3,
    name: &str,
    how: createhow3,
) -> Result<nfs_fh3, nfsstat3> {
    let args = CREATE3args { where_: entry(dir, name), how };
    ok(client.call::<CREATE3res>(NFS_PROGRAM::NFSPROC3_CREATE, &args)).map(|ok| ok.obj.unwrap())
}

fn write(
    client: &mut Client,
    file: &nfs_fh3,
    offset: u64,
    data: &[u8],
    stable: stable_how,
) -> Result<WRITE3resok, nfsstat3> {
    let args = WRITE3args {
        file: file.clone(),
        offset,
        count: data.len() as u32,
        stable,
        data: Opaque::borrowed(data),
    };
    ok(client.call::<WRITE3res>(NFS_PROGRAM::NFSPROC3_WRITE, &args))
}

#[test]
fn files_are_made_written_renamed_and_removed() {
    let mut p = serve();
    let root = p.root.clone();
    let dir = p.mkdir(&root, "dir", mode(0o750)).unwrap();
    let file = p.create(&dir, "file", createhow3::GUARDED(mode(0o4711))).unwrap();
    let on_disk = p.path().join("dir/file");
    assert_eq!(fs::metadata(&on_disk).unwrap().mode() & 0o7777, 0o4711);
    assert_eq!(
        p.create(&dir, "file", createhow3::GUARDED(mode(0o600))),
        Err(nfsstat3::NFS3ERR_EXIST)
    );
    let first = p.write(&file, 0, b"hello ", stable_how::UNSTABLE).unwrap();
    let second = p.write(&file, 6, b"world", stable_how::FILE_SYNC).unwrap();
    assert_eq!((first.count, second.count), (6, 5));
    assert_eq!(second.committed, stable_how::FILE_SYNC);
    assert_eq!(second.file_wcc.before.unwrap().size, 6);
    assert_eq!(second.file_wcc.after.unwrap().size, 11);
    let commit = p
        .try_call::<COMMIT3resok, COMMIT3resfail>(
            NFS_PROGRAM::NFSPROC3_COMMIT,
            &COMMIT3args { file: file.clone(), offset: 0, count: 0 },
        )
        .unwrap();
    assert_eq!(commit.verf, first.verf);
    assert_eq!(p.client.read(&file, 0, 100).unwrap(), b"hello world");
    assert_eq!(fs::read(&on_disk).unwrap(), b"hello world");

    p.rename(&dir, "file", &root, "renamed").unwrap();
    assert_eq!(p.client.read(&file, 6, 100).unwrap(), b"world");
    assert_eq!(p.client.lookup(&root, "renamed").unwrap(), file);
    p.rmdir(&root, "dir").unwrap();
    p.remove(&root, "renamed").unwrap();
    assert_eq!(p.client.getattr(&file).err(), Some(nfsstat3::NFS3ERR_STALE));
    assert_eq!(fs::read_dir(p.path()).unwrap().count(), 0);
}

#[test]
fn exclusive_creation_is_recognised() {
    let mut p = serve();
    let root = p.root.clone();
    let how = |n| createhow3::EXCLUSIVE(createverf3([n, 2, 3, 4, 0xff, 6, 7, 8]));
    let file = p.create(&root, "lock", how(1)).unwrap();
    assert_eq!(p.create(&root, "lock", how(1)).unwrap(), file);
    assert_eq!(p.create(&root, "lock", how(9)), Err(nfsstat3::NFS3ERR_EXIST));
}

#[test]
fn unchecked_creation_cuts_what_is_there() {
    let mut p = serve();
    let root = p.root.clone();
    fs::write(p.path().join("file"), b"content").unwrap();
    let keep = createhow3::UNCHECKED(mode(0o644));
    p.create(&root, "file", keep).unwrap();
    assert_eq!(fs::read(p.path().join("file")).unwrap(), b"content");
    let cut = sattr3 { size: Nfs3Option::Some(0), ..sattr3::default() };
    p.create(&root, "file", createhow3::UNCHECKED(cut)).unwrap();
    assert_eq!(fs::read(p.path().join("file")).unwrap(), b"");
}

#[test]
fn attributes_are_set() {
    let mut p = serve();
    let root = p.root.clone();
    let file = p.create(&root, "file", createhow3::UNCHECKED(mode(0o600))).unwrap();
    let all = sattr3 {
        mode: Nfs3Option::Some(0o2640),
        uid: is_root().then_some(12).map_or(Nfs3Option::None, Nfs3Option::Some),
        gid: is_root().then_some(34).map_or(Nfs3Option::None, Nfs3Option::Some),
        size: Nfs3Option::Some(5000),
        atime: set_atime::SET_TO_CLIENT_TIME(nfstime3 { seconds: 111, nseconds: 222 }),
        mtime: set_mtime::SET_TO_CLIENT_TIME(nfstime3 { seconds: 333, nseconds: 444 }),
    };
    p.setattr(&file, all, sattrguard3::None).unwrap();
    let real = fs::metadata(p.path().join("file")).unwrap();
    assert_eq!(real.mode() & 0o7777, 0o2640);
    assert_eq!(real.size(), 5000);
    assert_eq!((real.atime(), real.atime_nsec()), (111, 222));
    assert_eq!((real.mtime(), real.mtime_nsec()), (333, 444));
    if is_root() {
        assert_eq!((real.uid(), real.gid()), (12, 34));
    }
    let ctime = p.client.getattr(&file).unwrap().ctime;
    let wrong = nfstime3 { seconds: 1, nseconds: 1 };
    assert_eq!(
        p.setattr(&file, mode(0o600), sattrguard3::Some(wrong)),
        Err(nfsstat3::NFS3ERR_NOT_SYNC)
    );
    p.setattr(&file, mode(0o600), sattrguard3::Some(ctime)).unwrap();
}

#[test]
fn links_devices_and_listings() {
    let mut p = serve();
    let root = p.root.clone();
    let symlink = SYMLINK3args {
        where_: entry(&root, "link"),
        symlink: symlinkdata3 {
            symlink_attributes: sattr3::default(),
            symlink_data: nfspath3(Opaque::borrowed(b"/etc/passwd")),
        },
    };
    let link = p
        .try_call::<SYMLINK3resok, SYMLINK3resfail>(NFS_PROGRAM::NFSPROC3_SYMLINK, &symlink)
        .unwrap()
        .obj
        .unwrap();
    assert_eq!(p.client.readlink(&link), b"/etc/passwd");
    assert_eq!(p.client.getattr(&link).unwrap().type_, ftype3::NF3LNK);
    // The server follows no link: neither to read, nor to write, nor as a directory.
    assert_eq!(p.client.read(&link, 0, 1), Err(nfsstat3::NFS3ERR_INVAL));
    assert_eq!(p.write(&link, 0, b"x", stable_how::UNSTABLE).err(), Some(nfsstat3::NFS3ERR_INVAL));
    assert_eq!(
        p.create(&root, "link", createhow3::UNCHECKED(sattr3::default())),
        Err(nfsstat3::NFS3ERR_EXIST)
    );
    assert_eq!(p.client.lookup(&link, "x"), Err(nfsstat3::NFS3ERR_NOTDIR));
    let second = LINK3args { file: link.clone(), link: entry(&root, "again") };
    p.try_call::<LINK3resok, LINK3resfail>(NFS_PROGRAM::NFSPROC3_LINK, &second).unwrap();
    assert_eq!(p.client.getattr(&link).unwrap().nlink, 2);

    let mut kinds = vec![
        ("fifo", mknoddata3::NF3FIFO(mode(0o600))),
        ("socket", mknoddata3::NF3SOCK(mode(0o600))),
    ];
    if is_root() {
        let device = devicedata3 {
            dev_attributes: mode(0o600),
            spec: specdata3 { specdata1: 1, specdata2: 5 },
        };
        kinds.push(("zero", mknoddata3::NF3CHR(device)));
    }
    for (name, what) in kinds {
        let args = MKNOD3args { where_: entry(&root, name), what };
        let made = p
            .try_call::<MKNOD3resok, MKNOD3resfail>(NFS_PROGRAM::NFSPROC3_MKNOD, &args)
            .unwrap_or_else(|status| panic!("{name}: {status}"));
        let object = made.obj.unwrap();
        assert_eq!(p.client.read(&object, 0, 1), Err(nfsstat3::NFS3ERR_INVAL));
    }
    let kind = fs::symlink_metadata(p.path().join("fifo")).unwrap();
    assert!(kind.file_type().is_fifo());

    for n in 0..500 {
        fs::write(p.path().join(format!("entry-{n}")), b"").unwrap();
    }
    let mut expected: Vec<String> = fs::read_dir(p.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    expected.sort();
    for maxcount in [600, 4096, 1 << 20] {
        let entries = p.client.list(&root, maxcount);
        let mut names = Vec::new();
        for entry in entries {
            let handle = entry.name_handle.unwrap();
            assert_eq!(p.client.getattr(&handle).unwrap().fileid, entry.fileid);
            names.push(String::from_utf8(entry.name.as_ref().to_vec()).unwrap());
        }
        names.sort();
        assert_eq!(names, expected, "pages of {maxcount} bytes");
    }
}

#[test]
fn names_cannot_leave_the_directory() {
    let mut p = serve();
    let root = p.root.clone();
    fs::write(p.dir.path().join("outside"), b"secret").unwrap();
    for name in ["../outside", "a/b", "/etc", "x\0y", ""] {
        assert_eq!(p.client.lookup(&root, name), Err(nfsstat3::NFS3ERR_ACCES), "{name:?}");
    }
    assert_eq!(p.client.lookup(&root, "..").unwrap(), root);
    for name in [".", ".."] {
        let inval = Err(nfsstat3::NFS3ERR_INVAL);
        assert_eq!(p.remove(&root, name), inval);
        assert_eq!(p.rmdir(&root, name), inval);
        assert_eq!(p.rename(&root, name, &root, "x"), inval);
        assert_eq!(p.rename(&root, "x", &root, name), inval);
        assert!(p.mkdir(&root, name, sattr3::default()).is_err());
    }
    std::os::unix::fs::symlink("..", p.path().join("up")).unwrap();
    let up = p.client.lookup(&root, "up").unwrap();
    assert_eq!(p.client.lookup(&up, "outside"), Err(nfsstat3::NFS3ERR_NOTDIR));
    let mount = p.client.try_mount("/rw/up/outside");
    assert!(matches!(mount, nfs3_types::mount::mountres3::Err(_)));
}

#[test]
fn a_read_only_mount_changes_nothing() {
    let mut p = serve();
    fs::write(p.path().join("file"), b"content").unwrap();
    let ro = p.client.mount("/ro");
    let file = p.client.lookup(&ro, "file").unwrap();
    assert_eq!(p.client.read(&file, 0, 100).unwrap(), b"content");
    let rofs = nfsstat3::NFS3ERR_ROFS;
    assert_eq!(p.write(&file, 0, b"x", stable_how::UNSTABLE).err(), Some(rofs));
    assert_eq!(p.remove(&ro, "file"), Err(rofs));
    let rw = p.root.clone();
    assert_eq!(p.rename(&rw, "file", &ro, "other"), Err(rofs));
}

#[test]
fn the_caller_is_who_it_says() {
    if !is_root() {
        return;
    }
    let mut p = serve();
    let root = p.root.clone();
    // The server must reach the directory as the caller: its own temporary one is private.
    fs::set_permissions(p.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut user = Client::connect(p.server.address).acting_as(1000, 1001, &[1002]);
    let how = || createhow3::GUARDED(mode(0o640));
    let denied = Err(nfsstat3::NFS3ERR_ACCES);
    assert_eq!(create(&mut user, &root, "mine", how()), denied);
    fs::set_permissions(p.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let file = create(&mut user, &root, "mine", how()).unwrap();
    let real = fs::metadata(p.path().join("mine")).unwrap();
    assert_eq!((real.uid(), real.gid()), (1000, 1001));
    write(&mut user, &file, 0, b"data", stable_how::UNSTABLE).unwrap();

    let mut group = Client::connect(p.server.address).acting_as(2000, 1001, &[]);
    assert_eq!(group.read(&file, 0, 10).unwrap(), b"data");
    let refused = write(&mut group, &file, 0, b"x", stable_how::UNSTABLE);
    assert_eq!(refused.err(), Some(nfsstat3::NFS3ERR_ACCES));
    let remove = REMOVE3args { object: entry(&root, "mine") };
    let refused: REMOVE3res = group.call(NFS_PROGRAM::NFSPROC3_REMOVE, &remove);
    assert_eq!(ok(refused).err(), Some(nfsstat3::NFS3ERR_PERM), "sticky");
    let mut other = Client::connect(p.server.address).acting_as(3000, 3000, &[]);
    assert_eq!(other.read(&file, 0, 10), Err(nfsstat3::NFS3ERR_ACCES));

    // Root is root, and its files are root's, after all that acting on the same threads.
    for n in 0..20 {
        let made = p.create(&root, &format!("of-root-{n}"), how()).unwrap();
        assert_eq!(p.client.getattr(&made).unwrap().uid, 0);
        assert_eq!(p.client.getattr(&made).unwrap().gid, 0);
    }
    p.remove(&root, "mine").unwrap();
}

#[test]
fn handles_survive_a_restart() {
    let mut p = serve();
    let root = p.root.clone();
    let dir = p.mkdir(&root, "dir", mode(0o755)).unwrap();
    let file = p.create(&dir, "file", createhow3::UNCHECKED(mode(0o644))).unwrap();
    let before = p.write(&file, 0, b"kept", stable_how::UNSTABLE).unwrap();
    let Place { dir: temp, server, .. } = p;
    let address = server.stop();
    let server = TestServer::start_at(shelf(temp.path()), address);
    let mut client = Client::connect(server.address);
    assert_eq!(client.read(&file, 0, 10).unwrap(), b"kept");
    assert_eq!(client.lookup(&root, "dir").unwrap(), dir);
    let after = write(&mut client, &file, 4, b"!", stable_how::UNSTABLE).unwrap();
    assert_ne!(before.verf, after.verf, "clients send uncommitted data again");
}

#[test]
fn a_call_sent_twice_is_done_once() {
    let mut p = serve();
    let root = p.root.clone();
    for n in 0..3 {
        fs::write(p.path().join(format!("file-{n}")), b"").unwrap();
    }
    let remove = REMOVE3args { object: entry(&root, "file-0") };
    p.client.xid = 77;
    let message = p.client.message(NFS, 3, NFS_PROGRAM::NFSPROC3_REMOVE as u32, &remove);
    p.client.send(&message);
    let first = p.client.receive().unwrap();
    // On the same connection, and on another one as after a reconnection.
    p.client.send(&message);
    assert_eq!(p.client.receive().unwrap(), first);
    let mut again = Client::connect(p.server.address);
    again.send(&message);
    assert_eq!(again.receive().unwrap(), first);
    assert_eq!(first[27], 0, "and it says that all went well");
    // The same number with other arguments is another call.
    let other = REMOVE3args { object: entry(&root, "file-1") };
    let message = p.client.message(NFS, 3, NFS_PROGRAM::NFSPROC3_REMOVE as u32, &other);
    p.client.send(&message);
    assert_eq!(p.client.receive().unwrap()[27], 0);
    assert!(!p.path().join("file-1").exists());
}

#[test]
fn libnfs_copies_into_it() {
    let p = serve();
    let source = p.dir.path().join("source");
    let content: Vec<u8> = (0..3_000_001_u32).map(|n| (n % 251) as u8).collect();
    fs::write(&source, &content).unwrap();
    libnfs("nfs-cp", &[source.to_str().unwrap(), &p.server.url("/rw/copy")]);
    assert!(fs::read(p.path().join("copy")).unwrap() == content);
    assert!(libnfs("nfs-cat", &[&p.server.url("/rw/copy")]) == content);
}
