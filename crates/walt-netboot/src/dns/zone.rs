//! What this server answers by itself: the zone `walt` and the reverse zone of its network. Pure.

use std::net::Ipv4Addr;
use std::str::FromStr;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, NS, PTR, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use ipnet::{IpNet, Ipv4Net};

use super::DnsConfig;
use crate::policy::BootPolicy;

/// Seconds an answer may be kept. Nodes come and go, and are renamed: short.
const TTL: u32 = 60;
/// Largest datagram we take and send (the usual advice against fragments).
pub(crate) const MAX_DATAGRAM: u16 = 1232;

/// What becomes of a query.
#[derive(Debug)]
pub(crate) enum Reaction {
    /// This answer.
    Answer(Box<Message>),
    /// Some other server knows; the query as it is.
    Forward(Box<Message>),
    /// Nothing: not a query.
    Ignore,
}

/// Decides about a message received.
pub(crate) fn react(bytes: &[u8], config: &DnsConfig, policy: &dyn BootPolicy) -> Reaction {
    let Ok(query) = Message::from_vec(bytes) else {
        return match bytes {
            // Long enough to tell who asked, and a query (never answer an answer).
            [high, low, flags, ..] if bytes.len() >= 12 && flags & 0x80 == 0 => {
                let id = u16::from_be_bytes([*high, *low]);
                answer(Message::error_msg(id, OpCode::Query, ResponseCode::FormErr))
            }
            _ => Reaction::Ignore,
        };
    };
    if query.metadata.message_type != MessageType::Query {
        return Reaction::Ignore;
    }
    if query.metadata.op_code != OpCode::Query {
        return answer(failure(&query, ResponseCode::NotImp));
    }
    if query.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return answer(failure(&query, ResponseCode::BADVERS));
    }
    let [question] = query.queries.as_slice() else {
        return answer(failure(&query, ResponseCode::FormErr));
    };
    if question.query_class() != DNSClass::IN {
        return answer(failure(&query, ResponseCode::Refused));
    }
    let found = if zone().zone_of(question.name()) {
        forward_zone(question, config, policy)
    } else {
        match reverse_address(question.name()) {
            Some(part) if config.network.contains(&part) => {
                reverse_zone(question, part, config, policy)
            }
            _ => return Reaction::Forward(Box::new(query)),
        }
    };
    let mut response = response(&query);
    response.metadata.authoritative = true;
    match found {
        Found::Records(records) => {
            response.add_answers(records);
        }
        Found::NoData => {
            response.add_authority(soa());
        }
        Found::NoName => {
            response.metadata.response_code = ResponseCode::NXDomain;
            response.add_authority(soa());
        }
    }
    answer(response)
}

/// An answer that says only what went wrong.
pub(crate) fn failure(query: &Message, code: ResponseCode) -> Message {
    let mut message = response(query);
    message.metadata.response_code = code;
    if let Some(edns) = &mut message.edns {
        edns.set_rcode_high(code.high());
    }
    message
}

/// An answer without records.
fn response(query: &Message) -> Message {
    let mut message = Message::response(query.metadata.id, query.metadata.op_code);
    message.metadata = Metadata::response_from_request(&query.metadata);
    message.metadata.recursion_available = true;
    message.add_queries(query.queries.iter().cloned());
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_DATAGRAM);
        message.set_edns(edns);
    }
    message
}

fn answer(message: Message) -> Reaction {
    Reaction::Answer(Box::new(message))
}

enum Found {
    Records(Vec<Record>),
    /// The name exists, the type does not.
    NoData,
    NoName,
}

fn forward_zone(question: &Query, config: &DnsConfig, policy: &dyn BootPolicy) -> Found {
    let name = question.name();
    let kind = question.query_type();
    let wants = |wanted: RecordType| kind == wanted || kind == RecordType::ANY;
    let record = |name: &Name, data: RData| Record::from_rdata(name.clone(), TTL, data);

    let labels = name.num_labels() - zone().num_labels();
    if labels == 0 {
        let mut records = Vec::new();
        if wants(RecordType::SOA) {
            records.push(soa());
        }
        if wants(RecordType::NS) {
            records.push(record(name, RData::NS(NS(server_name()))));
        }
        return if records.is_empty() { Found::NoData } else { Found::Records(records) };
    }
    let label = name.iter().next().and_then(|label| std::str::from_utf8(label).ok());
    let Some(label) = label.filter(|_| labels == 1).map(str::to_ascii_lowercase) else {
        return Found::NoName;
    };
    let address = |name: &Name, ip: Ipv4Addr| record(name, RData::A(A(ip)));
    match label.as_str() {
        "walt-server" => {
            let mut records = vec![record(name, RData::CNAME(CNAME(server_name())))];
            if wants(RecordType::A) {
                records.push(address(&server_name(), config.server));
            }
            Found::Records(records)
        }
        label => {
            let ip = if label == "server" { Some(config.server) } else { policy.resolve(label) };
            match ip {
                None => Found::NoName,
                Some(ip) if wants(RecordType::A) => Found::Records(vec![address(name, ip)]),
                Some(_) => Found::NoData,
            }
        }
    }
}

fn reverse_zone(
    question: &Query,
    part: Ipv4Net,
    config: &DnsConfig,
    policy: &dyn BootPolicy,
) -> Found {
    if part.prefix_len() < 32 {
        return Found::NoData;
    }
    let device = if part.addr() == config.server {
        Some(server_name())
    } else {
        // A name that is no label of DNS is no name here.
        policy.reverse(part.addr()).and_then(|name| Name::from_str(&format!("{name}.walt.")).ok())
    };
    match device {
        None => Found::NoName,
        Some(device) if matches!(question.query_type(), RecordType::PTR | RecordType::ANY) => {
            Found::Records(vec![Record::from_rdata(
                question.name().clone(),
                TTL,
                RData::PTR(PTR(device)),
            )])
        }
        Some(_) => Found::NoData,
    }
}

/// The address, or the network, a name of `in-addr.arpa.` stands for.
fn reverse_address(name: &Name) -> Option<Ipv4Net> {
    let mut fqdn = name.clone();
    fqdn.set_fqdn(true);
    match fqdn.parse_arpa_name() {
        Ok(IpNet::V4(net)) if net.prefix_len() > 0 => Some(net),
        _ => None,
    }
}

fn zone() -> Name {
    parsed("walt.")
}

fn server_name() -> Name {
    parsed("server.walt.")
}

fn soa() -> Record {
    let soa =
        SOA::new(server_name(), parsed("root.server.walt."), 1, 604_800, 86_400, 2_419_200, TTL);
    Record::from_rdata(zone(), TTL, RData::SOA(soa))
}

fn parsed(name: &str) -> Name {
    Name::from_str(name).expect("only called with correct names")
}

#[cfg(test)]
#[path = "zone_tests.rs"]
mod tests;
