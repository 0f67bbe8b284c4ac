//! Portmap and mount over UDP, for clients that ask there first.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::quiet::Quiet;
use crate::clients::ToldSteps;
use crate::service::{Outcome, Service, Transport};

/// Longest call: a mount path of 1024 bytes with credentials.
const CALL_MAX: usize = 4096;
/// Longest reply that is sent in a datagram.
const REPLY_MAX: usize = 8192;
/// Length of the record mark that replies start with, which datagrams have not.
const RECORD_MARK: usize = 4;

pub(super) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

pub(super) async fn serve(socket: UdpSocket, service: Arc<Service>, stop: CancellationToken) {
    let quiet = Quiet::default();
    let mut buffer = vec![0; CALL_MAX];
    let mut reply = Vec::new();
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        let (len, peer) = match received {
            Ok(received) => received,
            Err(error) => {
                // An ICMP error about an earlier reply, usually.
                quiet.warn(|| format!("cannot receive datagrams: {error}"));
                continue;
            }
        };
        reply.clear();
        let record = Bytes::copy_from_slice(&buffer[..len]);
        let client = peer.ip().to_canonical();
        let mut told = ToldSteps::default();
        match service.call(client, Transport::Udp, &mut told, &record, &mut reply) {
            Outcome::Answered => {}
            Outcome::Garbage => {
                quiet.warn(|| format!("a datagram of {peer} is no RPC call"));
                continue;
            }
            Outcome::Later(job) => match tokio::task::spawn_blocking(job).await {
                Ok(Some(done)) => reply = done,
                Ok(None) | Err(_) => continue,
            },
        }
        if let Some(message) = reply.get(RECORD_MARK..)
            && message.len() <= REPLY_MAX
            && let Err(error) = socket.send_to(message, peer).await
        {
            quiet.warn(|| format!("cannot answer {peer}: {error}"));
        }
    }
}
