//! A server on loopback, and a small NFS client made of the wire types of `nfs3_types`.
#![allow(clippy::unwrap_used, dead_code, missing_docs)]

pub mod nfs4;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nfs3_types::mount::{dirpath, mountres3};
use nfs3_types::nfs3::*;
use nfs3_types::rpc::{auth_unix, call_body, msg_body, opaque_auth, rpc_msg};
use nfs3_types::xdr_codec::{Opaque, Pack, Unpack};
use tokio_util::sync::CancellationToken;
use walt_nfs::{
    Exports, HandleKey, ImageRoot, MountDenied, MountTarget, NfsConfig, NfsObservation, NfsServer,
    PersistId, Place, RootId,
};

pub const NFS: u32 = 100_003;
pub const MOUNT: u32 = 100_005;
pub const PORTMAP: u32 = 100_000;
pub const NFSACL: u32 = 100_227;

/// What the tests export.
#[derive(Default)]
pub struct Shelf {
    pub images: Mutex<HashMap<String, Arc<ImageRoot>>>,
    pub persist: Mutex<HashMap<String, (PersistId, PathBuf, bool)>>,
    pub observed: Mutex<Vec<NfsObservation>>,
}

impl Shelf {
    pub fn with_image(self, path: &str, tree: &Path, state: &Path) -> Self {
        let id = RootId::derive(path);
        let root = ImageRoot::open(id, tree, &state.join("index")).unwrap();
        self.images.lock().unwrap().insert(path.to_owned(), Arc::new(root));
        self
    }

    pub fn with_persist(self, path: &str, dir: &Path, writable: bool) -> Self {
        let id = PersistId::derive(&dir.to_string_lossy());
        self.persist.lock().unwrap().insert(path.to_owned(), (id, dir.to_owned(), writable));
        self
    }
}

impl Exports for Shelf {
    fn mount(&self, _client: IpAddr, path: &str) -> Result<MountTarget, MountDenied> {
        if path == "/forbidden" {
            return Err(MountDenied::NotPermitted("a test".to_owned()));
        }
        for (base, root) in &*self.images.lock().unwrap() {
            if let Some(within) = path.strip_prefix(base.as_str()) {
                return Ok(MountTarget::Image { root: root.clone(), within: within.to_owned() });
            }
        }
        for (base, (id, dir, writable)) in &*self.persist.lock().unwrap() {
            if let Some(within) = path.strip_prefix(base.as_str()) {
                return Ok(MountTarget::Persist {
                    id: *id,
                    path: dir.clone(),
                    within: within.to_owned(),
                    writable: *writable,
                });
            }
        }
        Err(MountDenied::NotFound)
    }

    fn place(&self, _client: IpAddr, path: &str) -> Result<Place, MountDenied> {
        if path == "/forbidden" {
            return Err(MountDenied::NotPermitted("a test".to_owned()));
        }
        let images = self.images.lock().unwrap();
        match images.get(path) {
            Some(root) => Ok(Place::Image { root: root.clone(), within: String::new() }),
            None if images.keys().any(|known| known.starts_with(&format!("{path}/"))) => {
                Ok(Place::Folder)
            }
            None => Err(MountDenied::NotFound),
        }
    }

    fn names(&self, _client: IpAddr, path: &str) -> Vec<String> {
        let images = self.images.lock().unwrap();
        let below = images.keys().filter_map(|known| known.strip_prefix(path)?.strip_prefix('/'));
        let mut names: Vec<String> =
            below.filter_map(|rest| rest.split('/').next()).map(str::to_owned).collect();
        names.sort();
        names.dedup();
        names
    }

    fn image_root(&self, id: &RootId) -> Option<Arc<ImageRoot>> {
        let images = self.images.lock().unwrap();
        images.values().find(|root| root.id() == *id).cloned()
    }

    fn persist(&self, id: &PersistId) -> Option<PathBuf> {
        let persist = self.persist.lock().unwrap();
        let found = persist.values().find(|(known, ..)| known == id);
        found.map(|(_, path, _)| path.clone())
    }

    fn observe(&self, observation: NfsObservation) {
        self.observed.lock().unwrap().push(observation);
    }
}

/// A running server.
pub struct TestServer {
    pub address: SocketAddr,
    pub udp: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    pub fn start(shelf: Arc<Shelf>) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::start_at(shelf, any)
    }

    /// At an address that was used before: a restart.
    pub fn start_at(shelf: Arc<Shelf>, address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let server = {
            let _guard = runtime.enter();
            let config = NfsConfig {
                tcp: vec![address],
                udp: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
                handle_key: HandleKey::new(&[42; 32]),
            };
            NfsServer::bind(config, shelf).unwrap()
        };
        let address = server.tcp_addresses()[0];
        let udp = server.udp_addresses()[0];
        let stop = CancellationToken::new();
        let token = stop.clone();
        let thread = std::thread::spawn(move || runtime.block_on(server.run(token)));
        Self { address, udp, stop, thread: Some(thread) }
    }

    pub fn stop(mut self) -> SocketAddr {
        self.end();
        self.address
    }

    fn end(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    pub fn url(&self, path: &str) -> String {
        let port = self.address.port();
        format!("nfs://127.0.0.1{path}?nfsport={port}&mountport={port}")
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.end();
    }
}

/// A connection to a server.
pub struct Client {
    pub stream: TcpStream,
    pub xid: u32,
    pub cred: opaque_auth<'static>,
}

pub fn credentials(uid: u32, gid: u32, groups: &[u32]) -> opaque_auth<'static> {
    opaque_auth::auth_unix(&auth_unix {
        stamp: 0,
        machinename: Opaque::borrowed(b"test"),
        uid,
        gid,
        gids: groups.to_vec(),
    })
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { stream, xid: 1, cred: credentials(0, 0, &[]) }
    }

    pub fn acting_as(mut self, uid: u32, gid: u32, groups: &[u32]) -> Self {
        self.cred = credentials(uid, gid, groups);
        self
    }

    /// A call as it goes on the wire, without record mark.
    pub fn message(&self, program: u32, version: u32, procedure: u32, args: &impl Pack) -> Vec<u8> {
        let mut out = Vec::new();
        rpc_msg {
            xid: self.xid,
            body: msg_body::CALL(call_body {
                rpcvers: 2,
                prog: program,
                vers: version,
                proc: procedure,
                cred: self.cred.clone(),
                verf: opaque_auth::default(),
            }),
        }
        .pack(&mut out)
        .unwrap();
        args.pack(&mut out).unwrap();
        out
    }

    pub fn send(&mut self, message: &[u8]) {
        let mark = message.len() as u32 | 0x8000_0000;
        let record = [&mark.to_be_bytes(), message].concat();
        self.stream.write_all(&record).unwrap();
    }

    /// One reply, without record mark.
    pub fn receive(&mut self) -> std::io::Result<Vec<u8>> {
        let mut mark = [0; 4];
        self.stream.read_exact(&mut mark)?;
        let mut reply = vec![0; (u32::from_be_bytes(mark) & 0x7fff_ffff) as usize];
        self.stream.read_exact(&mut reply)?;
        Ok(reply)
    }

    /// The results of an accepted call.
    pub fn raw(&mut self, program: u32, version: u32, procedure: u32, args: &impl Pack) -> Vec<u8> {
        self.xid += 1;
        let message = self.message(program, version, procedure, args);
        self.send(&message);
        results(self.xid, &self.receive().unwrap())
    }

    pub fn call<R: Unpack>(&mut self, procedure: NFS_PROGRAM, args: &impl Pack) -> R {
        let results = self.raw(NFS, 3, procedure as u32, args);
        decode(&results)
    }

    pub fn try_mount(&mut self, path: &str) -> mountres3<'static> {
        let path = dirpath(Opaque::borrowed(path.as_bytes()));
        decode(&self.raw(MOUNT, 3, 1, &path))
    }

    pub fn mount(&mut self, path: &str) -> nfs_fh3 {
        match self.try_mount(path) {
            mountres3::Ok(ok) => nfs_fh3 { data: Opaque::owned(ok.fhandle.0.to_vec()) },
            mountres3::Err(status) => panic!("mount {path}: {status}"),
        }
    }

    pub fn getattr(&mut self, object: &nfs_fh3) -> Result<fattr3, nfsstat3> {
        let args = GETATTR3args { object: object.clone() };
        match self.call(NFS_PROGRAM::NFSPROC3_GETATTR, &args) {
            GETATTR3res::Ok(ok) => Ok(ok.obj_attributes),
            GETATTR3res::Err((status, _)) => Err(status),
        }
    }

    pub fn lookup(&mut self, dir: &nfs_fh3, name: &str) -> Result<nfs_fh3, nfsstat3> {
        let args = LOOKUP3args { what: entry(dir, name) };
        match self.call(NFS_PROGRAM::NFSPROC3_LOOKUP, &args) {
            LOOKUP3res::Ok(ok) => Ok(ok.object),
            LOOKUP3res::Err((status, _)) => Err(status),
        }
    }

    pub fn walk(&mut self, dir: &nfs_fh3, path: &str) -> Result<nfs_fh3, nfsstat3> {
        path.split('/').try_fold(dir.clone(), |dir, name| self.lookup(&dir, name))
    }

    pub fn read(&mut self, file: &nfs_fh3, offset: u64, count: u32) -> Result<Vec<u8>, nfsstat3> {
        let args = READ3args { file: file.clone(), offset, count };
        let res: READ3res<'static> = self.call(NFS_PROGRAM::NFSPROC3_READ, &args);
        match res {
            READ3res::Ok(ok) => {
                assert_eq!(ok.count as usize, ok.data.len());
                Ok(ok.data.to_vec())
            }
            READ3res::Err((status, _)) => Err(status),
        }
    }

    pub fn readlink(&mut self, link: &nfs_fh3) -> Vec<u8> {
        let args = READLINK3args { symlink: link.clone() };
        let res: READLINK3res<'static> = self.call(NFS_PROGRAM::NFSPROC3_READLINK, &args);
        res.unwrap().data.as_ref().to_vec()
    }

    /// One page of READDIRPLUS: entries and whether it is the last.
    pub fn page(
        &mut self,
        dir: &nfs_fh3,
        cookie: u64,
        dircount: u32,
        maxcount: u32,
    ) -> Result<(Vec<entryplus3<'static>>, bool), nfsstat3> {
        let args = READDIRPLUS3args {
            dir: dir.clone(),
            cookie,
            cookieverf: cookieverf3::default(),
            dircount,
            maxcount,
        };
        let results = self.raw(NFS, 3, NFS_PROGRAM::NFSPROC3_READDIRPLUS as u32, &args);
        assert!(results.len() <= maxcount as usize + 4);
        match decode::<READDIRPLUS3res<'static>>(&results) {
            READDIRPLUS3res::Ok(ok) => Ok((ok.reply.entries.into_inner(), ok.reply.eof)),
            READDIRPLUS3res::Err((status, _)) => Err(status),
        }
    }

    /// All entries but "." and "..".
    pub fn list(&mut self, dir: &nfs_fh3, maxcount: u32) -> Vec<entryplus3<'static>> {
        let mut all = Vec::new();
        let mut cookie = 0;
        loop {
            let (entries, end) = self.page(dir, cookie, maxcount, maxcount).unwrap();
            assert!(end || !entries.is_empty());
            cookie = entries.last().map_or(cookie, |entry| entry.cookie);
            all.extend(
                entries.into_iter().filter(|entry| !matches!(entry.name.as_ref(), b"." | b"..")),
            );
            if end {
                return all;
            }
        }
    }
}

pub fn results(xid: u32, reply: &[u8]) -> Vec<u8> {
    let word = |at: usize| u32::from_be_bytes(reply[at..at + 4].try_into().unwrap());
    assert_eq!(word(0), xid, "xid");
    assert_eq!(word(4), 1, "a reply");
    assert_eq!(word(8), 0, "accepted");
    assert_eq!(word(20), 0, "executed");
    reply[24..].to_vec()
}

pub fn decode<R: Unpack>(mut bytes: &[u8]) -> R {
    let (value, _) = R::unpack(&mut bytes).unwrap();
    assert!(bytes.is_empty(), "{} bytes too many", bytes.len());
    value
}

pub fn entry<'a>(dir: &nfs_fh3, name: &'a str) -> diropargs3<'a> {
    diropargs3 { dir: dir.clone(), name: name.as_bytes().into() }
}

/// A tree with everything that images have.
pub fn make_tree(root: &Path) {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    for dir in ["etc", "usr/bin", "usr/lib/deep/deeper", "tmp", "empty"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::write(root.join("etc/os-release"), "ID=test\n").unwrap();
    fs::write(root.join("usr/bin/su"), vec![7; 100_000]).unwrap();
    fs::write(root.join("usr/bin/secret"), b"secret").unwrap();
    let mode = |path: &str, mode| {
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("usr/bin/su", 0o4755);
    mode("usr/bin/secret", 0o600);
    mode("tmp", 0o1777);
    symlink("usr/bin", root.join("bin")).unwrap();
    symlink("/etc", root.join("usr/absolute")).unwrap();
    fs::hard_link(root.join("etc/os-release"), root.join("usr/lib/os-release")).unwrap();
    for n in 0..300 {
        fs::write(root.join(format!("usr/lib/deep/file {n} é")), vec![1; n]).unwrap();
    }
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("fifo"),
        rustix::fs::FileType::Fifo,
        0o640.into(),
        0,
    )
    .unwrap();
}

/// Runs a tool of libnfs; its standard output.
pub fn libnfs(tool: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(tool).args(args).output().unwrap_or_else(|error| {
        panic!("cannot run {tool}: {error} (it comes with the Debian package libnfs-utils: apt-get install libnfs-utils)")
    });
    assert!(
        output.status.success(),
        "{tool} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}
