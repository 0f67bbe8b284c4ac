//! TCP 10809.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use walt_model::Mac;
use walt_proto::nbd::{GREETING, NbdCommand, NbdReplyError, NbdRequest, simple_reply};
use walt_server::swap::program::serve;
use walt_server::swap::space::Space;
use walt_server::swap::{Owner, Owners};

use super::hub::*;

struct OneNode;

impl Owners for OneNode {
    fn owner(&self, ip: Ipv4Addr) -> BoxFuture<'_, Result<Option<Owner>, String>> {
        let owner = (ip == NODE).then_some(Owner { mac: MAC, boot_ms: 1000 });
        Box::pin(async move { Ok(owner) })
    }

    fn exists(&self, mac: Mac) -> BoxFuture<'_, bool> {
        Box::pin(async move { mac == MAC })
    }
}

/// Serves the files of a folder until dropped.
struct Server {
    address: SocketAddr,
    cancel: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Server {
    async fn on(folder: &Path) -> Self {
        let port = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let address = SocketAddr::from((NODE, port.local_addr().unwrap().port()));
        let cancel = CancellationToken::new();
        let space = Space::open(folder).unwrap();
        tokio::spawn(serve(port, space, Arc::new(OneNode), cancel.clone()));
        Self { address, cancel }
    }

    /// A client that was greeted and has said its flags.
    async fn greeted(&self, from: Ipv4Addr) -> TcpStream {
        let mut stream = connect(from, self.address).await;
        let mut greeting = [0; GREETING.len()];
        stream.read_exact(&mut greeting).await.unwrap();
        assert_eq!(greeting, GREETING);
        stream.write_all(&hex("00 00 00 03")).await.unwrap();
        stream
    }

    /// A client in the transmission phase.
    async fn attach(&self, name: &str) -> TcpStream {
        let mut stream = self.greeted(NODE).await;
        stream.write_all(&option(7, name)).await.unwrap();
        let mut reply = [0; 86];
        stream.read_exact(&mut reply).await.unwrap();
        let export = hex(
            "00 03 e8 89 04 55 65 a9 00 00 00 07 00 00 00 03 00 00 00 0c 00 00 00 00 00 04 00 00 00 00",
        );
        assert_eq!(reply[34..64], export);
        stream
    }
}

/// GO (7) or INFO (6), without information types.
fn option(code: u8, name: &str) -> Vec<u8> {
    let mut bytes = hex("49 48 41 56 45 4f 50 54 00 00 00");
    bytes.extend([code, 0, 0, 0, name.len() as u8 + 6, 0, 0, 0, name.len() as u8]);
    bytes.extend(name.as_bytes());
    bytes.extend([0, 0]);
    bytes
}

async fn ask(
    stream: &mut TcpStream,
    command: NbdCommand,
    offset: u64,
    length: u32,
    data: &[u8],
) -> (NbdReplyError, Vec<u8>) {
    let cookie = offset ^ 0x1234_5678_9abc_def0;
    let request = NbdRequest { command, cookie, offset, length };
    stream.write_all(&request.encode()).await.unwrap();
    stream.write_all(data).await.unwrap();
    let mut reply = [0; 16];
    stream.read_exact(&mut reply).await.unwrap();
    let errors =
        [NbdReplyError::None, NbdReplyError::Io, NbdReplyError::Invalid, NbdReplyError::NoSpace];
    let error = errors.into_iter().find(|error| simple_reply(cookie, *error) == reply).unwrap();
    let mut data = Vec::new();
    if command == NbdCommand::Read && error == NbdReplyError::None {
        data.resize(length as usize, 0);
        stream.read_exact(&mut data).await.unwrap();
    }
    (error, data)
}

async fn disconnect(mut stream: TcpStream) {
    let end = NbdRequest { command: NbdCommand::Disconnect, cookie: 0, offset: 0, length: 0 };
    stream.write_all(&end.encode()).await.unwrap();
    expect_closed(&mut stream).await;
}

const LAST: u64 = (16 << 30) - 4096;

#[tokio::test]
async fn reads_and_writes() {
    let folder = TempDir::new().unwrap();
    let server = Server::on(folder.path()).await;
    let mut stream = server.attach("swap-16G").await;
    let page = vec![7; 4096];
    assert_eq!(ask(&mut stream, NbdCommand::Write, LAST, 4096, &page).await.0, NbdReplyError::None);
    assert_eq!(
        ask(&mut stream, NbdCommand::Read, LAST, 4096, &[]).await,
        (NbdReplyError::None, page.clone())
    );
    assert_eq!(ask(&mut stream, NbdCommand::Read, 4096, 512, &[]).await.1, vec![0; 512]);
    let refused = NbdReplyError::Invalid;
    for command in [NbdCommand::Read, NbdCommand::Trim, NbdCommand::WriteZeroes] {
        assert_eq!(ask(&mut stream, command, LAST + 1, 4096, &[]).await.0, refused);
    }
    assert_eq!(
        ask(&mut stream, NbdCommand::Write, LAST + 1, 4096, &page).await.0,
        NbdReplyError::NoSpace
    );
    assert_eq!(ask(&mut stream, NbdCommand::Other(77), 0, 0, &[]).await.0, refused);
    // In several pieces.
    let large: Vec<u8> = (0..3_000_001_u32).map(|n| (n % 251) as u8).collect();
    let length = large.len() as u32;
    assert_eq!(ask(&mut stream, NbdCommand::Write, 1, length, &large).await.0, NbdReplyError::None);
    assert_eq!(ask(&mut stream, NbdCommand::Read, 1, length, &[]).await.1, large);
    assert_eq!(ask(&mut stream, NbdCommand::Flush, 0, 0, &[]).await.0, NbdReplyError::None);
    let zeroes = ask(&mut stream, NbdCommand::WriteZeroes, 0, 4096, &[]).await.0;
    assert_eq!(zeroes, NbdReplyError::None);
    assert_eq!(ask(&mut stream, NbdCommand::Read, 0, 4096, &[]).await.1, vec![0; 4096]);
    assert_eq!(ask(&mut stream, NbdCommand::Read, 4096, 1, &[]).await.1, large[4095..4096]);
    // An end that is told gives everything back.
    disconnect(stream).await;
    let mut stream = server.attach("swap-16G").await;
    assert_eq!(ask(&mut stream, NbdCommand::Read, LAST, 4096, &[]).await.1, vec![0; 4096]);
}

#[tokio::test]
async fn what_comes_back_finds_its_bytes() {
    let folder = TempDir::new().unwrap();
    let page = vec![9; 4096];
    for name in ["swap-16G", "swap-16G@5b0e0a52-8f9c-4c3b-a5b5-b0a3b8f7a1c2"] {
        let server = Server::on(folder.path()).await;
        let mut stream = server.attach(name).await;
        assert_eq!(
            ask(&mut stream, NbdCommand::Write, LAST, 4096, &page).await.0,
            NbdReplyError::None
        );
        // The client comes back when its connection is lost.
        drop(stream);
        let mut again = server.attach(name).await;
        assert_eq!(ask(&mut again, NbdCommand::Read, LAST, 4096, &[]).await.1, page);
        drop(again);
        // Another program serves the same folder.
        drop(server);
        let server = Server::on(folder.path()).await;
        let mut stream = server.attach(name).await;
        assert_eq!(ask(&mut stream, NbdCommand::Read, LAST, 4096, &[]).await.1, page);
        // Another boot has nothing of it.
        drop(stream);
        let mut stream = server.attach("swap-16G@another-boot").await;
        assert_eq!(ask(&mut stream, NbdCommand::Read, LAST, 4096, &[]).await.1, vec![0; 4096]);
    }
}

/// Any program of a node can connect: it must not take the node's memory away.
#[tokio::test]
async fn a_connection_that_lives_keeps_its_bytes() {
    let folder = TempDir::new().unwrap();
    let server = Server::on(folder.path()).await;
    let mut stream = server.attach("swap-16G@first").await;
    assert_eq!(ask(&mut stream, NbdCommand::Write, 0, 3, b"abc").await.0, NbdReplyError::None);
    for name in ["swap-16G", "swap-16G@first"] {
        let mut other = server.greeted(NODE).await;
        other.write_all(&option(7, name)).await.unwrap();
        let mut reply = [0; 16];
        other.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply[12..], hex("80 00 00 02"));
    }
    assert_eq!(ask(&mut stream, NbdCommand::Read, 0, 3, &[]).await.1, b"abc");
}

#[tokio::test]
async fn only_for_nodes() {
    let folder = TempDir::new().unwrap();
    let server = Server::on(folder.path()).await;
    for code in [6, 7] {
        let mut stream = server.greeted(STRANGER).await;
        stream.write_all(&option(code, "swap-16G")).await.unwrap();
        let mut reply = [0; 20];
        stream.read_exact(&mut reply).await.unwrap();
        let mut expected = hex("00 03 e8 89 04 55 65 a9 00 00 00");
        expected.extend([code, 0x80, 0, 0, 2]);
        assert_eq!(reply[..16], expected);
    }
    let mut stream = server.greeted(STRANGER).await;
    stream.write_all(b"IHAVEOPT\0\0\0\x01\0\0\0\x08swap-16G").await.unwrap();
    expect_closed(&mut stream).await;
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn nonsense_closes() {
    let folder = TempDir::new().unwrap();
    let server = Server::on(folder.path()).await;
    for bad in [&b"GET / HTTP/1.1\r\n"[..], &[0; 4], b"\0\0\0\x03IHAVEOPX"] {
        let mut stream = connect(NODE, server.address).await;
        stream.write_all(bad).await.unwrap();
        expect(&mut stream, &GREETING[..]).await;
        expect_closed(&mut stream).await;
    }
    let mut stream = server.attach("swap-16G@x").await;
    stream.write_all(&[0; 28]).await.unwrap();
    expect_closed(&mut stream).await;
    drop(stream);
    let mut stream = server.attach("swap-16G").await;
    let huge = NbdRequest { command: NbdCommand::Write, cookie: 0, offset: 0, length: u32::MAX };
    stream.write_all(&huge.encode()).await.unwrap();
    expect_closed(&mut stream).await;
}
