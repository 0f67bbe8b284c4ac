//! The networks of `server.conf`, made real over netlink, and undone.
//!
//! [`up`] reads the kernel's state, makes a plan (pure), and carries it out step by step. Each thing
//! is written to a record in the state folder *before* it is made, so that stopping, or the next start after
//! `kill -9`, undoes exactly that and nothing else. What is already there as wanted is left as it is: bridge
//! `walt-net` of a killed server is adopted with the taps of the virtual nodes that still run on it.
//!
//! `walt-net` is a bridge with a persistent MAC (the server's identity), without STP nor forward delay, IPv6
//! link-local left as the system has it. Its port is the raw device, a VLAN on it, or for a platform of virtual
//! nodes only an interface without a cable, so that the bridge has carrier: a `dummy`, or a `veth` pair where the
//! kernel has no `dummy`. Any other network has no bridge: its name becomes an alternate name of its interface.

mod apply;
mod error;
pub(crate) mod identity;
mod kernel;
mod plan;
mod record;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use walt_model::{Mac, ServerConf, Subnet};

pub use error::NetError;
pub use kernel::{KernelState, Link};
pub use record::{Made, Record};

use apply::Netlink;
use plan::{Wanted, plan};

/// Name of the platform network and of its bridge.
pub const WALT_NET: &str = "walt-net";
/// How long a missing raw device is waited for.
pub const DEVICE_WAIT: Duration = Duration::from_secs(10);

/// What to undo when stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Everything that was made.
    Everything,
    /// Everything, except that `walt-net` stays as it is when it has ports this server did not put there: virtual
    /// nodes that go on running. The next start adopts it.
    KeepIfBusy,
}

/// What stopping did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undone {
    /// What was undone, in sentences for the journal.
    pub done: Vec<String>,
    /// Ports for which `walt-net` was kept.
    pub busy_ports: Vec<String>,
}

/// The networks, up.
#[derive(Debug)]
pub struct Networks {
    mac: Mac,
    subnet: Subnet,
    state_dir: PathBuf,
    done: Vec<String>,
}

/// Bring all networks of the configuration up. Does nothing where all is as wanted.
///
/// A raw device that is missing is waited for, up to [`DEVICE_WAIT`].
///
/// # Errors
/// [`NetError`], after undoing what this call made.
pub async fn up(
    conf: &ServerConf,
    state_dir: &Path,
    cancel: &CancellationToken,
) -> Result<Networks, NetError> {
    up_within(conf, state_dir, cancel, DEVICE_WAIT).await
}

async fn up_within(
    conf: &ServerConf,
    state_dir: &Path,
    cancel: &CancellationToken,
    wait: Duration,
) -> Result<Networks, NetError> {
    let mac = identity::server_mac(state_dir)?;
    let wanted = Wanted::from_conf(conf, mac)?;
    let mut netlink = Netlink::open()?;
    let mut record = Record::load(state_dir)?;
    let deadline = tokio::time::Instant::now() + wait;
    let plan = loop {
        let kernel = netlink.read().await?;
        match plan(&wanted, &kernel, &record) {
            Err(error @ NetError::MissingDevice { .. }) => {
                if tokio::time::Instant::now() >= deadline {
                    return Err(error);
                }
                tokio::select! {
                    () = cancel.cancelled() => return Err(NetError::Cancelled),
                    () = tokio::time::sleep(Duration::from_millis(200)) => {}
                }
            }
            other => break other?,
        }
    };
    let done = netlink.carry_out(plan, &mut record).await?;
    Ok(Networks { mac, subnet: conf.walt_net.ip, state_dir: state_dir.to_owned(), done })
}

/// Undo what is on record in this state folder. Fine if there is nothing.
pub async fn down(state_dir: &Path, stop: Stop) -> Result<Undone, NetError> {
    let mut record = Record::load(state_dir)?;
    let mut netlink = Netlink::open()?;
    let kernel = netlink.read().await?;
    let busy_ports = match stop {
        Stop::Everything => Vec::new(),
        Stop::KeepIfBusy => plan::foreign_ports(&kernel, &record),
    };
    let steps = plan::undo(&record, !busy_ports.is_empty());
    let done = netlink.undo(steps, &mut record).await?;
    Ok(Undone { done, busy_ports })
}

impl Networks {
    /// Interface of the platform network.
    pub fn interface(&self) -> &'static str {
        WALT_NET
    }

    /// MAC of the platform bridge: the server's identity among devices; the same at each start.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Address of the server and prefix of the platform network.
    pub fn subnet(&self) -> Subnet {
        self.subnet
    }

    /// What was done to bring the networks up, in sentences for the journal; empty if all was there.
    pub fn done(&self) -> &[String] {
        &self.done
    }

    /// Undo what was made, by this run or an earlier one that was killed.
    pub async fn down(self, stop: Stop) -> Result<Undone, NetError> {
        down(&self.state_dir, stop).await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
