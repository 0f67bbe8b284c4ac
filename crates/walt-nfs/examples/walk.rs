//! How fast a tree is walked and read over NFSv3.
//!
//! `walk [TREE]` serves TREE (default `/usr`) on loopback and measures our server;
//! `walk --server HOST:PORT --export PATH` measures any server that answers mount and NFS there
//! (`--mount-port PORT` when mount is elsewhere). Every line is `name value unit`.

use std::collections::VecDeque;
use std::error::Error;
use std::io::{BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use walt_nfs::{
    Exports, HandleKey, ImageRoot, MountDenied, MountTarget, NfsConfig, NfsObservation, NfsServer,
    PersistId, RootId,
};

const NFS: u32 = 100_003;
const MOUNT: u32 = 100_005;
const GETATTR: u32 = 1;
const LOOKUP: u32 = 3;
const READ: u32 = 6;
const READDIRPLUS: u32 = 17;
const DIRECTORY: u32 = 2;
const REGULAR: u32 = 1;
const READ_SIZE: u32 = 1 << 20;
/// Bytes read in the test of reading.
const READ_TOTAL: u64 = 500_000_000;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let _server;
    let (nfs, mount, export) = match options.server {
        Some(nfs) => (nfs, options.mount.unwrap_or(nfs), options.export),
        None => {
            let (server, address) = Server::start(&options.tree)?;
            _server = server;
            (address, address, "/".to_owned())
        }
    };
    let root = mount_root(mount, &export)?;
    walk(nfs, &root, 32)?; // Warm caches: every server is measured from memory.
    for in_flight in [1, 32] {
        let seen = walk(nfs, &root, in_flight)?;
        let rate = seen.calls as f64 / seen.time.as_secs_f64();
        println!("walk_{in_flight}_in_flight {rate:.0} calls/s");
        if in_flight == 1 {
            println!("walk_calls {} calls", seen.calls);
            read(nfs, seen.largest)?;
        }
    }
    Ok(())
}

struct Options {
    tree: PathBuf,
    server: Option<SocketAddr>,
    mount: Option<SocketAddr>,
    export: String,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut options =
            Self { tree: PathBuf::from("/usr"), server: None, mount: None, export: "/".to_owned() };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            match arg.as_str() {
                "--server" => options.server = value()?.to_socket_addrs()?.next(),
                "--mount-port" => {
                    let ip = options.server.ok_or("--server comes first")?.ip();
                    options.mount = Some(SocketAddr::new(ip, value()?.parse()?));
                }
                "--export" => options.export = value()?,
                "--bench" => {}
                tree if !tree.starts_with('-') => options.tree = PathBuf::from(tree),
                other => return Err(format!("unknown option {other}").into()),
            }
        }
        Ok(options)
    }
}

/// One image, for everybody.
struct OneImage(Arc<ImageRoot>);

impl Exports for OneImage {
    fn mount(&self, _client: IpAddr, path: &str) -> std::result::Result<MountTarget, MountDenied> {
        Ok(MountTarget::Image { root: self.0.clone(), within: path.to_owned() })
    }

    fn image_root(&self, id: &RootId) -> Option<Arc<ImageRoot>> {
        (*id == self.0.id()).then(|| self.0.clone())
    }

    fn persist(&self, _id: &PersistId) -> Option<PathBuf> {
        None
    }

    fn observe(&self, _observation: NfsObservation) {}
}

/// Our server, in this process; stopped when dropped.
struct Server(CancellationToken);

impl Server {
    fn start(tree: &Path) -> Result<(Self, SocketAddr)> {
        let index = std::env::temp_dir().join(format!("walt-nfs-walk-{}", std::process::id()));
        let start = Instant::now();
        let root = ImageRoot::open(RootId::derive("walk"), tree, &index)?;
        let time = start.elapsed().as_secs_f64();
        println!("index_files {} files", root.files());
        println!("index_build {time:.3} s");
        let start = Instant::now();
        let root = Arc::new(ImageRoot::open(root.id(), tree, &index)?);
        println!("index_load {:.3} s", start.elapsed().as_secs_f64());
        std::fs::remove_dir_all(&index)?;
        let runtime = tokio::runtime::Runtime::new()?;
        let server = {
            let _guard = runtime.enter();
            let config = NfsConfig {
                tcp: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
                udp: Vec::new(),
                handle_key: HandleKey::new(&[1; 32]),
            };
            NfsServer::bind(config, Arc::new(OneImage(root)))?
        };
        let address = server.tcp_addresses()[0];
        let stop = CancellationToken::new();
        let token = stop.clone();
        std::thread::spawn(move || runtime.block_on(server.run(token)));
        Ok((Self(stop), address))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A connection that does as little as it can.
struct Connection {
    stream: TcpStream,
    input: BufReader<TcpStream>,
    output: Vec<u8>,
    xid: u32,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self {
            input: BufReader::with_capacity(256 * 1024, stream.try_clone()?),
            stream,
            output: Vec::new(),
            xid: 0,
        })
    }

    /// Adds a call to those sent by the next [`Connection::flush`].
    fn call(&mut self, program: u32, procedure: u32, args: impl FnOnce(&mut Vec<u8>)) -> u32 {
        self.xid += 1;
        let start = self.output.len();
        // Record mark, xid, call, RPC version 2, program, version 3, procedure; AUTH_SYS of 20
        // bytes: stamp, no machine name, user and group 0, no groups; no verifier.
        for word in [0, self.xid, 0, 2, program, 3, procedure, 1, 20, 0, 0, 0, 0, 0, 0, 0] {
            self.output.extend(u32::to_be_bytes(word));
        }
        args(&mut self.output);
        let mark = (self.output.len() - start - 4) as u32 | 0x8000_0000;
        self.output[start..start + 4].copy_from_slice(&mark.to_be_bytes());
        self.xid
    }

    fn flush(&mut self) -> Result<()> {
        self.stream.write_all(&self.output)?;
        self.output.clear();
        Ok(())
    }

    /// The next reply: xid and results.
    fn receive(&mut self, buffer: &mut Vec<u8>) -> Result<u32> {
        let mut mark = [0; 4];
        self.input.read_exact(&mut mark)?;
        let len = u32::from_be_bytes(mark) & 0x7fff_ffff;
        buffer.resize(len as usize, 0);
        self.input.read_exact(buffer)?;
        let mut fields = Fields(buffer);
        let (xid, accepted) = (fields.u32()?, (fields.u32()?, fields.u32()?));
        let (_verifier, status) = ((fields.u32()?, fields.u32()?), fields.u32()?);
        if accepted != (1, 0) || status != 0 {
            return Err(format!("call {xid} was refused: {accepted:?} {status}").into());
        }
        buffer.drain(..24);
        Ok(xid)
    }
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len).ok_or("a reply is too short")?;
        self.0 = rest;
        Ok(head)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.take(8)?.try_into()?))
    }

    fn opaque(&mut self) -> Result<&'a [u8]> {
        let len = self.u32()? as usize;
        let bytes = self.take(len)?;
        self.take(len.next_multiple_of(4) - len)?;
        Ok(bytes)
    }

    fn ok(&mut self) -> Result<()> {
        match self.u32()? {
            0 => Ok(()),
            status => Err(format!("a call failed with status {status}").into()),
        }
    }
}

fn put_opaque(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn mount_root(address: SocketAddr, export: &str) -> Result<Vec<u8>> {
    let mut connection = Connection::open(address)?;
    connection.call(MOUNT, 1, |out| put_opaque(out, export.as_bytes()));
    connection.flush()?;
    let mut buffer = Vec::new();
    connection.receive(&mut buffer)?;
    let mut fields = Fields(&buffer);
    fields.ok()?;
    Ok(fields.opaque()?.to_vec())
}

enum Task {
    List { dir: Vec<u8>, cookie: u64, verifier: u64 },
    LookUp { dir: Vec<u8>, name: Vec<u8> },
    Stat { object: Vec<u8> },
}

struct Walk {
    calls: u64,
    time: Duration,
    /// Size and handle of the largest file.
    largest: (u64, Vec<u8>),
}

/// Lists every directory, looks up every name and asks for the attributes of every file.
fn walk(address: SocketAddr, root: &[u8], in_flight: usize) -> Result<Walk> {
    let mut connection = Connection::open(address)?;
    let mut todo = vec![Task::List { dir: root.to_vec(), cookie: 0, verifier: 0 }];
    let mut sent: VecDeque<(u32, Task)> = VecDeque::new();
    let mut seen = Walk { calls: 0, time: Duration::ZERO, largest: (0, Vec::new()) };
    let mut buffer = Vec::new();
    let start = Instant::now();
    loop {
        while sent.len() < in_flight
            && let Some(task) = todo.pop()
        {
            let xid = match &task {
                Task::List { dir, cookie, verifier } => connection.call(NFS, READDIRPLUS, |out| {
                    put_opaque(out, dir);
                    out.extend(cookie.to_be_bytes());
                    out.extend(verifier.to_be_bytes());
                    out.extend(8192_u32.to_be_bytes());
                    out.extend(32_768_u32.to_be_bytes());
                }),
                Task::LookUp { dir, name } => connection.call(NFS, LOOKUP, |out| {
                    put_opaque(out, dir);
                    put_opaque(out, name);
                }),
                Task::Stat { object } => {
                    connection.call(NFS, GETATTR, |out| put_opaque(out, object))
                }
            };
            sent.push_back((xid, task));
        }
        if sent.is_empty() {
            break;
        }
        connection.flush()?;
        let xid = connection.receive(&mut buffer)?;
        let at = sent.iter().position(|(known, _)| *known == xid);
        let (_, task) = at.and_then(|at| sent.remove(at)).ok_or("an unknown reply")?;
        seen.calls += 1;
        let mut fields = Fields(&buffer);
        fields.ok()?;
        match task {
            Task::List { dir, .. } => list(&mut fields, dir, &mut todo)?,
            Task::LookUp { .. } => todo.push(Task::Stat { object: fields.opaque()?.to_vec() }),
            Task::Stat { object } => {
                let kind = fields.u32()?;
                fields.take(16)?;
                let size = fields.u64()?;
                if kind == REGULAR && size > seen.largest.0 {
                    seen.largest = (size, object);
                }
            }
        }
    }
    seen.time = start.elapsed();
    Ok(seen)
}

fn list(fields: &mut Fields<'_>, dir: Vec<u8>, todo: &mut Vec<Task>) -> Result<()> {
    if fields.u32()? == 1 {
        fields.take(84)?;
    }
    let verifier = fields.u64()?;
    let mut last = 0;
    while fields.u32()? == 1 {
        fields.u64()?;
        let name = fields.opaque()?;
        last = fields.u64()?;
        let kind = match fields.u32()? {
            1 => Fields(fields.take(84)?).u32()?,
            _ => 0,
        };
        let handle = match fields.u32()? {
            1 => Some(fields.opaque()?),
            _ => None,
        };
        if matches!(name, b"." | b"..") {
            continue;
        }
        todo.push(Task::LookUp { dir: dir.clone(), name: name.to_vec() });
        if kind == DIRECTORY
            && let Some(handle) = handle
        {
            todo.push(Task::List { dir: handle.to_vec(), cookie: 0, verifier: 0 });
        }
    }
    if fields.u32()? == 0 {
        todo.push(Task::List { dir, cookie: last, verifier });
    }
    Ok(())
}

/// Reads the largest file again and again, four calls in flight, as clients read ahead.
fn read(address: SocketAddr, (size, file): (u64, Vec<u8>)) -> Result<()> {
    if size == 0 {
        return Ok(());
    }
    let mut connection = Connection::open(address)?;
    let mut buffer = Vec::new();
    let (mut offset, mut total, mut in_flight) = (0, 0, 0);
    let start = Instant::now();
    while total < READ_TOTAL {
        while in_flight < 4 {
            connection.call(NFS, READ, |out| {
                put_opaque(out, &file);
                out.extend(u64::to_be_bytes(offset));
                out.extend(READ_SIZE.to_be_bytes());
            });
            connection.flush()?;
            in_flight += 1;
            offset += u64::from(READ_SIZE);
            if offset >= size {
                offset = 0;
            }
        }
        connection.receive(&mut buffer)?;
        in_flight -= 1;
        let mut fields = Fields(&buffer);
        fields.ok()?;
        total += buffer.len() as u64;
    }
    let rate = total as f64 / 1e6 / start.elapsed().as_secs_f64();
    println!("read_sequential {rate:.0} MB/s");
    Ok(())
}
