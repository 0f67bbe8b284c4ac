//! A private platform: one server in its own network namespace with its own state folder.
//!
//! Nothing of the host is touched: the bridge, the nodes' taps and every port live in the
//! namespace, everything on disk is below two folders, and [`Place::sweep`] can always remove all
//! of it, whatever was interrupted before.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::binaries::Binaries;
use crate::command::{answer, pause, program, repository};

/// A name of a platform: it ends in the names of a namespace and of folders.
pub fn valid_name(text: &str) -> Result<String, String> {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > 32 || !text.chars().all(valid) {
        return Err("up to 32 lower-case letters, digits and dashes".to_owned());
    }
    Ok(text.to_owned())
}

/// Where a platform is: its namespace and its folders.
#[derive(Clone, Debug)]
pub struct Place {
    /// Name of the network namespace.
    pub namespace: String,
    /// Databases, images, keys: kept from one run to the next.
    pub state: PathBuf,
    /// Sockets, pids, podman's run folder: removed at the end.
    pub run: PathBuf,
}

impl Place {
    /// The place of this name (`demo`, `test`, ...).
    pub fn named(name: &str) -> Place {
        Place {
            namespace: format!("walt-{name}"),
            state: PathBuf::from(format!("/var/lib/walt-{name}")),
            run: PathBuf::from(format!("/run/walt-{name}")),
        }
    }

    /// The API's socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join("api.sock")
    }

    /// Where the server's process id is written.
    pub fn server_pid_file(&self) -> PathBuf {
        self.run.join("server.pid")
    }

    /// The server's journal.
    pub fn journal(&self) -> PathBuf {
        self.state.join("server.log")
    }

    /// The containers storage of this platform: root and run root.
    pub fn storage(&self) -> (PathBuf, PathBuf) {
        (self.state.join("containers"), self.run.join("containers"))
    }

    /// Removes every process, mount, interface and namespace of this place; the state folder stays.
    pub fn sweep(&self) -> Result<()> {
        self.end_processes()?;
        let mut mounts = self.mounts()?;
        // What was mounted last goes first.
        mounts.reverse();
        for mount in mounts {
            nix::mount::umount2(&mount, nix::mount::MntFlags::MNT_DETACH)
                .with_context(|| format!("cannot unmount {}", mount.display()))?;
        }
        if self.namespace_exists() {
            answer(&mut program("ip", ["netns", "delete", &self.namespace]))?;
        }
        match fs::remove_dir_all(&self.run) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.run.display()))
            }
            _ => Ok(()),
        }
    }

    /// What is left of this place: descriptions of processes, mounts and namespaces.
    pub fn leftovers(&self) -> Result<Vec<String>> {
        let mut left = Vec::new();
        left.extend(self.processes()?.iter().map(|pid| format!("process {pid}")));
        left.extend(self.mounts()?.iter().map(|path| format!("mount {}", path.display())));
        if self.namespace_exists() {
            left.push(format!("network namespace {}", self.namespace));
        }
        if self.run.exists() {
            left.push(format!("folder {}", self.run.display()));
        }
        Ok(left)
    }

    fn namespace_exists(&self) -> bool {
        Path::new("/run/netns").join(&self.namespace).exists()
    }

    fn processes(&self) -> Result<Vec<i32>> {
        if !self.namespace_exists() {
            return Ok(Vec::new());
        }
        let pids = answer(&mut program("ip", ["netns", "pids", &self.namespace]))?;
        Ok(pids.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
    }

    fn end_processes(&self) -> Result<()> {
        use nix::sys::signal::{Signal, kill};
        let started = Instant::now();
        let mut signal = Signal::SIGTERM;
        loop {
            let pids = self.processes()?;
            if pids.is_empty() {
                return Ok(());
            }
            if started.elapsed() > Duration::from_secs(5) {
                signal = Signal::SIGKILL;
            }
            if started.elapsed() > Duration::from_secs(15) {
                bail!("processes {pids:?} of {} cannot be ended", self.namespace);
            }
            for pid in pids {
                // It may have ended meanwhile.
                let _ = kill(nix::unistd::Pid::from_raw(pid), signal);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Mount points below the two folders, in the order they were mounted.
    fn mounts(&self) -> Result<Vec<PathBuf>> {
        let table = fs::read_to_string("/proc/self/mountinfo")?;
        Ok(table
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .map(|path| PathBuf::from(path.replace("\\040", " ")))
            .filter(|path| path.starts_with(&self.state) || path.starts_with(&self.run))
            .collect())
    }
}

/// A platform that runs; dropping it stops and sweeps it.
pub struct Platform {
    /// Where it is.
    pub place: Place,
    /// The programs it runs.
    pub binaries: Binaries,
    server: Option<Supervised>,
}

/// A server that is started again when it dies, as systemd does with `Restart=always`.
struct Supervised {
    child: Arc<Mutex<Child>>,
    /// Set before a wanted stop.
    ending: Arc<AtomicBool>,
    watcher: std::thread::JoinHandle<()>,
}

impl Platform {
    /// Prepares the place: namespace, folders, a `server.conf` of a virtual-only platform.
    pub fn prepare(place: Place, binaries: Binaries) -> Result<Platform> {
        if !nix::unistd::geteuid().is_root() {
            bail!("a platform needs root: it makes a network namespace and mounts images");
        }
        place.sweep().context("what an earlier run left cannot be removed")?;
        for folder in [&place.state, &place.run] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
        }
        answer(&mut program("ip", ["netns", "add", &place.namespace]))?;
        let platform = Platform { place, binaries, server: None };
        answer(platform.inside("ip").args(["link", "set", "lo", "up"]))?;
        fs::write(platform.configuration(), SERVER_CONF)?;
        Ok(platform)
    }

    /// The `server.conf` of this platform.
    pub fn configuration(&self) -> PathBuf {
        self.place.state.join("server.conf")
    }

    /// A command inside the platform's network namespace.
    pub fn inside(&self, name: &str) -> Command {
        let net = format!("--net=/run/netns/{}", self.place.namespace);
        program("nsenter", [net.as_str(), "--", name])
    }

    /// A `walt` command of this platform.
    pub fn walt<S: AsRef<std::ffi::OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(self.binaries.walt());
        command.args(words);
        for (name, value) in self.environment() {
            command.env(name, value);
        }
        command
    }

    /// What a shell needs so that `walt` talks to this platform.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let path = std::env::var("PATH").unwrap_or_default();
        vec![
            ("WALT_SERVER", format!("unix:{}", self.place.socket().display())),
            ("PATH", format!("{}:{path}", self.binaries.folder.display())),
        ]
    }

    /// The command line of the server.
    pub fn server_command(&self) -> Command {
        let mut command = self.inside(&self.binaries.server().to_string_lossy());
        command.arg("run").arg("--stop-nodes-on-exit");
        command.arg("--config").arg(self.configuration());
        command.arg("--state-dir").arg(&self.place.state);
        command.arg("--run-dir").arg(&self.place.run);
        command.arg("--pxe-dir").arg(self.place.state.join("pxe"));
        // Checks may name a step at which it is killed.
        command.env("WALT_KILL_POINTS", "1");
        command
    }

    /// Starts the server and waits until its API answers; from then on it is started again
    /// whenever it dies.
    pub fn start_server(&mut self) -> Result<()> {
        let mut child = self.spawn_server()?;
        let started = Instant::now();
        let healthy = loop {
            if let Err(interrupted) = pause(Duration::from_millis(100)) {
                break Err(interrupted);
            }
            if self.place.socket().exists()
                && answer(&mut self.walt(["node", "show", "--all", "--names-only"])).is_ok()
            {
                break Ok(());
            }
            if let Some(status) = child.try_wait()? {
                bail!("walt-server ended with {status}:\n{}", self.last_words());
            }
            if started.elapsed() > Duration::from_secs(60) {
                break Err(anyhow!(
                    "walt-server does not answer after 60 s:\n{}",
                    self.last_words()
                ));
            }
        };
        let child = Arc::new(Mutex::new(child));
        let ending = Arc::new(AtomicBool::new(false));
        let watcher = self.watch(child.clone(), ending.clone());
        self.server = Some(Supervised { child, ending, watcher });
        healthy
    }

    fn spawn_server(&self) -> Result<Child> {
        spawn(&mut self.server_command(), &self.place)
    }

    fn watch(
        &self,
        child: Arc<Mutex<Child>>,
        ending: Arc<AtomicBool>,
    ) -> std::thread::JoinHandle<()> {
        let mut command = self.server_command();
        let place = self.place.clone();
        std::thread::spawn(move || {
            while !ending.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(100));
                let Ok(mut child) = child.lock() else { return };
                if ending.load(Ordering::SeqCst) || !matches!(child.try_wait(), Ok(Some(_))) {
                    continue;
                }
                match spawn(&mut command, &place) {
                    Ok(next) => *child = next,
                    Err(error) => eprintln!("warning: walt-server is not started again: {error:#}"),
                }
            }
        })
    }

    /// Process id of the server, when it runs.
    pub fn server_pid(&self) -> Option<i32> {
        let child = self.server.as_ref()?.child.lock().ok()?;
        i32::try_from(child.id()).ok()
    }

    /// Ends the server; nodes, mounts and networks go with it.
    pub fn stop_server(&mut self) -> Result<()> {
        use nix::sys::signal::{Signal, kill};
        let Some(server) = self.server.take() else { return Ok(()) };
        server.ending.store(true, Ordering::SeqCst);
        drop(server.watcher.join());
        let Ok(mut child) = server.child.lock() else { bail!("the server's watcher failed") };
        let _ = kill(nix::unistd::Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM);
        let started = Instant::now();
        while child.try_wait()?.is_none() {
            if started.elapsed() > Duration::from_secs(30) {
                child.kill()?;
                child.wait()?;
                bail!("walt-server did not stop within 30 s:\n{}", self.last_words());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// The end of the server's journal, for error messages.
    pub fn last_words(&self) -> String {
        let text = fs::read(self.place.journal()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    /// Stops everything and says what would not go.
    pub fn end(mut self) -> Result<()> {
        let stopped = self.stop_server();
        let swept = self.place.sweep();
        stopped.and(swept)
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        // After Ctrl-C too, everything is taken down.
        crate::command::clear_interruption();
        for outcome in [self.stop_server(), self.place.sweep()] {
            if let Err(error) = outcome {
                eprintln!("warning: {error:#}");
            }
        }
    }
}

/// Starts a server whose output goes to the place's journal and whose pid to its run folder.
fn spawn(command: &mut Command, place: &Place) -> Result<Child> {
    let journal = File::options().create(true).append(true).open(place.journal())?;
    // Ctrl-C on the terminal is for this program, which stops the server itself.
    command.process_group(0);
    command.stdin(Stdio::null()).stdout(journal.try_clone()?).stderr(journal);
    let child = command.spawn().context("cannot start walt-server")?;
    fs::write(place.server_pid_file(), child.id().to_string())?;
    Ok(child)
}

/// Collects the network boot loaders, and the firmware of boards when it is at hand, into the platform's
/// folders.
pub fn install_loaders(place: &Place) -> Result<()> {
    let script = repository().join("images/pxe/collect.sh");
    let target = place.state.join("pxe");
    answer(&mut program(&script.to_string_lossy(), [target]))?;
    crate::media::install_firmware(place)
}

const SERVER_CONF: &str = "\
# A virtual-only platform: no interface of this machine belongs to it.
network:
    walt-net:
        raw-device: null
        ip: 192.168.152.1/24
";
