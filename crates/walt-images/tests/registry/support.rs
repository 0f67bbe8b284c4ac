//! What the tests need: a private store, images, a real registry, a relay that cuts connections.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use walt_images::command::Command;
use walt_images::registry::{Architecture, Limits, Remote, Settings, Transfer, Wanted, Workplace};
use walt_images::{ImageId, Podman, Store, mounts};
use walt_model::server_conf::{Registry, RegistryApi, RegistryAuth, RegistryProtocol};

pub const USER: &str = "alice";
/// With characters that URLs and headers would take for their own.
pub const PASSWORD: &str = "p@ss/%:word";
/// bcrypt of [`PASSWORD`].
const HTPASSWD: &str = "alice:$2b$05$abcdefghijklmnopqrstuuHxgPP/4zSCCsdmSE3KMR3pHz.vK3REG\n";
/// Reference the pulls of these tests give to images.
pub const TAG: &str = "localhost/walt/op:00112233";

/// A server's directories and store; nothing of it is left when it goes.
pub struct Platform {
    dir: Option<tempfile::TempDir>,
    pub podman: Podman,
}

impl Platform {
    pub async fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests need root");
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let store = Store::At { root: at("store"), runroot: at("run/store") };
        let podman = Podman::open(store, &at("run"), CancellationToken::new()).await.unwrap();
        std::fs::create_dir(at("work")).unwrap();
        Self { podman, dir: Some(dir) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.as_ref().unwrap().path().join(name)
    }

    /// A new, empty work directory.
    pub fn work(&self) -> PathBuf {
        tempfile::tempdir_in(self.path("work")).unwrap().keep()
    }

    pub fn place<'p>(&'p self, work: &'p Path, resume: &'p Path) -> Workplace<'p> {
        Workplace { podman: &self.podman, work_dir: work, resume_dir: resume, tag: TAG }
    }

    pub async fn run(&self, args: &[&str]) -> String {
        let answer = self.podman.run(args, Duration::from_secs(120)).await.unwrap();
        String::from_utf8_lossy(&answer.stdout).trim().to_owned()
    }

    /// An image of two layers, one of `size` bytes that no compression makes smaller.
    pub async fn image(&self, name: &str, size: usize) -> ImageId {
        let tree = self.work();
        std::fs::create_dir(tree.join("etc")).unwrap();
        std::fs::write(tree.join("etc/random"), noise(size)).unwrap();
        let tar = self.path("image.tar");
        Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&tar).arg(".").run().await.unwrap();
        self.run(&["import", "-q", tar.to_str().unwrap(), "localhost/base:1"]).await;
        let file =
            "FROM localhost/base:1\nLABEL walt.node.models=pc-x86-64,qemu\nCOPY small /small\n";
        std::fs::write(tree.join("Dockerfile"), file).unwrap();
        std::fs::write(tree.join("small"), name).unwrap();
        let tree = tree.to_str().unwrap();
        let build = ["build", "-q", "--pull=never", "--format", "docker", "-t", name, tree];
        self.run(&build).await.parse().unwrap()
    }

    /// All names and ids of the store.
    pub async fn images(&self) -> String {
        self.run(&["images", "-a", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.Id}}"])
            .await
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let base = self.dir.as_ref().unwrap().path().canonicalize().unwrap();
        for mount in mounts::current().unwrap().iter().rev() {
            if mount.point.starts_with(&base) {
                let _ = mounts::unmount(&mount.point, Duration::ZERO);
            }
        }
        drop(self.dir.take());
    }
}

/// Bytes that gzip cannot shorten.
pub fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ size as u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..size.div_ceil(8)).flat_map(|_| next()).take(size).collect()
}

/// Short waits, so that tests of failures are quick.
pub fn settings() -> Settings {
    let limits = Limits {
        first_wait: Duration::from_millis(20),
        tries: 3,
        stall: Duration::from_secs(5),
        ..Limits::default()
    };
    Settings { certificates: Vec::new(), limits, ..Settings::default() }
}

pub fn conf(port: u16, protocol: RegistryProtocol, auth: RegistryAuth) -> Registry {
    Registry {
        label: "here".to_owned(),
        api: RegistryApi::DockerRegistryV2,
        description: "of a test".to_owned(),
        host: "127.0.0.1".to_owned(),
        port,
        protocol,
        auth,
        repository: None,
    }
}

/// A registry without authentication, in clear text.
pub fn plain(port: u16) -> Remote {
    Remote::new(&conf(port, RegistryProtocol::Http, RegistryAuth::None), &settings()).unwrap()
}

pub fn amd64() -> Wanted {
    Wanted::exactly(Architecture::new("amd64", None))
}

pub fn quiet(_: Transfer) {}

/// Debian's docker-registry on a free port of loopback.
pub struct RealRegistry {
    process: Child,
    pub port: u16,
    dir: tempfile::TempDir,
}

impl RealRegistry {
    /// In clear text, for anybody.
    pub async fn open() -> Self {
        Self::start(false).await
    }

    /// With TLS, for [`USER`]. Its certificate authority: [`RealRegistry::authorities`].
    pub async fn closed() -> Self {
        Self::start(true).await
    }

    async fn start(closed: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut text = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage:\n  filesystem: {{ rootdirectory: {} }}\n  \
             delete: {{ enabled: true }}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            at("storage")
        );
        if closed {
            certificates(dir.path(), port).await;
            std::fs::write(at("htpasswd"), HTPASSWD).unwrap();
            text += &format!(
                "  tls: {{ certificate: {}, key: {} }}\n",
                at("server.crt"),
                at("server.key")
            );
            text += &format!("auth:\n  htpasswd: {{ realm: test, path: {} }}\n", at("htpasswd"));
        }
        std::fs::write(at("config.yml"), text).unwrap();
        let process = std::process::Command::new("docker-registry")
            .args(["serve", &at("config.yml")])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(at("log")).unwrap())
            .spawn()
            .expect("package docker-registry is needed");
        let registry = Self { process, port, dir };
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            let log = std::fs::read_to_string(registry.dir.path().join("log")).unwrap();
            assert!(Instant::now() < until, "the registry does not start: {log}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        registry
    }

    /// A directory as `/etc/containers/certs.d`.
    pub fn authorities(&self) -> PathBuf {
        self.dir.path().join("certs.d")
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An authority of our own, and a certificate of it for 127.0.0.1.
async fn certificates(dir: &Path, port: u16) {
    let openssl = async |words: &str| {
        let args = words.split(' ');
        Command::new("openssl").args(args).current_dir(dir).run().await.unwrap();
    };
    openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.crt").await;
    openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=registry -keyout server.key -out server.csr").await;
    std::fs::write(dir.join("san"), "subjectAltName=IP:127.0.0.1").unwrap();
    openssl("x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.crt").await;
    let place = dir.join(format!("certs.d/127.0.0.1:{port}"));
    std::fs::create_dir_all(&place).unwrap();
    std::fs::copy(dir.join("ca.crt"), place.join("ca.crt")).unwrap();
}

/// Passes bytes on to a server, and cuts every connection once its budget is used up.
pub struct Relay {
    pub port: u16,
    /// Bytes that may still pass (both ways together); cut below 0, then it is set to `refill`.
    pub budget: Arc<AtomicI64>,
    task: tokio::task::JoinHandle<()>,
}

impl Relay {
    pub async fn to(server: u16, budget: i64, refill: i64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let budget = Arc::new(AtomicI64::new(budget));
        let shared = budget.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let budget = shared.clone();
                tokio::spawn(async move {
                    let address = SocketAddr::from(([127, 0, 0, 1], server));
                    let Ok(server) = TcpStream::connect(address).await else { return };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::select! {
                        () = pass(from_client, to_server, &budget) => {}
                        () = pass(from_server, to_client, &budget) => {}
                    }
                    if budget.load(Ordering::Relaxed) < 0 {
                        budget.store(refill, Ordering::Relaxed);
                    }
                });
            }
        });
        Self { port, budget, task }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    budget: &AtomicI64,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let length = i64::try_from(count).unwrap();
        if budget.fetch_sub(length, Ordering::Relaxed) < length
            || to.write_all(&buffer[..count]).await.is_err()
        {
            return;
        }
    }
}
