//! podman on a store of our own, whatever the host's configuration.
//!
//! Some hosts (containers, CI machines, kernels with cgroup v1) need settings podman does not find
//! by itself: they are probed, and written to a `containers.conf` in the run directory that only our
//! own commands see. The host's files are never changed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::command::{Command, CommandError, Finished};

/// Deadline of a command that only reads the store.
pub const READ_DEADLINE: Duration = Duration::from_secs(60);
/// Deadline of a command that changes the store (tag, remove).
pub const CHANGE_DEADLINE: Duration = Duration::from_secs(180);

/// Where the images are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// The machine's own store, that `podman` without options shows.
    System,
    /// A store apart.
    At {
        /// Images and containers (`podman --root`).
        root: PathBuf,
        /// State that does not survive a reboot (`podman --runroot`).
        runroot: PathBuf,
    },
}

/// Why podman gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum PodmanError {
    /// The command itself failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// It answered something unexpected.
    #[error(
        "`podman {what}` answered something unexpected: {source}; is this podman 4.3 or later?"
    )]
    Answer {
        /// The sub-command.
        what: String,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The settings file for this host could not be written.
    #[error("cannot write {path}: {source}")]
    Settings {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Runs podman on one store.
#[derive(Debug, Clone)]
pub struct Podman {
    store: Store,
    settings: Option<PathBuf>,
    graph_root: PathBuf,
    cancel: CancellationToken,
}

impl Podman {
    /// Probes the host and, if needed, writes `<run_dir>/containers.conf`.
    ///
    /// # Errors
    /// podman is missing or does not work; the settings file cannot be written.
    pub async fn open(
        store: Store,
        run_dir: &Path,
        cancel: CancellationToken,
    ) -> Result<Self, PodmanError> {
        let settings = match settings_for(&HostFacts::probe()) {
            Some(text) if std::env::var_os("CONTAINERS_CONF").is_none() => {
                let path = run_dir.join("containers.conf");
                std::fs::create_dir_all(run_dir)
                    .and_then(|()| std::fs::write(&path, text))
                    .map_err(|source| PodmanError::Settings { path: path.clone(), source })?;
                Some(path)
            }
            _ => None,
        };
        let mut podman = Self { store, settings, graph_root: PathBuf::new(), cancel };
        let answer =
            podman.run(&["info", "--format", "{{.Store.GraphRoot}}"], READ_DEADLINE).await?;
        podman.graph_root = PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim());
        Ok(podman)
    }

    /// The store this podman works on.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The directory that holds the images.
    pub fn graph_root(&self) -> &Path {
        &self.graph_root
    }

    /// The settings file made for this host, if it needed one.
    pub fn settings(&self) -> Option<&Path> {
        self.settings.as_deref()
    }

    /// `containers-storage:` prefix naming this store for skopeo and buildah, e.g.
    /// `containers-storage:[overlay@/var/lib/walt/store+/run/walt/store]`; an image name follows.
    pub fn skopeo_prefix(&self) -> String {
        match &self.store {
            Store::System => "containers-storage:".into(),
            Store::At { root, runroot } => {
                format!("containers-storage:[overlay@{}+{}]", root.display(), runroot.display())
            }
        }
    }

    /// A command of `program` (`podman` or `buildah`: same global options) on this store, to be run
    /// by the caller.
    pub fn command_of(&self, program: &str) -> Command {
        let mut command = Command::new(program).cancel(&self.cancel);
        // podman has containers to look after that outlive us; what buildah does would only be in the way.
        if program == "buildah" {
            command = command.bound();
        }
        if let Store::At { root, runroot } = &self.store {
            command = command.arg("--root").arg(root).arg("--runroot").arg(runroot);
        }
        if let Some(settings) = &self.settings {
            command = command.env("CONTAINERS_CONF", settings);
        }
        command
    }

    /// A command of skopeo, to be run by the caller; images of this store are named after
    /// [`Podman::skopeo_prefix`].
    pub fn skopeo(&self) -> Command {
        let command = Command::new("skopeo").cancel(&self.cancel).bound();
        match &self.settings {
            Some(settings) => command.env("CONTAINERS_CONF", settings),
            None => command,
        }
    }

    /// Runs `podman <args>`.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn run(&self, args: &[&str], deadline: Duration) -> Result<Finished, PodmanError> {
        Ok(self.command_of("podman").args(args).deadline(deadline).run().await?)
    }

    /// Runs `podman <args>` and parses its JSON answer.
    ///
    /// # Errors
    /// The command failed, or did not answer the JSON asked for.
    pub async fn json<T: DeserializeOwned>(
        &self,
        args: &[&str],
        deadline: Duration,
    ) -> Result<T, PodmanError> {
        let answer = self.run(args, deadline).await?;
        parse(args, &answer.stdout)
    }

    /// All images of the store. One that is removed while podman lists them makes it fail as a whole: it is asked
    /// again.
    ///
    /// # Errors
    /// As [`Podman::json`].
    pub async fn images<T: DeserializeOwned>(&self) -> Result<T, PodmanError> {
        const TRIES: u32 = 5;
        let mut left = TRIES;
        loop {
            left -= 1;
            match self.json(&["images", "--no-trunc", "--format", "json"], READ_DEADLINE).await {
                Err(PodmanError::Command(error))
                    if left > 0 && error.to_string().contains("image not known") =>
                {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                end => return end,
            }
        }
    }

    /// Like [`Podman::json`] for a command given several objects: those that vanished are left out
    /// of its answer and are no error.
    ///
    /// # Errors
    /// The command could not run, or did not answer JSON at all.
    pub async fn json_lenient<T: DeserializeOwned>(
        &self,
        args: &[&str],
        deadline: Duration,
    ) -> Result<T, PodmanError> {
        let answer = self.command_of("podman").args(args).deadline(deadline).run_any().await?;
        parse(args, &answer.stdout)
    }
}

fn parse<T: DeserializeOwned>(args: &[&str], answer: &[u8]) -> Result<T, PodmanError> {
    serde_json::from_slice(answer).map_err(|source| PodmanError::Answer {
        what: args.iter().take(2).copied().collect::<Vec<_>>().join(" "),
        source,
    })
}

/// What decides whether podman's defaults work on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HostFacts {
    /// `/sys/fs/cgroup` is one cgroup v2 tree.
    unified_cgroups: bool,
    /// systemd is the init of this host.
    systemd: bool,
    /// Hard limit of open files.
    hard_nofile: u64,
    /// `CAP_SYS_RESOURCE` is in our bounding set.
    may_raise_limits: bool,
}

/// Capability number of `CAP_SYS_RESOURCE` (linux/capability.h).
const CAP_SYS_RESOURCE: u32 = 24;
/// What podman asks for by default.
const PODMAN_NOFILE: u64 = 1_048_576;

impl HostFacts {
    fn probe() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bounding = status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))
            .and_then(|value| u64::from_str_radix(value.trim(), 16).ok())
            .unwrap_or(u64::MAX);
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        Self {
            unified_cgroups: Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
            systemd: Path::new("/run/systemd/system").exists(),
            hard_nofile: limit.maximum.unwrap_or(u64::MAX),
            may_raise_limits: bounding & (1 << CAP_SYS_RESOURCE) != 0,
        }
    }
}

/// The `containers.conf` this host needs, if any.
fn settings_for(host: &HostFacts) -> Option<String> {
    let mut containers = String::new();
    let mut engine = String::new();
    if !host.may_raise_limits && host.hard_nofile < PODMAN_NOFILE {
        let files = host.hard_nofile.min(4096);
        containers.push_str(&format!(
            "default_ulimits = [\"nofile={files}:{files}\",\"nproc=8192:8192\"]\n"
        ));
    }
    if !host.unified_cgroups {
        // crun refuses hybrid cgroups; runc accepts them.
        engine.push_str("runtime = \"runc\"\n");
    }
    if !host.systemd || !host.unified_cgroups {
        engine.push_str("cgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n");
    }
    if containers.is_empty() && engine.is_empty() {
        return None;
    }
    Some(format!(
        "# Written by walt-server for its own podman commands.\n[containers]\n{containers}[engine]\n{engine}"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ORDINARY: HostFacts = HostFacts {
        unified_cgroups: true,
        systemd: true,
        hard_nofile: 524_288,
        may_raise_limits: true,
    };

    #[test]
    fn an_ordinary_host_needs_nothing() {
        assert_eq!(settings_for(&ORDINARY), None);
    }

    #[test]
    fn a_limited_host_gets_what_it_needs() {
        let text = settings_for(&HostFacts {
            unified_cgroups: false,
            systemd: false,
            hard_nofile: 20_000,
            may_raise_limits: false,
        })
        .unwrap();
        assert!(text.contains("nofile=4096:4096"), "{text}");
        assert!(text.contains("runtime = \"runc\""), "{text}");
        let text = settings_for(&HostFacts { systemd: false, ..ORDINARY }).unwrap();
        assert!(!text.contains("runc") && text.contains("cgroupfs"), "{text}");
    }
}
