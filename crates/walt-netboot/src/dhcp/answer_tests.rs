#![allow(clippy::unwrap_used)]

use super::*;
use crate::policy::{BootChoice, KnownClient, boot_choice};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 152, 1);
const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 152, 20);

fn request(kind: DhcpKind) -> DhcpRequest {
    DhcpRequest { xid: 0x0102_0304, ..DhcpRequest::bare(kind, Mac([0x52, 0x54, 0, 1, 2, 3])) }
}

fn answer() -> DhcpAnswer {
    DhcpAnswer::new(NODE, SERVER, "192.168.152.0/24".parse().unwrap())
}

fn decided(answer: DhcpAnswer) -> DhcpDecision {
    DhcpDecision::Answer(Box::new(answer))
}

/// The options of an answer in their order, long ones not joined.
fn options(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    let mut rest = &bytes[240..];
    while let [code, tail @ ..] = rest {
        if *code == 255 {
            break;
        }
        let (value, after) = tail[1..].split_at(usize::from(tail[0]));
        found.push((*code, value.to_vec()));
        rest = after;
    }
    found
}

fn option(bytes: &[u8], code: u8) -> Option<Vec<u8>> {
    options(bytes).into_iter().find(|(found, _)| *found == code).map(|(_, value)| value)
}

#[test]
fn an_offer_has_the_options_of_the_contract_and_no_other() {
    let Outcome::Offer(_, packet) =
        outcome(&request(DhcpKind::Discover), decided(answer()), SERVER)
    else {
        panic!("not an offer");
    };
    let server = SERVER.octets().to_vec();
    let expected: Vec<(u8, Vec<u8>)> = vec![
        (53, vec![2]),
        (54, server.clone()),
        (51, vec![0x00, 0x5b, 0x8d, 0x80]),
        (1, vec![255, 255, 255, 0]),
        (28, vec![192, 168, 152, 255]),
        (6, server.clone()),
        (15, b"walt".to_vec()),
        (66, b"192.168.152.1".to_vec()),
        (42, server),
        (119, b"\x04walt\x00".to_vec()),
    ];
    assert_eq!(options(&packet.bytes), expected);
    assert_eq!(packet.bytes[..4], [2, 1, 6, 0]);
    assert_eq!(packet.bytes[4..8], [1, 2, 3, 4]);
    assert_eq!(packet.bytes[12..16], [0; 4], "ciaddr");
    assert_eq!(packet.bytes[16..20], NODE.octets(), "yiaddr");
    assert_eq!(packet.bytes[20..24], SERVER.octets(), "siaddr");
    assert_eq!(packet.bytes[28..34], [0x52, 0x54, 0, 1, 2, 3]);
    assert_eq!(packet.bytes[44..236], [0; 192], "no server name, no file");
    assert!(packet.bytes.len() >= 300);
    assert_eq!(packet.way, Way::Hardware(Mac([0x52, 0x54, 0, 1, 2, 3]), NODE));
}

#[test]
fn name_and_router_of_a_registered_device_behind_nat() {
    let answer =
        DhcpAnswer { hostname: Some("vnode1".to_owned()), router: Some(SERVER), ..answer() };
    let request = DhcpRequest { requested_ip: Some(NODE), ..request(DhcpKind::Request) };
    let Outcome::Ack(_, packet) = outcome(&request, decided(answer), SERVER) else {
        panic!("not an ACK");
    };
    assert_eq!(option(&packet.bytes, 53), Some(vec![5]));
    assert_eq!(option(&packet.bytes, 12), Some(b"vnode1".to_vec()));
    assert_eq!(option(&packet.bytes, 3), Some(SERVER.octets().to_vec()));
}

#[test]
fn raspberry_pi_firmware_gets_its_boot_menu() {
    let mut request = request(DhcpKind::Discover);
    request.mac = "dc:a6:32:00:00:01".parse().unwrap();
    request.vendor_class = "PXEClient:Arch:00000:UNDI:002001".to_owned();
    request.architectures = vec![0];
    let boot = boot_choice(&request, KnownClient::Unknown, SERVER);
    let Outcome::Offer(_, packet) =
        outcome(&request, decided(DhcpAnswer { boot, ..answer() }), SERVER)
    else {
        panic!("not an offer");
    };
    let menu = [
        0x09, 0x14, 0x00, 0x00, 0x11, 0x52, 0x61, 0x73, 0x70, 0x62, 0x65, 0x72, 0x72, 0x79, 0x20,
        0x50, 0x69, 0x20, 0x42, 0x6f, 0x6f, 0x74,
    ];
    assert_eq!(option(&packet.bytes, 43), Some(menu.to_vec()));
    assert_eq!(option(&packet.bytes, 60), Some(b"PXEClient".to_vec()));
    assert_eq!(packet.bytes[108..236], [0; 128], "no file");
    assert_eq!(option(&packet.bytes, 67), None);
}

#[test]
fn boot_files_go_to_the_header_and_to_option_67_when_asked() {
    let boot = BootChoice { file: Some("start.ipxe".to_owned()), ..BootChoice::default() };
    let mut request = request(DhcpKind::Discover);
    let answer = DhcpAnswer { boot, ..answer() };
    let Outcome::Offer(_, packet) = outcome(&request, decided(answer.clone()), SERVER) else {
        panic!("not an offer");
    };
    assert_eq!(packet.bytes[108..119], *b"start.ipxe\0");
    assert_eq!(option(&packet.bytes, 67), None);
    request.parameters = vec![1, 67];
    let Outcome::Offer(_, packet) = outcome(&request, decided(answer), SERVER) else {
        panic!("not an offer");
    };
    assert_eq!(option(&packet.bytes, 67), Some(b"start.ipxe".to_vec()));
}

#[test]
fn uefi_http_boot_gets_a_url() {
    let mut request = request(DhcpKind::Discover);
    request.vendor_class = "HTTPClient:Arch:00016:UNDI:003001".to_owned();
    request.architectures = vec![16];
    let boot = boot_choice(&request, KnownClient::Unknown, SERVER);
    let Outcome::Offer(_, packet) =
        outcome(&request, decided(DhcpAnswer { boot, ..answer() }), SERVER)
    else {
        panic!("not an offer");
    };
    assert_eq!(option(&packet.bytes, 60), Some(b"HTTPClient".to_vec()));
    assert_eq!(
        option(&packet.bytes, 67),
        Some(b"http://192.168.152.1/boot/pxe/walt-x86-64.efi".to_vec())
    );
}

#[test]
fn a_wrong_address_is_refused_to_all() {
    let request = DhcpRequest {
        requested_ip: Some(Ipv4Addr::new(10, 0, 0, 7)),
        ..request(DhcpKind::Request)
    };
    let Outcome::Nak(reason, packet) = outcome(&request, decided(answer()), SERVER) else {
        panic!("not a NAK");
    };
    assert!(reason.contains("10.0.0.7"));
    assert_eq!(option(&packet.bytes, 53), Some(vec![6]));
    assert_eq!(option(&packet.bytes, 54), Some(SERVER.octets().to_vec()));
    assert_eq!(option(&packet.bytes, 51), None);
    assert_eq!(packet.bytes[12..28], [0; 16], "no address at all");
    assert_eq!(packet.way, Way::Broadcast);
    // Renewing a wrong address is refused too.
    let renewing =
        DhcpRequest { client_ip: Some(Ipv4Addr::new(10, 0, 0, 7)), requested_ip: None, ..request };
    assert!(matches!(outcome(&renewing, decided(answer()), SERVER), Outcome::Nak(..)));
}

#[test]
fn inform_gets_parameters_without_lease() {
    let request = DhcpRequest { client_ip: Some(NODE), ..request(DhcpKind::Inform) };
    let Outcome::Ack(_, packet) = outcome(&request, decided(answer()), SERVER) else {
        panic!("not an ACK");
    };
    assert_eq!(option(&packet.bytes, 51), None);
    assert_eq!(packet.bytes[16..20], [0; 4], "yiaddr");
    assert_eq!(packet.way, Way::Unicast(NODE));
}

#[test]
fn ways() {
    let way = |request: &DhcpRequest| match outcome(request, decided(answer()), SERVER) {
        Outcome::Offer(_, packet) | Outcome::Ack(_, packet) | Outcome::Nak(_, packet) => packet.way,
        Outcome::Silent(reason) => panic!("silent: {reason}"),
    };
    let relay = Ipv4Addr::new(10, 1, 1, 1);
    let mut asked = request(DhcpKind::Discover);
    asked.broadcast = true;
    assert_eq!(way(&asked), Way::Broadcast);
    asked.relay_ip = Some(relay);
    assert_eq!(way(&asked), Way::Relay(relay));
    let renewing = DhcpRequest { client_ip: Some(NODE), ..request(DhcpKind::Request) };
    assert_eq!(way(&renewing), Way::Unicast(NODE));
}

#[test]
fn who_chose_another_server_is_left_alone() {
    let mut asked = request(DhcpKind::Request);
    assert_eq!(chosen_other_server(&asked, SERVER), None);
    asked.server_id = Some(SERVER);
    assert_eq!(chosen_other_server(&asked, SERVER), None);
    asked.server_id = Some(NODE);
    assert_eq!(chosen_other_server(&asked, SERVER), Some(NODE));
}

#[test]
fn identifiers_are_echoed_last_and_cannot_push_the_rest_out() {
    let mut asked = request(DhcpKind::Discover);
    asked.client_id = Some(vec![1, 2, 3]);
    asked.relay_info = Some(vec![1, 1, 9]);
    let Outcome::Offer(_, packet) = outcome(&asked, decided(answer()), SERVER) else {
        panic!("not an offer");
    };
    let found = options(&packet.bytes);
    assert_eq!(found[found.len() - 2..], [(61, vec![1, 2, 3]), (82, vec![1, 1, 9])]);

    asked.client_id = Some(vec![7; 300]);
    asked.relay_info = Some(vec![7; 300]);
    let Outcome::Offer(_, packet) = outcome(&asked, decided(answer()), SERVER) else {
        panic!("not an offer");
    };
    assert!(packet.bytes.len() + HEADERS <= 576);
    assert_eq!(option(&packet.bytes, 1), Some(vec![255, 255, 255, 0]));
    assert_eq!(option(&packet.bytes, 119), Some(b"\x04walt\x00".to_vec()));

    asked.max_size = Some(1500);
    asked.relay_info = None;
    let Outcome::Offer(_, packet) = outcome(&asked, decided(answer()), SERVER) else {
        panic!("not an offer");
    };
    let pieces: Vec<usize> = options(&packet.bytes)
        .iter()
        .filter(|(code, _)| *code == 61)
        .map(|(_, value)| value.len())
        .collect();
    assert_eq!(pieces, [255, 45], "long options are cut in pieces");
}
