#![allow(clippy::unwrap_used)]

use super::*;
use crate::policy::{BootObservation, DhcpDecision, DhcpRequest, FileDecision, FileRequest};
use proptest::prelude::*;

struct Nodes;

impl BootPolicy for Nodes {
    fn dhcp(&self, _: &DhcpRequest) -> DhcpDecision {
        DhcpDecision::Silent("a DNS test".to_owned())
    }
    fn dhcp_bound(&self, _: &DhcpRequest, _: Ipv4Addr) {}
    fn boot_file(&self, _: Ipv4Addr, _: &FileRequest) -> FileDecision {
        FileDecision::Missing
    }
    fn resolve(&self, name: &str) -> Option<Ipv4Addr> {
        (name == "vnode1").then_some(Ipv4Addr::new(192, 168, 152, 20))
    }
    fn reverse(&self, ip: Ipv4Addr) -> Option<String> {
        (ip == Ipv4Addr::new(192, 168, 152, 20)).then(|| "vnode1".to_owned())
    }
    fn observe(&self, _: BootObservation) {}
}

fn config() -> DnsConfig {
    DnsConfig::new(Ipv4Addr::new(192, 168, 152, 1), "192.168.152.0/24".parse().unwrap())
}

fn ask(name: &str, kind: RecordType) -> Reaction {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(parsed(name), kind));
    react(&query.to_vec().unwrap(), &config(), &Nodes)
}

fn answered(name: &str, kind: RecordType) -> (ResponseCode, Vec<String>) {
    match ask(name, kind) {
        Reaction::Answer(message) => {
            assert_eq!(message.metadata.message_type, MessageType::Response);
            assert!(message.metadata.recursion_desired);
            let records = message.answers.iter().map(|record| record.data.to_string()).collect();
            (message.metadata.response_code, records)
        }
        other => panic!("{name} {kind}: {other:?}"),
    }
}

#[test]
fn names_of_the_zone() {
    use RecordType::{A, AAAA, CNAME, NS, SOA};
    let ok = |records: &[&str]| {
        (ResponseCode::NoError, records.iter().map(|&record| record.to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(answered("server.walt.", A), ok(&["192.168.152.1"]));
    assert_eq!(answered("vnode1.walt.", A), ok(&["192.168.152.20"]));
    assert_eq!(answered("VNode1.WALT.", A), ok(&["192.168.152.20"]));
    assert_eq!(answered("vnode1.walt.", AAAA), ok(&[]));
    assert_eq!(answered("walt-server.walt.", A), ok(&["server.walt.", "192.168.152.1"]));
    assert_eq!(answered("walt-server.walt.", CNAME), ok(&["server.walt."]));
    assert_eq!(answered("walt.", NS), ok(&["server.walt."]));
    assert_eq!(answered("walt.", SOA).1.len(), 1);
    assert_eq!(answered("walt.", A), ok(&[]));
    assert_eq!(answered("nobody.walt.", A).0, ResponseCode::NXDomain);
    assert_eq!(answered("a.vnode1.walt.", A).0, ResponseCode::NXDomain);
}

#[test]
fn addresses_of_the_network() {
    let name = |ip: &str| format!("{ip}.in-addr.arpa.");
    let ok = |record: &str| (ResponseCode::NoError, vec![record.to_owned()]);
    assert_eq!(answered(&name("20.152.168.192"), RecordType::PTR), ok("vnode1.walt."));
    assert_eq!(answered(&name("1.152.168.192"), RecordType::PTR), ok("server.walt."));
    assert_eq!(answered(&name("9.152.168.192"), RecordType::PTR).0, ResponseCode::NXDomain);
    assert_eq!(answered(&name("152.168.192"), RecordType::PTR), (ResponseCode::NoError, vec![]));
    assert!(matches!(ask(&name("8.8.8.8"), RecordType::PTR), Reaction::Forward(_)));
    assert!(matches!(ask(&name("168.192"), RecordType::PTR), Reaction::Forward(_)));
    assert!(matches!(ask("www.debian.org.", RecordType::A), Reaction::Forward(_)));
}

#[test]
fn what_is_not_a_query() {
    let mut message = Message::query();
    assert!(matches!(react(b"", &config(), &Nodes), Reaction::Ignore));
    let code = |bytes: &[u8]| match react(bytes, &config(), &Nodes) {
        Reaction::Answer(message) => message.metadata.response_code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(&message.to_vec().unwrap()), ResponseCode::FormErr, "no question");
    assert_eq!(
        code(&[0, 1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0]),
        ResponseCode::FormErr,
        "questions are missing"
    );
    message.metadata.op_code = OpCode::Update;
    assert_eq!(code(&message.to_vec().unwrap()), ResponseCode::NotImp);
    message.metadata.message_type = MessageType::Response;
    assert!(matches!(react(&message.to_vec().unwrap(), &config(), &Nodes), Reaction::Ignore));
}

#[test]
fn extended_queries_get_extended_answers() {
    let mut query = Message::query();
    query.add_query(Query::query(parsed("vnode1.walt."), RecordType::A));
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    query.set_edns(edns);
    let Reaction::Answer(message) = react(&query.to_vec().unwrap(), &config(), &Nodes) else {
        panic!("not an answer");
    };
    assert_eq!(message.edns.as_ref().unwrap().max_payload(), MAX_DATAGRAM);
}

proptest! {
    #[test]
    fn random_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = react(&bytes, &config(), &Nodes);
    }

    #[test]
    fn random_questions_do_no_harm(tail in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut bytes = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(&tail);
        let _ = react(&bytes, &config(), &Nodes);
    }
}
