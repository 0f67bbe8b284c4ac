//! Where images come from and go to, beside this server: the registries of `server.conf`, the docker daemon.

use std::collections::HashMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use walt_images::registry::{DockerDaemon, Limits, Remote, RemoteError, Settings};
use walt_model::NodeModel;
use walt_model::server_conf::{Registry, RegistryApi};

/// Word of links to images of this server.
pub const WALT: &str = "walt";
/// Word of links to images of the docker daemon.
pub const DOCKER: &str = "docker";

/// Where docker's daemon listens.
const DOCKER_SOCKET: &str = "/run/docker.sock";

/// The registries of this platform, and the docker daemon of its machine.
#[derive(Debug)]
pub struct Remotes {
    registries: Vec<Remote>,
    /// The same for searches, where a registry that does not answer is left out sooner.
    searched: Vec<Remote>,
    docker_socket: PathBuf,
    settings: Settings,
    /// Where partial downloads wait for their next try.
    resume_dir: PathBuf,
    /// Where operations work.
    work_dir: PathBuf,
    asked: Mutex<HashMap<NodeModel, Instant>>,
}

impl Remotes {
    /// Those of the configuration. A registry that cannot be used is told to `wrong` and left out.
    ///
    /// # Errors
    /// The directories cannot be made.
    pub fn open(
        conf: &[Registry],
        state_dir: &Path,
        mut wrong: impl FnMut(&RemoteError),
    ) -> std::io::Result<Self> {
        let work_dir = state_dir.join("work");
        let resume_dir = state_dir.join("downloads");
        for dir in [&work_dir, &resume_dir] {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let mut settings = Settings::default();
        settings.certificates.insert(0, state_dir.join("certs.d"));
        let patient = settings.clone();
        settings.limits = Limits { tries: 2, ..settings.limits };
        let mut registries = Vec::new();
        let mut searched = Vec::new();
        for conf in conf {
            match (Remote::new(conf, &patient), Remote::new(conf, &settings)) {
                (Ok(remote), Ok(search)) => {
                    registries.push(remote);
                    searched.push(search);
                }
                (Err(error), _) | (_, Err(error)) => wrong(&error),
            }
        }
        let docker_socket = PathBuf::from(DOCKER_SOCKET);
        let settings = patient;
        Ok(Self {
            registries,
            searched,
            docker_socket,
            settings,
            resume_dir,
            work_dir,
            asked: Mutex::default(),
        })
    }

    /// The registries, in the order of the configuration.
    pub fn registries(&self) -> &[Remote] {
        &self.registries
    }

    /// The registries as searches use them.
    pub fn searched(&self) -> &[Remote] {
        &self.searched
    }

    /// The registry with this label.
    pub fn registry(&self, label: &str) -> Option<&Remote> {
        self.registries.iter().find(|remote| remote.label() == label)
    }

    /// The Docker Hub, if the platform uses it.
    pub fn hub(&self) -> Option<&Remote> {
        self.registries.iter().find(|remote| remote.conf().api == RegistryApi::DockerHub)
    }

    /// The docker daemon, if there is one now.
    pub fn docker(&self) -> Option<DockerDaemon> {
        DockerDaemon::at(&self.docker_socket, &self.settings)
    }

    /// Models whose default image was asked for without a user waiting for it, and when.
    pub fn asked(&self) -> MutexGuard<'_, HashMap<NodeModel, Instant>> {
        self.asked.lock()
    }

    /// Words a clone link may begin with.
    pub fn locations(&self) -> Vec<&str> {
        let labels = self.registries.iter().map(Remote::label);
        [WALT, DOCKER].into_iter().chain(labels).collect()
    }

    /// Where partial downloads wait for their next try.
    pub fn resume_dir(&self) -> &Path {
        &self.resume_dir
    }

    /// Where operations work, each in a directory `op-<hex>` of its own.
    pub fn work_dir(&self) -> &Path {
        &self.work_dir
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn words_of_links() {
        let dir = tempfile::tempdir().unwrap();
        let lab = Registry {
            label: "lab".into(),
            api: RegistryApi::DockerRegistryV2,
            host: "127.0.0.1".into(),
            ..Registry::hub()
        };
        let remotes =
            Remotes::open(&[Registry::hub(), lab], dir.path(), |e| panic!("{e}")).unwrap();
        assert_eq!(remotes.locations(), ["walt", "docker", "hub", "lab"]);
        assert_eq!(remotes.hub().unwrap().label(), "hub");
        assert!(remotes.registry("walt").is_none());
        assert!(remotes.work_dir().is_dir() && remotes.resume_dir().is_dir());
    }
}
