//! From a decision to the bytes of an answer and the way they go. Pure.

use std::net::Ipv4Addr;

use dhcproto::v4::{Flags, Message, Opcode};
use dhcproto::{Encodable, Encoder};

use crate::policy::quirks::firmware_of;
use crate::policy::{DhcpAnswer, DhcpDecision, DhcpKind, DhcpRequest, LEASE_SECONDS, Mac};

/// Some clients drop answers shorter than BOOTP's 300 bytes.
const MIN_MESSAGE: usize = 300;
/// What every client takes, with IP and UDP headers (RFC 2131 section 2).
const MIN_MAX_SIZE: u16 = 576;
/// Ethernet's: a client's larger wish is of no use.
const MAX_SIZE: u16 = 1500;
/// IP and UDP headers, counted in option 57.
const HEADERS: usize = 28;
/// Name of the zone of the nodes.
const DOMAIN: &str = "walt";

/// How an answer reaches its client (RFC 2131 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the relay agent, server port.
    Relay(Ipv4Addr),
    /// To an address the client already has.
    Unicast(Ipv4Addr),
    /// To an address the client does not have yet: no ARP, straight to its hardware address.
    Hardware(Mac, Ipv4Addr),
    /// To everybody.
    Broadcast,
}

/// An answer ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The DHCP message.
    pub bytes: Vec<u8>,
    /// Its way.
    pub way: Way,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An address is offered.
    Offer(DhcpAnswer, Packet),
    /// An address, or for INFORM the parameters only, are acknowledged.
    Ack(DhcpAnswer, Packet),
    /// The request is refused, and why.
    Nak(String, Packet),
    /// Nothing is sent, and why.
    Silent(String),
}

/// Message types of answers (option 53).
#[derive(Clone, Copy)]
enum AnswerKind {
    Offer = 2,
    Ack = 5,
    Nak = 6,
}

/// A REQUEST that selects another server, if this is one (then nobody must be asked about it).
pub fn chosen_other_server(request: &DhcpRequest, server: Ipv4Addr) -> Option<Ipv4Addr> {
    request.server_id.filter(|chosen| {
        matches!(request.kind, DhcpKind::Request | DhcpKind::Release | DhcpKind::Decline)
            && *chosen != server
    })
}

/// Applies the rules of the protocol to the decision about `request`.
pub fn outcome(request: &DhcpRequest, decision: DhcpDecision, server: Ipv4Addr) -> Outcome {
    let answer = match decision {
        DhcpDecision::Answer(answer) => *answer,
        DhcpDecision::Nak(reason) if request.kind == DhcpKind::Request => {
            return nak(request, server, reason);
        }
        DhcpDecision::Nak(reason) | DhcpDecision::Silent(reason) => return Outcome::Silent(reason),
    };
    match request.kind {
        DhcpKind::Discover => {
            let packet = packet(request, AnswerKind::Offer, &answer);
            Outcome::Offer(answer, packet)
        }
        DhcpKind::Request => match request.wanted_ip() {
            None => Outcome::Silent("a REQUEST without address".to_owned()),
            Some(wanted) if wanted != answer.ip => nak(
                request,
                server,
                format!("{wanted} is not the address of {}, {} is", request.mac, answer.ip),
            ),
            Some(_) => {
                let packet = packet(request, AnswerKind::Ack, &answer);
                Outcome::Ack(answer, packet)
            }
        },
        DhcpKind::Inform => match request.client_ip {
            None => Outcome::Silent("an INFORM without address".to_owned()),
            Some(_) => {
                let packet = packet(request, AnswerKind::Ack, &answer);
                Outcome::Ack(answer, packet)
            }
        },
        DhcpKind::Decline | DhcpKind::Release => {
            Outcome::Silent("this kind of message has no answer".to_owned())
        }
    }
}

fn nak(request: &DhcpRequest, server: Ipv4Addr, reason: String) -> Outcome {
    let mut message = header(request);
    // RFC 2131 section 4.3.2: broadcast, since the client may be on another network than it believes;
    // through a relay, which must broadcast.
    let way = match request.relay_ip {
        Some(relay) => {
            message.set_flags(Flags::default().set_broadcast());
            Way::Relay(relay)
        }
        None => Way::Broadcast,
    };
    let mut options = Options::new(request);
    options.add(53, &[AnswerKind::Nak as u8]);
    options.add(54, &server.octets());
    let mut text = reason.clone();
    while text.len() > 255 {
        text.pop();
    }
    options.add(56, text.as_bytes());
    let bytes = options.finish(&message);
    Outcome::Nak(reason, Packet { bytes, way })
}

fn packet(request: &DhcpRequest, kind: AnswerKind, answer: &DhcpAnswer) -> Packet {
    let inform = request.kind == DhcpKind::Inform;
    let mut message = header(request);
    message.set_siaddr(answer.server);
    if !inform {
        message.set_yiaddr(answer.ip);
    }
    if matches!(kind, AnswerKind::Ack)
        && let Some(ip) = request.client_ip
    {
        message.set_ciaddr(ip);
    }
    // One byte is left for the final NUL boot ROMs expect.
    let file = answer.boot.file.as_deref();
    let file_in_header = file.filter(|file| file.len() < 128);
    if let Some(file) = file_in_header {
        message.set_fname(file.as_bytes());
    }

    let mut options = Options::new(request);
    options.add(53, &[kind as u8]);
    options.add(54, &answer.server.octets());
    if !inform {
        options.add(51, &LEASE_SECONDS.to_be_bytes());
    }
    options.add(1, &answer.network.netmask().octets());
    options.add(28, &answer.network.broadcast().octets());
    if let Some(router) = answer.router {
        options.add(3, &router.octets());
    }
    if let Some(class) = answer.boot.vendor_class {
        options.add(60, class.as_bytes());
    }
    if let Some(vendor) = answer.boot.vendor_options {
        options.add(43, vendor);
    }
    if let Some(file) = file
        && (file_in_header.is_none()
            || request.parameters.contains(&67)
            || firmware_of(request).option_67)
    {
        options.add(67, file.as_bytes());
    }
    if let Some(hostname) = &answer.hostname {
        options.add(12, hostname.as_bytes());
    }
    options.add(6, &answer.server.octets());
    options.add(15, DOMAIN.as_bytes());
    options.add(66, answer.server.to_string().as_bytes());
    options.add(42, &answer.server.octets());
    options.add(119, b"\x04walt\x00");
    let bytes = options.finish(&message);

    let way = if let Some(relay) = request.relay_ip {
        Way::Relay(relay)
    } else if let Some(ip) = request.client_ip {
        Way::Unicast(ip)
    } else if request.broadcast {
        Way::Broadcast
    } else {
        Way::Hardware(request.mac, answer.ip)
    };
    Packet { bytes, way }
}

/// The fields every answer copies from its request.
fn header(request: &DhcpRequest) -> Message {
    let mut message = Message::default();
    let flags = if request.broadcast { Flags::default().set_broadcast() } else { Flags::default() };
    message
        .set_opcode(Opcode::BootReply)
        .set_xid(request.xid)
        .set_flags(flags)
        .set_giaddr(request.relay_ip.unwrap_or(Ipv4Addr::UNSPECIFIED))
        .set_chaddr(&request.mac.0);
    message
}

/// The options of an answer, the most needed first; what does not fit the client's buffer is left out.
struct Options {
    bytes: Vec<u8>,
    /// Room for options and their end mark.
    room: usize,
    /// What goes last: client identifier (RFC 6842) and relay information (RFC 3046).
    tail: Vec<u8>,
}

impl Options {
    fn new(request: &DhcpRequest) -> Self {
        let size = request.max_size.unwrap_or(MIN_MAX_SIZE).clamp(MIN_MAX_SIZE, MAX_SIZE);
        let room = usize::from(size) - HEADERS - 240 - 1;
        let mut tail = Vec::new();
        for (code, value) in [(61, &request.client_id), (82, &request.relay_info)] {
            if let Some(value) = value {
                let encoded = encoded(code, value);
                // A hostile identifier must not push out what a client needs.
                if tail.len() + encoded.len() <= room / 2 {
                    tail.extend_from_slice(&encoded);
                }
            }
        }
        Self { bytes: Vec::with_capacity(room), room, tail }
    }

    fn add(&mut self, code: u8, value: &[u8]) {
        let encoded = encoded(code, value);
        if self.bytes.len() + self.tail.len() + encoded.len() <= self.room {
            self.bytes.extend_from_slice(&encoded);
        }
    }

    /// The whole message: fixed part, options, end mark, padding.
    fn finish(self, message: &Message) -> Vec<u8> {
        let mut bytes =
            Vec::with_capacity(MIN_MESSAGE.max(240 + self.bytes.len() + self.tail.len() + 1));
        message
            .encode(&mut Encoder::new(&mut bytes))
            .expect("the fixed part goes to memory and its fields are within their bounds");
        bytes.extend_from_slice(&self.bytes);
        bytes.extend_from_slice(&self.tail);
        bytes.push(255);
        bytes.resize(bytes.len().max(MIN_MESSAGE), 0);
        bytes
    }
}

/// An option on the wire, in several pieces when it is long (RFC 3396).
fn encoded(code: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len() + 2);
    let mut push = |piece: &[u8]| {
        bytes.push(code);
        bytes.push(u8::try_from(piece.len()).expect("pieces have 255 bytes at most"));
        bytes.extend_from_slice(piece);
    };
    if value.is_empty() {
        push(&[]);
    }
    value.chunks(255).for_each(&mut push);
    bytes
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
