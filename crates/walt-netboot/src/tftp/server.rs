//! The TFTP service: takes requests and starts a transfer for each.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tftpd::ErrorCode;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::TftpConfig;
use super::request::{MAX_REQUEST, ReadRequest, Received, error, request};
use super::transfer::{Heard, Transfer};
use crate::NetbootError;
use crate::policy::BootPolicy;
use crate::quiet::Quiet;
use crate::socket::{self, Wanted};

/// Most transfers of one client address at a time.
const MAX_PER_CLIENT: usize = 256;

/// A bound TFTP service.
pub struct TftpServer {
    config: Arc<TftpConfig>,
    policy: Arc<dyn BootPolicy>,
    socket: UdpSocket,
    transfers: Arc<Mutex<HashMap<SocketAddrV4, Active>>>,
    tracker: TaskTracker,
    broken: Quiet,
}

/// A transfer under way.
struct Active {
    request: ReadRequest,
    heard: Arc<Heard>,
    stop: CancellationToken,
}

impl TftpServer {
    /// Listens on the server's address.
    pub fn bind(config: TftpConfig, policy: Arc<dyn BootPolicy>) -> Result<Self, NetbootError> {
        let address = SocketAddr::V4(SocketAddrV4::new(config.server, config.port));
        let wanted =
            Wanted { interface: config.interface.as_deref(), broadcast: false, storm: true };
        let socket = socket::udp("TFTP", address, wanted)?;
        Ok(Self {
            config: Arc::new(config),
            policy,
            socket,
            transfers: Arc::default(),
            tracker: TaskTracker::new(),
            broken: Quiet::new(),
        })
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stop` is cancelled; transfers under way are then dropped.
    pub async fn run(self, stop: CancellationToken) {
        let mut buffer = [0; MAX_REQUEST];
        loop {
            let received = tokio::select! {
                () = stop.cancelled() => break,
                received = self.socket.recv_from(&mut buffer) => received,
            };
            match received {
                Ok((length, SocketAddr::V4(client))) => {
                    self.receive(&buffer[..length], client, &stop).await
                }
                Ok((_, SocketAddr::V6(_))) => {}
                Err(error) => {
                    self.broken.warn(
                        "TFTP",
                        self.config.server,
                        format_args!("cannot receive: {error}"),
                    );
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        self.tracker.close();
        self.tracker.wait().await;
    }

    async fn receive(&self, bytes: &[u8], client: SocketAddrV4, stop: &CancellationToken) {
        let refusal = match request(bytes) {
            Received::Read(read) => match self.start(read, client, stop) {
                Ok(()) => return,
                Err(busy) => (ErrorCode::NotDefined, busy),
            },
            Received::Refuse(code, message) => (code, message),
            Received::Ignore => {
                return self.broken.warn("TFTP", client, "packet dropped: not a request");
            }
        };
        let (code, message) = refusal;
        self.broken.warn("TFTP", client, message);
        // Lost errors are asked for again by the client.
        let _ = self.socket.send_to(&error(code, message), client).await;
    }

    fn start(
        &self,
        request: ReadRequest,
        client: SocketAddrV4,
        stop: &CancellationToken,
    ) -> Result<(), &'static str> {
        let mut transfers = self.transfers.lock();
        match transfers.get(&client) {
            Some(active) if active.request == request && active.heard.is_fresh() => return Ok(()),
            // The client forgot the former transfer: firmware that always uses one port, or a new try.
            Some(active) => active.stop.cancel(),
            None if transfers.len() >= self.config.max_transfers => {
                return Err("server busy, try again");
            }
            None if transfers.keys().filter(|other| other.ip() == client.ip()).count()
                >= MAX_PER_CLIENT =>
            {
                return Err("too many transfers of this client");
            }
            None => {}
        }
        let heard = Arc::new(Heard::default());
        let transfer = Transfer {
            config: Arc::clone(&self.config),
            policy: Arc::clone(&self.policy),
            client,
            request: request.clone(),
            heard: Arc::clone(&heard),
            stop: stop.child_token(),
        };
        let active = Active { request, heard: Arc::clone(&heard), stop: transfer.stop.clone() };
        transfers.insert(client, active);
        let forget = Forget { transfers: Arc::clone(&self.transfers), client, heard };
        self.tracker.spawn(async move {
            let _forget = forget;
            transfer.run().await;
        });
        Ok(())
    }
}

/// Removes a transfer from the table when it is over, be it by a panic.
struct Forget {
    transfers: Arc<Mutex<HashMap<SocketAddrV4, Active>>>,
    client: SocketAddrV4,
    heard: Arc<Heard>,
}

impl Drop for Forget {
    fn drop(&mut self) {
        let mut transfers = self.transfers.lock();
        // Unless a newer one of the same client has taken its place.
        if transfers.get(&self.client).is_some_and(|active| Arc::ptr_eq(&active.heard, &self.heard))
        {
            transfers.remove(&self.client);
        }
    }
}
