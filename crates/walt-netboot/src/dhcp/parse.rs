//! From the bytes of a DHCP message to a [`DhcpRequest`].
//!
//! The fixed part is read by `dhcproto`. Options are walked here: that crate stops silently at a
//! truncated option, and its typed decoder asserts on hostile lengths.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use dhcproto::v4::borrowed::Message;
use dhcproto::v4::{HType, MAGIC, Opcode};

use crate::policy::{DhcpKind, DhcpRequest, Mac};

/// Bytes before the options: fixed fields and magic cookie (RFC 2131 section 2).
const FIXED: usize = 240;
/// Place of the fixed fields that may hold more options (option 52).
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;

/// Why a datagram is not a DHCP message this service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDhcp {
    /// Shorter than the fixed part.
    #[error("truncated: {0} bytes")]
    Short(usize),
    /// A reply, or an unknown operation.
    #[error("not a request")]
    NotRequest,
    /// The magic cookie is missing.
    #[error("no magic cookie")]
    NoMagic,
    /// Another link layer than Ethernet.
    #[error("not an Ethernet client")]
    NotEthernet,
    /// An option goes beyond the end of the message.
    #[error("option {0} is truncated")]
    TruncatedOption(u8),
    /// An option has a length its type cannot have.
    #[error("option {0} has a wrong length")]
    WrongLength(u8),
    /// A BOOTP request: no message type. Not served.
    #[error("BOOTP request")]
    Bootp,
    /// A message type that is not for a server.
    #[error("message type {0} is not for a server")]
    Kind(u8),
}

/// Parses a datagram received on the server port.
pub fn parse(bytes: &[u8]) -> Result<DhcpRequest, NotDhcp> {
    if bytes.len() < FIXED {
        return Err(NotDhcp::Short(bytes.len()));
    }
    let message = Message::new(bytes).map_err(|_| NotDhcp::Short(bytes.len()))?;
    if message.opcode() != Opcode::BootRequest {
        return Err(NotDhcp::NotRequest);
    }
    if bytes[FIXED - MAGIC.len()..FIXED] != MAGIC {
        return Err(NotDhcp::NoMagic);
    }
    if message.htype() != HType::Eth || message.hlen() != 6 {
        return Err(NotDhcp::NotEthernet);
    }
    let mut mac = [0; 6];
    mac.copy_from_slice(message.chaddr());

    let options = Options::of(bytes)?;
    let kind = match options.get(53) {
        None => return Err(NotDhcp::Bootp),
        Some([1]) => DhcpKind::Discover,
        Some([3]) => DhcpKind::Request,
        Some([4]) => DhcpKind::Decline,
        Some([7]) => DhcpKind::Release,
        Some([8]) => DhcpKind::Inform,
        Some([other]) => return Err(NotDhcp::Kind(*other)),
        Some(_) => return Err(NotDhcp::WrongLength(53)),
    };
    Ok(DhcpRequest {
        kind,
        xid: message.xid(),
        mac: Mac(mac),
        seconds: message.secs(),
        broadcast: message.flags().broadcast(),
        client_ip: specified(message.ciaddr()),
        relay_ip: specified(message.giaddr()),
        requested_ip: options.ip(50)?.and_then(specified),
        server_id: options.ip(54)?.and_then(specified),
        hostname: options.text(12),
        vendor_class: options.text(60),
        user_class: options.text(77),
        user_classes: options.get(77).map(user_classes).unwrap_or_default(),
        architectures: options
            .get(93)
            .unwrap_or_default()
            .chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .collect(),
        machine_id: options.get(97).map(<[u8]>::to_vec),
        client_id: options.get(61).map(<[u8]>::to_vec),
        relay_info: options.get(82).map(<[u8]>::to_vec),
        max_size: match options.get(57) {
            Some([high, low]) => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        },
        parameters: options.get(55).unwrap_or_default().to_vec(),
        ipxe_options: options.get(175).map(<[u8]>::to_vec),
    })
}

/// The options of a message; those that come several times are joined (RFC 3396).
struct Options(BTreeMap<u8, Vec<u8>>);

impl Options {
    fn of(message: &[u8]) -> Result<Self, NotDhcp> {
        let mut options = Self(BTreeMap::new());
        options.walk(&message[FIXED..])?;
        // RFC 2131 section 4.1: the `file` field first, then `sname`.
        let overload = options.get(52).and_then(|value| value.first().copied());
        if matches!(overload, Some(1 | 3)) {
            options.walk(&message[FILE])?;
        }
        if matches!(overload, Some(2 | 3)) {
            options.walk(&message[SNAME])?;
        }
        Ok(options)
    }

    fn walk(&mut self, mut rest: &[u8]) -> Result<(), NotDhcp> {
        loop {
            rest = match rest {
                [] | [255, ..] => return Ok(()),
                [0, rest @ ..] => rest,
                [code, length, tail @ ..] => {
                    let (value, rest) = tail
                        .split_at_checked(usize::from(*length))
                        .ok_or(NotDhcp::TruncatedOption(*code))?;
                    self.0.entry(*code).or_default().extend_from_slice(value);
                    rest
                }
                [code] => return Err(NotDhcp::TruncatedOption(*code)),
            }
        }
    }

    fn get(&self, code: u8) -> Option<&[u8]> {
        self.0.get(&code).map(Vec::as_slice)
    }

    fn ip(&self, code: u8) -> Result<Option<Ipv4Addr>, NotDhcp> {
        self.get(code)
            .map(|value| {
                <[u8; 4]>::try_from(value)
                    .map(Ipv4Addr::from)
                    .map_err(|_| NotDhcp::WrongLength(code))
            })
            .transpose()
    }

    fn text(&self, code: u8) -> String {
        self.get(code).map(text).unwrap_or_default()
    }
}

fn specified(ip: Ipv4Addr) -> Option<Ipv4Addr> {
    (!ip.is_unspecified()).then_some(ip)
}

/// Text without the NUL bytes some clients end it with.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "")
}

/// The whole value, then the parts of the RFC 3004 form (length, bytes, length, bytes...) if it has it.
fn user_classes(value: &[u8]) -> Vec<String> {
    let mut classes = vec![text(value)];
    let mut parts = Vec::new();
    let mut rest = value;
    while let [length, tail @ ..] = rest {
        match tail.split_at_checked(usize::from(*length)) {
            Some((part, after)) if !part.is_empty() => {
                parts.push(text(part));
                rest = after;
            }
            _ => return classes,
        }
    }
    classes.append(&mut parts);
    classes
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    /// A request of a client with these options, in this order.
    pub(crate) fn message(options: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; FIXED];
        bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
        bytes[4..8].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
        bytes[28..34].copy_from_slice(&[0x52, 0x54, 0, 1, 2, 3]);
        bytes[236..240].copy_from_slice(&MAGIC);
        for (code, value) in options {
            bytes.push(*code);
            bytes.push(u8::try_from(value.len()).unwrap());
            bytes.extend_from_slice(value);
        }
        bytes.push(255);
        bytes
    }

    #[test]
    fn a_pc_that_declares_its_model() {
        // The raw bytes of the node specification, section 2.1.
        let request = parse(&message(&[
            (53, &[1]),
            (77, b"walt.node.pc-x86-64"),
            (60, b"PXEClient:Arch:00000:UNDI:002001"),
            (93, &[0, 0]),
            (57, &[5, 0xc0]),
            (55, &[1, 3, 66, 67]),
        ]))
        .unwrap();
        assert_eq!(request.kind, DhcpKind::Discover);
        assert_eq!(request.xid, 0xdead_beef);
        assert_eq!(request.mac.to_string(), "52:54:00:01:02:03");
        assert_eq!(request.walt_model(), Some("pc-x86-64"));
        assert_eq!(request.architectures, [0]);
        assert_eq!(request.max_size, Some(1472));
        assert!(!request.is_plain_ipxe());
    }

    #[test]
    fn a_raspberry_pi_running_u_boot() {
        let request = parse(&message(&[(53, &[3]), (60, b"walt.node.rpi-4-b")])).unwrap();
        assert_eq!(request.kind, DhcpKind::Request);
        assert_eq!(request.walt_model(), Some("rpi-4-b"));
    }

    #[test]
    fn user_classes_raw_and_as_a_list() {
        let raw = parse(&message(&[(53, &[1]), (77, b"iPXE")])).unwrap();
        assert!(raw.is_plain_ipxe());
        let list = parse(&message(&[(53, &[1]), (77, b"\x04iPXE\x02ab")])).unwrap();
        assert_eq!(list.user_classes[1..], ["iPXE", "ab"]);
        assert!(list.is_plain_ipxe());
        let walt = parse(&message(&[(53, &[1]), (77, b"walt.node.iPXE")])).unwrap();
        assert!(!walt.is_plain_ipxe());
    }

    #[test]
    fn long_options_are_joined() {
        let request =
            parse(&message(&[(53, &[1]), (12, b"node"), (60, b"x"), (12, b"-1")])).unwrap();
        assert_eq!(request.hostname, "node-1");
    }

    #[test]
    fn options_in_the_file_and_sname_fields() {
        let mut bytes = message(&[(52, &[3])]);
        bytes[108..112].copy_from_slice(&[53, 1, 1, 255]);
        bytes[44..49].copy_from_slice(&[12, 2, b'v', b'm', 255]);
        let request = parse(&bytes).unwrap();
        assert_eq!(request.kind, DhcpKind::Discover);
        assert_eq!(request.hostname, "vm");
    }

    #[test]
    fn what_is_not_served() {
        let good = message(&[(53, &[1])]);
        assert_eq!(parse(&good[..239]), Err(NotDhcp::Short(239)));
        assert_eq!(parse(&message(&[])), Err(NotDhcp::Bootp));
        assert_eq!(parse(&message(&[(53, &[2])])), Err(NotDhcp::Kind(2)));
        assert_eq!(parse(&message(&[(53, &[1, 1])])), Err(NotDhcp::WrongLength(53)));
        assert_eq!(parse(&message(&[(53, &[1]), (50, &[1, 2])])), Err(NotDhcp::WrongLength(50)));
        let truncated = message(&[(53, &[1]), (12, b"hello")]);
        assert_eq!(parse(&truncated[..truncated.len() - 3]), Err(NotDhcp::TruncatedOption(12)));
        for (place, value, error) in [
            (0, 2, NotDhcp::NotRequest),
            (1, 6, NotDhcp::NotEthernet),
            (2, 255, NotDhcp::NotEthernet),
            (236, 0, NotDhcp::NoMagic),
        ] {
            let mut bytes = good.clone();
            bytes[place] = value;
            assert_eq!(parse(&bytes), Err(error));
        }
    }

    proptest! {
        #[test]
        fn random_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn random_options_do_no_harm(tail in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut bytes = message(&[(53, &[1])]);
            bytes.pop();
            bytes.extend_from_slice(&tail);
            let _ = parse(&bytes);
        }
    }
}
