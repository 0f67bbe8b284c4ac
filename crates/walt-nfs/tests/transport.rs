//! Records, programs and ports: what a client meets before any file.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use common::*;
use nfs3_types::nfs3::*;
use nfs3_types::portmap::{IPPROTO_TCP, IPPROTO_UDP, mapping};
use nfs3_types::xdr_codec::{Opaque, Void};

struct Place {
    _dir: tempfile::TempDir,
    server: TestServer,
}

fn serve() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    for n in 0..40 {
        std::fs::write(tree.join(format!("file-{n}")), vec![n; 200_000]).unwrap();
    }
    let shelf = Shelf::default().with_image("/image", &tree, dir.path());
    let server = TestServer::start(Arc::new(shelf));
    Place { _dir: dir, server }
}

/// Sends bytes on a new connection; whether the server closed it.
fn is_closed_after(place: &Place, bytes: &[u8]) -> bool {
    let mut stream = TcpStream::connect(place.server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    stream.write_all(bytes).unwrap();
    match stream.read(&mut [0; 100]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn bad_records_close_their_connection_only() {
    let place = serve();
    let mut client = Client::connect(place.server.address);
    let root = client.mount("/image");
    assert!(is_closed_after(&place, &[0xff; 64]), "too long");
    assert!(is_closed_after(&place, &[0; 4096]), "empty fragments for ever");
    assert!(is_closed_after(&place, &[0x80, 0, 0, 0]), "an empty record");
    let garbage = [&[0x80, 0, 0, 40][..], &[0x5a; 40]].concat();
    assert!(is_closed_after(&place, &garbage), "no call");
    assert!(is_closed_after(&place, b"GET / HTTP/1.1\r\n\r\n"));
    let half = [&[0x80, 0, 0, 100][..], &[0; 10]].concat();
    assert!(!is_closed_after(&place, &half), "the rest may still come");
    client.getattr(&root).unwrap();
}

#[test]
fn bad_calls_are_answered() {
    let place = serve();
    let mut client = Client::connect(place.server.address);
    let mut status = |program, version, procedure, args: &[u8]| {
        client.xid += 1;
        let mut message = client.message(program, version, procedure, &Void);
        message.extend(args);
        client.send(&message);
        let reply = client.receive().unwrap();
        (reply[11], reply[23])
    };
    assert_eq!(status(99, 1, 0, &[]), (0, 1), "no such program");
    assert_eq!(status(NFS, 5, 0, &[]), (0, 2), "no such version");
    assert_eq!(status(NFS, 3, 22, &[]), (0, 3), "no such procedure");
    assert_eq!(status(NFS, 3, 1, &[]), (0, 4), "no arguments");
    assert_eq!(status(NFS, 3, 1, &[0, 0, 0, 65]), (0, 4), "long handle");
    assert_eq!(status(MOUNT, 3, 1, &[0xff; 4]), (0, 4), "endless path");
    assert_eq!(status(PORTMAP, 2, 3, &[0; 4]), (0, 4));
    assert_eq!(status(PORTMAP, 4, 3, &[0; 4]), (0, 2), "rpcbind");
    assert_eq!(status(NFS, 3, 0, &[]), (0, 0), "still here");
}

#[test]
fn truncated_arguments_never_hurt() {
    let place = serve();
    let mut client = Client::connect(place.server.address);
    let root = client.mount("/image");
    let lookup = LOOKUP3args { what: entry(&root, "file-1") };
    for procedure in 0..22 {
        let message = client.message(NFS, 3, procedure, &lookup);
        let header = client.message(NFS, 3, procedure, &Void).len();
        for cut in header..message.len() {
            client.send(&message[..cut]);
            client.receive().unwrap();
        }
    }
}

#[test]
fn fragments_and_pipelines() {
    let place = serve();
    let mut client = Client::connect(place.server.address);
    let root = client.mount("/image");
    let args = GETATTR3args { object: root.clone() };
    // One call in pieces of a few bytes.
    let message = client.message(NFS, 3, 1, &args);
    let pieces: Vec<&[u8]> = message.chunks(11).collect();
    for (n, piece) in pieces.iter().enumerate() {
        let last = if n + 1 == pieces.len() { 0x8000_0000 } else { 0 };
        let mark = piece.len() as u32 | last;
        client.stream.write_all(&mark.to_be_bytes()).unwrap();
        client.stream.write_all(piece).unwrap();
    }
    results(client.xid, &client.receive().unwrap());
    // Many calls before the first reply is read: reads that wait, and calls that do not.
    let files: Vec<_> =
        (0..40).map(|n| client.lookup(&root, &format!("file-{n}")).unwrap()).collect();
    let mut expected = std::collections::BTreeSet::new();
    for round in 0..5 {
        for (n, file) in files.iter().enumerate() {
            client.xid = 1000 + round * 100 + n as u32;
            expected.insert(client.xid);
            let read = READ3args { file: file.clone(), offset: 0, count: 200_000 };
            let message = if n % 2 == 0 {
                client.message(NFS, 3, 6, &read)
            } else {
                client.message(NFS, 3, 1, &args)
            };
            client.send(&message);
        }
    }
    while !expected.is_empty() {
        let reply = client.receive().unwrap();
        let xid = u32::from_be_bytes(reply[..4].try_into().unwrap());
        assert!(expected.remove(&xid), "{xid} twice or never asked");
        let n = xid % 100;
        if n % 2 == 0 {
            let read: READ3res<'static> = decode(&results(xid, &reply));
            assert!(read.unwrap().data.iter().all(|byte| u32::from(*byte) == n));
        }
    }
}

fn datagram(place: &Place, message: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.send_to(message, place.server.udp).unwrap();
    let mut buffer = [0; 9000];
    let len = socket.recv(&mut buffer).unwrap();
    buffer[..len].to_vec()
}

#[test]
fn portmap_over_tcp_and_udp() {
    let place = serve();
    let mut client = Client::connect(place.server.address);
    let tcp = u32::from(place.server.address.port());
    let udp = u32::from(place.server.udp.port());
    for (prog, vers, prot, port) in [
        (NFS, 3, IPPROTO_TCP, tcp),
        (MOUNT, 3, IPPROTO_TCP, tcp),
        (MOUNT, 1, IPPROTO_UDP, udp),
        (NFSACL, 3, IPPROTO_TCP, tcp),
        (NFS, 3, IPPROTO_UDP, 0),
        (100_024, 1, IPPROTO_TCP, 0),
    ] {
        let args = mapping { prog, vers, prot, port: 0 };
        assert_eq!(client.raw(PORTMAP, 2, 3, &args), port.to_be_bytes());
        let message = client.message(PORTMAP, 2, 3, &args);
        let reply = datagram(&place, &message);
        assert_eq!(results(client.xid, &reply), port.to_be_bytes());
    }
    let dump = client.raw(PORTMAP, 2, 4, &Void);
    assert_eq!(dump.len(), 11 * 20 + 4);
    assert!(client.raw(PORTMAP, 2, 0, &Void).is_empty());
}

#[test]
fn mount_over_udp() {
    let place = serve();
    let mut client = Client::connect(place.server.address);
    let path = nfs3_types::mount::dirpath(Opaque::borrowed(b"/image"));
    let over_tcp = client.raw(MOUNT, 3, 1, &path);
    let message = client.message(MOUNT, 3, 1, &path);
    assert_eq!(results(client.xid, &datagram(&place, &message)), over_tcp);
    for version in 1..=3 {
        let message = client.message(MOUNT, version, 3, &path);
        assert!(results(client.xid, &datagram(&place, &message)).is_empty());
    }
    // Nothing but portmap and mount there, and no answer to garbage.
    let message = client.message(NFS, 3, 0, &Void);
    assert_eq!(datagram(&place, &message)[23], 1);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"garbage", place.server.udp).unwrap();
    let again = client.message(MOUNT, 3, 0, &Void);
    datagram(&place, &again);
}

#[test]
fn a_stopped_server_closes_and_starts_again_at_once() {
    let place = serve();
    let mut client = Client::connect(place.server.address);
    client.mount("/image");
    let address = place.server.stop();
    assert!(client.receive().is_err());
    let server = TestServer::start_at(Arc::new(Shelf::default()), address);
    Client::connect(server.address).raw(NFS, 3, 0, &Void);
}
