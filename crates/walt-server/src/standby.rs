//! Answers for machines that are switched on while the server is stopped: firmware of Raspberry Pis hangs for
//! ever when its files cannot be downloaded.
//!
//! Only known devices are answered, only by DHCP and TFTP, and only with files of `tftp-static`. What tells
//! whether the server runs is the lock of the state directory: nobody answers as long as it holds it.

use std::collections::HashMap;
use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use ipnet::Ipv4Net;
use nix::fcntl::{Flock, FlockArg};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use walt_model::{Mac, NetSetup, ServerConf, Subnet};
use walt_netboot::dhcp::{DhcpConfig, DhcpServer};
use walt_netboot::policy::quirks::Firmware;
use walt_netboot::policy::{
    BootChoice, BootObservation, BootPolicy, DhcpAnswer, DhcpDecision, DhcpKind, DhcpRequest,
    FileDecision, FilePlace, FileRequest, KnownClient, Seen, boot_choice,
};
use walt_netboot::tftp::{TftpConfig, TftpServer};

use crate::net::{self, Stop, WALT_NET};
use crate::options::StandbyOptions;
use crate::registry::Device;
use crate::services::boot_files::file_in;
use crate::state;

/// Between two looks at the lock while the server runs, and after a problem.
const WAITING: Duration = Duration::from_millis(200);
/// Between two looks at the lock while serving.
const SERVING: Duration = Duration::from_millis(100);
/// Limit on waiting for a network device: a server that starts waits for the lock meanwhile.
const NETWORKS: Duration = Duration::from_secs(1);

/// Answers while the server does not run, until SIGTERM or SIGINT.
///
/// # Errors
/// The system refuses signals or threads.
pub fn run(conf: &ServerConf, options: &StandbyOptions) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut term = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let end = CancellationToken::new();
        let signalled = async {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
            }
            end.cancel();
        };
        tokio::join!(watch(conf, &options.state_dir, &end), signalled);
        Ok(())
    })
}

/// Takes turns with the server.
async fn watch(conf: &ServerConf, state_dir: &Path, end: &CancellationToken) {
    let mut said = String::new();
    while !end.is_cancelled() {
        if let Some(lock) = free(state_dir) {
            match prepare(conf, state_dir, lock).await {
                Ok(services) => {
                    said.clear();
                    tracing::info!("the server is stopped: standing in for it");
                    services.until_server(state_dir, end).await;
                    tracing::info!("silent");
                }
                Err(error) => {
                    let problem = format!("{error:#}");
                    if problem != said {
                        tracing::warn!("cannot stand in for the server yet: {problem}");
                        said = problem;
                    }
                }
            }
        }
        let _ = tokio::time::timeout(WAITING, end.cancelled()).await;
    }
    if let Some(_lock) = free(state_dir)
        && let Err(error) = net::down(state_dir, Stop::KeepIfBusy).await
    {
        tracing::error!("networks: {error}");
    }
}

/// The lock of the server, when nobody holds it. A state directory that is not there is not made.
fn free(state_dir: &Path) -> Option<Flock<File>> {
    let path = state_dir.join("lock");
    let file = File::options().write(true).create(true).truncate(false).open(path).ok()?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()
}

/// Brings the networks up, which the server may have taken down, and opens the sockets. The lock is released
/// then: the server may start at any time.
async fn prepare(conf: &ServerConf, state_dir: &Path, lock: Flock<File>) -> Result<Answering> {
    let devices = state::devices_in(&state_dir.join("platform.db"))?;
    let cancel = CancellationToken::new();
    let mut up = std::pin::pin!(net::up(conf, state_dir, &cancel));
    let networks = match tokio::time::timeout(NETWORKS, &mut up).await {
        Ok(networks) => networks,
        Err(_) => {
            cancel.cancel();
            up.await
        }
    };
    let subnet = networks.context("networks")?.subnet();
    let network = Ipv4Net::new(subnet.network(), subnet.prefix_len())?;
    let devices = devices.into_iter().map(|row| (row.mac, Device::from_state(row, None)));
    let policy = Arc::new(Standby {
        subnet,
        network,
        devices: devices.collect(),
        files: state_dir.join("tftp-static"),
        seen: Seen::default(),
    });
    let interface = Some(WALT_NET.to_owned());
    let dhcp = DhcpConfig::new(WALT_NET.to_owned(), subnet.server());
    let tftp = TftpConfig { interface, ..TftpConfig::new(subnet.server()) };
    let answering = Answering {
        dhcp: DhcpServer::bind(dhcp, policy.clone())?,
        tftp: TftpServer::bind(tftp, policy)?,
    };
    drop(lock);
    Ok(answering)
}

/// The open sockets.
struct Answering {
    dhcp: DhcpServer,
    tftp: TftpServer,
}

impl Answering {
    /// Serves until the server takes its lock, or `end`; the sockets are closed then.
    async fn until_server(self, state_dir: &Path, end: &CancellationToken) {
        let stop = end.child_token();
        let look = async {
            while !stop.is_cancelled() && free(state_dir).is_some() {
                let _ = tokio::time::timeout(SERVING, stop.cancelled()).await;
            }
            stop.cancel();
        };
        tokio::join!(self.dhcp.run(stop.clone()), self.tftp.run(stop.clone()), look);
    }
}

/// What is answered.
struct Standby {
    subnet: Subnet,
    network: Ipv4Net,
    devices: HashMap<Mac, Device>,
    files: PathBuf,
    seen: Seen,
}

impl BootPolicy for Standby {
    fn dhcp(&self, request: &DhcpRequest) -> DhcpDecision {
        let server = self.subnet.server();
        let Some(device) = self.devices.get(&Mac(request.mac.0)) else {
            return DhcpDecision::Silent("the server is stopped, and this device is new".into());
        };
        let ip = match request.kind {
            DhcpKind::Inform => request.client_ip,
            _ => device.ip.filter(|ip| self.network.contains(ip)),
        };
        let Some(ip) = ip else {
            return DhcpDecision::Silent("this device has no address of the platform".into());
        };
        self.seen.note(request, ip);
        let mut answer = DhcpAnswer::new(ip, server, self.network);
        answer.hostname = Some(device.name.to_string());
        answer.router = (device.netsetup() == NetSetup::Nat).then_some(server);
        // Boot loaders of PCs are not served here: without a file, their firmware asks again.
        let boot = boot_choice(request, KnownClient::Unknown, server);
        answer.boot = if boot.file.is_some() { BootChoice::default() } else { boot };
        DhcpDecision::Answer(Box::new(answer))
    }

    fn dhcp_bound(&self, _: &DhcpRequest, _: Ipv4Addr) {}

    fn firmware(&self, client: Ipv4Addr) -> &'static Firmware {
        self.seen.at(client)
    }

    fn boot_file(&self, _: Ipv4Addr, request: &FileRequest) -> FileDecision {
        match &request.place {
            FilePlace::Node(path) => file_in(&self.files, path).into(),
            FilePlace::Platform(_) => FileDecision::Missing,
        }
    }

    fn resolve(&self, _: &str) -> Option<Ipv4Addr> {
        None
    }

    fn reverse(&self, _: Ipv4Addr) -> Option<String> {
        None
    }

    fn observe(&self, _: BootObservation) {}
}
