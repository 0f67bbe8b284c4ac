//! Answers to clients that have no address yet: IP and UDP headers of our own, sent by a packet socket
//! to the client's hardware address. The kernel would ask by ARP for an address nobody answers for.

use std::io;
use std::mem;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use socket2::{Domain, Socket, Type};

use crate::policy::Mac;

/// Everybody on the link.
pub(crate) const ALL: Mac = Mac([0xff; 6]);

/// Sends UDP datagrams to hardware addresses on one interface.
pub(crate) struct FrameSender {
    socket: OwnedFd,
    interface: String,
}

impl FrameSender {
    /// Needs `CAP_NET_RAW`.
    pub(crate) fn open(interface: &str) -> io::Result<Self> {
        // Protocol 0: this socket receives nothing.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: socket.into(), interface: interface.to_owned() })
    }

    /// Sends `payload` from `source` to `target`, to the machine `to`.
    pub(crate) fn send(
        &self,
        to: Mac,
        source: (Ipv4Addr, u16),
        target: (Ipv4Addr, u16),
        payload: &[u8],
    ) -> io::Result<()> {
        let packet = udp_packet(source, target, payload)?;
        let mut halen = [0; 8];
        halen[..6].copy_from_slice(&to.0);
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: (libc::ETH_P_IP as u16).to_be(),
            sll_ifindex: self.index()?,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: halen,
        };
        // SAFETY: the buffer and the address live during the call and their sizes are given.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                (&raw const address).cast(),
                mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Index of the interface now: it changes when the interface is made again.
    fn index(&self) -> io::Result<i32> {
        let index = nix::net::if_::if_nametoindex(self.interface.as_str())?;
        i32::try_from(index).map_err(io::Error::other)
    }
}

/// An IPv4 packet with a UDP datagram (RFC 791, RFC 768).
fn udp_packet(
    source: (Ipv4Addr, u16),
    target: (Ipv4Addr, u16),
    payload: &[u8],
) -> io::Result<Vec<u8>> {
    let udp_length = u16::try_from(payload.len() + 8).map_err(io::Error::other)?;
    let total = udp_length.checked_add(20).ok_or_else(|| io::Error::other("datagram too long"))?;

    let mut packet = Vec::with_capacity(usize::from(total));
    packet.extend_from_slice(&[0x45, 0x10]);
    packet.extend_from_slice(&total.to_be_bytes());
    // No identification needed: "don't fragment" is set.
    packet.extend_from_slice(&[0, 0, 0x40, 0, 64, 17, 0, 0]);
    packet.extend_from_slice(&source.0.octets());
    packet.extend_from_slice(&target.0.octets());
    let header_sum = checksum(&[&packet]);
    packet[10..12].copy_from_slice(&header_sum.to_be_bytes());

    packet.extend_from_slice(&source.1.to_be_bytes());
    packet.extend_from_slice(&target.1.to_be_bytes());
    packet.extend_from_slice(&udp_length.to_be_bytes());
    packet.extend_from_slice(&[0, 0]);
    packet.extend_from_slice(payload);
    let pseudo_end = [0, 17, udp_length.to_be_bytes()[0], udp_length.to_be_bytes()[1]];
    let sum = checksum(&[&source.0.octets(), &target.0.octets(), &pseudo_end, &packet[20..]]);
    // 0 would mean "no checksum".
    let sum = if sum == 0 { 0xffff } else { sum };
    packet[26..28].copy_from_slice(&sum.to_be_bytes());
    Ok(packet)
}

/// The Internet checksum (RFC 1071) of parts; all but the last have an even length.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u32::from(u16::from_be_bytes([pair[0], low]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn checksums_verify() {
        let source = Ipv4Addr::new(192, 168, 152, 1);
        let target = Ipv4Addr::new(192, 168, 152, 20);
        for payload in [&b"hello"[..], b"", b"even"] {
            let packet = udp_packet((source, 67), (target, 68), payload).unwrap();
            assert_eq!(packet.len(), 28 + payload.len());
            assert_eq!(checksum(&[&packet[..20]]), 0);
            let length = (packet.len() - 20) as u8;
            let sum =
                checksum(&[&source.octets(), &target.octets(), &[0, 17, 0, length], &packet[20..]]);
            assert_eq!(sum, 0);
            assert_eq!(packet[20..24], [0, 67, 0, 68]);
        }
    }
}
