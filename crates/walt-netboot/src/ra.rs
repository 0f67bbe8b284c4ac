//! IPv6 router advertisements that say "no router here", so that boot ROMs stop waiting for one.
//!
//! iPXE configures IPv6 besides IPv4: after its DHCP ACK it sends router solicitations (RFC 4861) and
//! waits 10 to 40 s for an answer. An advertisement with a router lifetime of 0 and no prefix ends that
//! step at once, and changes nothing for systems: it makes no address and no route.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::NetbootError;
use crate::quiet::Quiet;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// ICMPv6 types (RFC 4861 sections 4.1 and 4.2).
const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;
/// Router lifetime, reachable time, retransmission timer: all "unspecified". The kernel adds the checksum.
const NO_ROUTER: [u8; 16] = [ADVERTISEMENT, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Least time between two advertisements: they go to everybody.
const SPACING: Duration = Duration::from_millis(50);

/// Answers the IPv6 router solicitations on one interface.
pub struct RouterAdvertiser {
    interface: String,
    index: u32,
    socket: UdpSocket,
}

impl RouterAdvertiser {
    /// Opens the raw socket (needs `CAP_NET_RAW`). The service is optional: a caller may log the error
    /// and go on; boots of old iPXE ROMs then take 10 to 40 s longer.
    pub fn bind(interface: &str) -> Result<Self, NetbootError> {
        let open = || -> io::Result<(u32, UdpSocket)> {
            let index = if_nametoindex(interface)?;
            let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
            socket.set_nonblocking(true)?;
            socket.bind_device(Some(interface.as_bytes()))?;
            only_solicitations(&socket)?;
            // RFC 4861: anything else than 255 came through a router and is dropped.
            socket.set_multicast_hops_v6(255)?;
            socket.set_multicast_if_v6(index)?;
            socket.set_multicast_loop_v6(false)?;
            socket.join_multicast_v6(&ALL_ROUTERS, index)?;
            // The type of tokio for datagrams serves raw sockets as well.
            Ok((index, UdpSocket::from_std(socket.into())?))
        };
        match open() {
            Ok((index, socket)) => Ok(Self { interface: interface.to_owned(), index, socket }),
            Err(source) => Err(NetbootError::Interface {
                service: "router advertisement",
                interface: interface.to_owned(),
                source,
            }),
        }
    }

    /// Answers solicitations until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let quiet = Quiet::new();
        loop {
            let done = tokio::select! {
                () = stop.cancelled() => return,
                done = self.answer_one() => done,
            };
            if let Err(error) = done {
                quiet.warn(
                    "RA",
                    &self.interface,
                    format_args!("no router advertisement sent: {error}"),
                );
            }
            // The next one may wait in the socket; a storm makes twenty advertisements a second.
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(Instant::now() + SPACING) => {}
            }
        }
    }

    async fn answer_one(&self) -> io::Result<()> {
        // The kernel lets only solicitations through, and nothing in them changes the answer.
        self.socket.recv(&mut [0; 64]).await?;
        let everybody = SocketAddrV6::new(ALL_NODES, 0, 0, self.index);
        self.socket.send_to(&NO_ROUTER, everybody).await?;
        tracing::debug!(interface = self.interface, "router solicitation answered: no router");
        Ok(())
    }
}

/// Lets only router solicitations into the socket (RFC 3542 section 3.2: a set bit blocks a type).
fn only_solicitations(socket: &Socket) -> io::Result<()> {
    const ICMP6_FILTER: libc::c_int = 1;
    let mut blocked = [u32::MAX; 8];
    blocked[usize::from(SOLICITATION) / 32] &= !(1 << (SOLICITATION % 32));
    // SAFETY: the option takes a struct of 8 words, which lives during the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_ICMPV6,
            ICMP6_FILTER,
            blocked.as_ptr().cast(),
            size_of_val(&blocked) as libc::socklen_t,
        )
    };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
