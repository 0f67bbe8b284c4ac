//! Sockets of the services: UDP and TCP, optionally tied to one interface.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, Socket, Type};

use crate::NetbootError;

/// Receive buffer of the sockets that storms of clients fall upon, in bytes: 1 000 clients booting at
/// once overflow the default 212 992 bytes.
const STORM_BUFFER: usize = 8 << 20;

/// What a listening socket needs beyond its address.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// Receive only from this interface.
    pub interface: Option<&'a str>,
    /// May send to broadcast addresses.
    pub broadcast: bool,
    /// Has a large receive buffer.
    pub storm: bool,
}

/// A bound, non-blocking UDP socket.
pub(crate) fn udp(
    service: &'static str,
    address: SocketAddr,
    wanted: Wanted<'_>,
) -> Result<tokio::net::UdpSocket, NetbootError> {
    let open = || -> io::Result<tokio::net::UdpSocket> {
        let socket = prepared(address, Type::DGRAM, Protocol::UDP, wanted)?;
        socket.bind(&address.into())?;
        tokio::net::UdpSocket::from_std(socket.into())
    };
    open().map_err(|source| refused(service, address, wanted, source))
}

/// A listening, non-blocking TCP socket.
pub(crate) fn tcp(
    service: &'static str,
    address: SocketAddr,
    wanted: Wanted<'_>,
) -> Result<tokio::net::TcpListener, NetbootError> {
    let open = || -> io::Result<tokio::net::TcpListener> {
        let socket = prepared(address, Type::STREAM, Protocol::TCP, wanted)?;
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        tokio::net::TcpListener::from_std(socket.into())
    };
    open().map_err(|source| refused(service, address, wanted, source))
}

fn prepared(
    address: SocketAddr,
    kind: Type,
    protocol: Protocol,
    wanted: Wanted<'_>,
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    // TCP: a restarted server must get its port back at once. UDP: only the DHCP socket, bound to its
    // interface, shares its port (another interface may have its own DHCP server).
    if kind == Type::STREAM || wanted.broadcast {
        socket.set_reuse_address(true)?;
    }
    if wanted.broadcast {
        socket.set_broadcast(true)?;
    }
    if let Some(interface) = wanted.interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    if wanted.storm {
        enlarge(&socket);
    }
    Ok(socket)
}

/// Enlarges the receive buffer as far as allowed; what is refused only costs capacity.
fn enlarge(socket: &Socket) {
    use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};

    if setsockopt(&socket.as_fd(), RcvBufForce, &STORM_BUFFER).is_err()
        && let Err(error) = socket.set_recv_buffer_size(STORM_BUFFER)
    {
        tracing::debug!(%error, "receive buffer stays at its default size");
    }
}

fn refused(
    service: &'static str,
    address: SocketAddr,
    wanted: Wanted<'_>,
    source: io::Error,
) -> NetbootError {
    NetbootError::Bind { service, address, interface: wanted.interface.map(str::to_owned), source }
}
