//! A container whose files are those of a [`Working`] copy, for a person to work in.
//!
//! It is not the server's child: its supervisor (`conmon`) keeps it and its terminal when the server ends.
//!
//! Two modes. *Advanced*: the image has `/bin/walt-image-shell-start` and `-shutdown`; the first is the container's
//! init, shells are further programs in it, the second is run before the container is stopped. *Simple*: the shell
//! itself is the container's only program, and whoever attaches again finds the same shell.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::catalogue::ImageId;
use crate::inside::Inside;
use crate::podman::{CHANGE_DEADLINE, PodmanError, READ_DEADLINE};

use super::{SessionError, Working, io_error};

/// Init of the advanced mode.
pub const START: &str = "/bin/walt-image-shell-start";
/// Its end.
pub const SHUTDOWN: &str = "/bin/walt-image-shell-shutdown";
/// Host name in the container.
pub const HOST_NAME: &str = "image-shell";
/// Longest time the image's own end may take.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(90);
/// Most processes in it.
const MOST_PROCESSES: &str = "4096";
/// Largest `/etc/cpuinfo` shown as `/proc/cpuinfo`, in bytes.
const CPUINFO_LIMIT: usize = 256 << 10;
/// What the container tools put into the files of a container, so that something can be mounted there.
const PLACEHOLDERS: &[&str] = &[
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/mtab",
    "run/.containerenv",
    "run/secrets",
    "run/lock",
    "var/log/journal",
    "dev/pts",
    "dev/shm",
    "dev/mqueue",
    "dev/console",
    "run",
    "proc",
    "sys",
    "dev",
];

/// How a container is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A shell, nothing else.
    Simple,
    /// The operating system of the image.
    Advanced,
}

/// How far a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Made, not started.
    Created,
    /// Running.
    Running,
    /// Ended, by itself or with the machine.
    Ended,
}

/// What has to be known of a container beside its name, from its making to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// How it is run.
    pub mode: Mode,
    /// The shell, seen from inside.
    pub shell: String,
    /// Of [`PLACEHOLDERS`], those the image does not have.
    pub absent: Vec<String>,
}

/// A container.
#[derive(Debug, Clone)]
pub struct Shell {
    working: Working,
    name: String,
    plan: Plan,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ImageFacts {
    config: Option<ImageConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ImageConfig {
    env: Option<Vec<String>>,
}

impl Plan {
    /// Looks into the files of an image.
    ///
    /// # Errors
    /// There is no shell.
    pub fn of(files: &Inside) -> Result<Self, SessionError> {
        let shell = ["/bin/bash", "/bin/sh"].into_iter().find(|path| is_program(files, path));
        let advanced = is_program(files, START) && is_program(files, SHUTDOWN);
        let absent = |path: &&&str| files.kind(path).is_none();
        Ok(Self {
            mode: if advanced { Mode::Advanced } else { Mode::Simple },
            shell: shell.ok_or(SessionError::NoShell)?.to_owned(),
            absent: PLACEHOLDERS.iter().filter(absent).map(|path| (*path).to_owned()).collect(),
        })
    }
}

impl Shell {
    /// The container of a working copy, made before according to `plan`.
    pub fn of(working: &Working, plan: Plan) -> Self {
        Self { name: name_of(working), working: working.clone(), plan }
    }

    /// Makes the container; in advanced mode it starts at once. Its `/etc/cpuinfo`, if it has one, is copied into
    /// `scratch` and shown as `/proc/cpuinfo`. `terminal`: value of `TERM` for it; none: it has no terminal.
    ///
    /// # Errors
    /// podman did not work; the image cannot be read.
    pub async fn create(
        working: &Working,
        image: &ImageId,
        scratch: &Path,
        terminal: Option<&str>,
    ) -> Result<Self, SessionError> {
        let dir = working.mount().await?;
        let (place, scratch) = (dir.clone(), scratch.join(format!("{}.cpuinfo", working.name())));
        let (plan, cpuinfo) = super::working::blocking(move || explore(&place, scratch)).await?;
        let shell = Self::of(working, plan);
        let podman = working.podman();
        let facts: Vec<ImageFacts> =
            podman.json(&["image", "inspect", image.as_str()], READ_DEADLINE).await?;
        let env = facts.into_iter().next().and_then(|facts| facts.config).unwrap_or_default().env;

        let advanced = shell.plan.mode == Mode::Advanced;
        let mut create = podman.command_of("podman").deadline(CHANGE_DEADLINE);
        create = create.arg(if advanced { "run" } else { "create" });
        create = match (advanced, terminal) {
            (true, _) => create.arg("--detach"),
            (false, Some(_)) => create.args(["--interactive", "--tty"]),
            (false, None) => create.arg("--interactive"),
        };
        create = create
            .args(["--name", &shell.name, "--hostname", HOST_NAME, "--workdir", "/root"])
            // As on the server: packages can be fetched whatever the machine's container networks.
            .args(["--network", "host", "--log-driver", "none"])
            .args(["--pids-limit", MOST_PROCESSES, "--env", "HOME=/root"])
            .args(["--systemd", if advanced { "always" } else { "false" }]);
        for pair in env.unwrap_or_default() {
            create = create.args(["--env", &pair]);
        }
        if let Some(term) = terminal {
            create = create.args(["--env", &format!("TERM={term}")]);
        }
        if let Some(cpuinfo) = cpuinfo {
            let mount = format!("type=bind,source={},target=/proc/cpuinfo,ro", cpuinfo.display());
            create = create.args(["--mount", &mount]);
        }
        let program = if advanced { START } else { &shell.plan.shell };
        create = create.args(["--entrypoint", program, "--rootfs"]).arg(&dir);
        create.run().await.map_err(PodmanError::from)?;
        Ok(shell)
    }

    /// What has to be kept to find it again.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How far it is; none when it is not there (any more).
    ///
    /// # Errors
    /// podman did not work.
    pub async fn state(&self) -> Result<Option<State>, SessionError> {
        let podman = self.working.podman();
        let exists = podman.command_of("podman").args(["container", "exists", &self.name]);
        let exists = exists.run_any().await.map_err(PodmanError::from)?;
        if exists.status.code() == Some(1) {
            return Ok(None);
        }
        let args = ["container", "inspect", "--format", "{{.State.Status}}", &self.name];
        let answer = podman.run(&args, READ_DEADLINE).await?;
        Ok(match String::from_utf8_lossy(&answer.stdout).trim() {
            "created" | "configured" => Some(State::Created),
            "running" | "paused" | "stopping" => Some(State::Running),
            _ => Some(State::Ended),
        })
    }

    /// The command that joins its terminal to that of the caller until the shell ends, and ends with its status. Killing
    /// that command leaves the container as it is.
    pub fn join(&self, state: State, terminal: Option<&str>) -> crate::command::Command {
        let command = self.working.podman().command_of("podman");
        match (self.plan.mode, state) {
            (Mode::Simple, State::Created) => command
                .args(["start", "--attach", "--interactive", "--sig-proxy=false", "--detach-keys="])
                .arg(&self.name),
            (Mode::Simple, _) => {
                command.args(["attach", "--sig-proxy=false", "--detach-keys="]).arg(&self.name)
            }
            (Mode::Advanced, _) => {
                let command = command.args(["exec", "--interactive", "--detach-keys="]);
                let command = match terminal {
                    Some(term) => command.args(["--tty", "--env", &format!("TERM={term}")]),
                    None => command,
                };
                command.args([&self.name, &self.plan.shell])
            }
        }
    }

    /// Lets the image end what it started, then stops the container. Done already is no error.
    ///
    /// # Errors
    /// podman did not work.
    pub async fn stop(&self) -> Result<(), SessionError> {
        let podman = self.working.podman();
        if self.plan.mode == Mode::Advanced && self.state().await? == Some(State::Running) {
            let args = ["exec", &self.name, SHUTDOWN];
            // It usually ends the very container it runs in: its status says nothing.
            if let Err(error) = podman.run(&args, SHUTDOWN_DEADLINE).await {
                tracing::debug!(container = self.name, "{SHUTDOWN}: {error}");
            }
        }
        Self::remove_of(&self.working).await
    }

    /// Ends the container of a working copy, if there is one, and removes it; the working copy stays.
    ///
    /// # Errors
    /// podman did not work.
    pub async fn remove_of(working: &Working) -> Result<(), SessionError> {
        let name = name_of(working);
        let args = ["rm", "--force", "--ignore", "--time", "0", &name];
        working.podman().run(&args, CHANGE_DEADLINE).await?;
        Ok(())
    }

    /// Takes away from the working copy what only this container needed to be there.
    ///
    /// # Errors
    /// The working copy cannot be read.
    pub async fn tidy(&self) -> Result<(), SessionError> {
        let dir = self.working.mount().await?;
        let absent = self.plan.absent.clone();
        super::working::blocking(move || {
            let files = Inside::enter(&dir).map_err(io_error("enter", &dir))?;
            for path in &absent {
                remove_if_empty(&files, path).map_err(io_error("tidy up", dir.join(path)))?;
            }
            Ok(())
        })
        .await
    }
}

fn name_of(working: &Working) -> String {
    format!("{}-run", working.name())
}

/// Removes an empty file, an empty directory, or the link of `/etc/mtab`; what got content since is a user's.
fn remove_if_empty(files: &Inside, path: &str) -> std::io::Result<()> {
    use rustix::fs::FileType;
    let Ok(stat) = files.stat(path) else { return Ok(()) };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => files.remove_empty_dir(path),
        FileType::RegularFile if stat.st_size == 0 => files.remove(path).map(drop),
        FileType::Symlink if files.read_link(path)?.as_os_str() == "/proc/mounts" => {
            files.remove(path).map(drop)
        }
        _ => Ok(()),
    }
}

fn explore(dir: &Path, cpuinfo: PathBuf) -> Result<(Plan, Option<PathBuf>), SessionError> {
    let files = Inside::enter(dir).map_err(io_error("enter", dir))?;
    let plan = Plan::of(&files)?;
    let Ok(content) = files.read("/etc/cpuinfo", CPUINFO_LIMIT) else { return Ok((plan, None)) };
    std::fs::write(&cpuinfo, content).map_err(io_error("write", &cpuinfo))?;
    Ok((plan, Some(cpuinfo)))
}

/// Links are followed: `/bin` is often one.
fn is_program(files: &Inside, path: &str) -> bool {
    let stat = files.physical(path).and_then(|path| files.stat(path));
    stat.is_ok_and(|stat| stat.st_mode & 0o111 != 0 && stat.st_mode & 0o170_000 == 0o100_000)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn what_an_image_offers() {
        let dir = tempfile::tempdir().unwrap();
        let files = Inside::enter(dir.path()).unwrap();
        assert!(matches!(Plan::of(&files), Err(SessionError::NoShell)));
        std::fs::create_dir_all(dir.path().join("usr/bin")).unwrap();
        symlink("usr/bin", dir.path().join("bin")).unwrap();
        let program = |name: &str, mode: u32| {
            let path = dir.path().join("usr/bin").join(name);
            std::fs::write(&path, "x").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        program("busybox", 0o755);
        symlink("/bin/busybox", dir.path().join("usr/bin/sh")).unwrap();
        let plan = Plan::of(&files).unwrap();
        assert_eq!((plan.mode, plan.shell.as_str()), (Mode::Simple, "/bin/sh"));
        assert!(plan.absent.iter().any(|path| path == "etc/hosts"));
        program("bash", 0o755);
        program("walt-image-shell-start", 0o755);
        program("walt-image-shell-shutdown", 0o644);
        assert_eq!(Plan::of(&files).unwrap().mode, Mode::Simple);
        program("walt-image-shell-shutdown", 0o755);
        let plan = Plan::of(&files).unwrap();
        assert_eq!((plan.mode, plan.shell.as_str()), (Mode::Advanced, "/bin/bash"));
    }
}
