//! The docker daemon, played by podman's service on a socket of its own: the same API.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use walt_images::Store;
use walt_images::registry::{DockerDaemon, Reference, RemoteError};

use crate::support::*;

struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_the_docker_daemon() {
    assert!(DockerDaemon::at("/no/such/socket", &settings()).is_none());
    let (docker, platform) = (Platform::new().await, Platform::new().await);
    let id = docker.image("docker.io/carol/lab:v2", 500_000).await;
    docker.run(&["tag", id.as_str(), "localhost/elsewhere/deeper/x:1"]).await;
    let Store::At { root, runroot } = docker.podman.store().clone() else { panic!("no store") };
    let socket = docker.path("docker.sock");
    let mut command = std::process::Command::new("podman");
    if let Some(settings) = docker.podman.settings() {
        command.env("CONTAINERS_CONF", settings);
    }
    command.arg("--root").arg(root).arg("--runroot").arg(runroot);
    command.args(["system", "service", "--time=0", &format!("unix://{}", socket.display())]);
    let _service = Service(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let until = Instant::now() + Duration::from_secs(30);
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < until, "podman's service does not start");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let daemon = DockerDaemon::at(&socket, &settings()).unwrap();
    let found = daemon.search().await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    let image: Reference = "carol/lab:v2".parse().unwrap();
    assert_eq!(found[0].image, image);
    assert_eq!(found[0].models(), ["pc-x86-64", "qemu"]);
    assert_eq!(daemon.inspect(&image).await.unwrap().models(), ["pc-x86-64", "qemu"]);
    let missing: Reference = "carol/none".parse().unwrap();
    let error = daemon.inspect(&missing).await.unwrap_err();
    assert!(matches!(error, RemoteError::NotFound { .. }), "{error:?}");

    let (work, resume) = (platform.work(), platform.path("resume"));
    let place = platform.place(&work, &resume);
    let pulled = daemon.pull(&image, &place, &quiet).await.unwrap();
    assert_eq!(pulled.id, id);
    assert!(pulled.downloaded > 500_000);
    assert!(platform.images().await.contains(TAG));
}
