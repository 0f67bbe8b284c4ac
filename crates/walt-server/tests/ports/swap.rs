//! TCP 10809.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use walt_proto::nbd::{GREETING, NbdCommand, NbdReplyError, NbdRequest, simple_reply};

use super::hub::*;

async fn attach(platform: &Platform) -> TcpStream {
    let mut stream = connect(NODE, platform.swap).await;
    let mut greeting = [0; GREETING.len()];
    stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(greeting, GREETING);
    stream.write_all(&hex("00 00 00 03")).await.unwrap();
    let go = hex(
        "49 48 41 56 45 4f 50 54 00 00 00 07 00 00 00 0e 00 00 00 08 73 77 61 70 2d 31 36 47 00 00",
    );
    stream.write_all(&go).await.unwrap();
    let mut reply = [0; 86];
    stream.read_exact(&mut reply).await.unwrap();
    let export = hex(
        "00 03 e8 89 04 55 65 a9 00 00 00 07 00 00 00 03 00 00 00 0c 00 00 00 00 00 04 00 00 00 00 00 00",
    );
    assert_eq!(reply[34..66], export);
    stream
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

#[tokio::test]
async fn swap_space() {
    let platform = Platform::start();
    let mut stream = attach(&platform).await;
    let page = vec![7; 4096];
    let last = (16 << 30) - 4096;
    assert_eq!(ask(&mut stream, NbdCommand::Write, last, 4096, &page).await.0, NbdReplyError::None);
    assert_eq!(
        ask(&mut stream, NbdCommand::Read, last, 4096, &[]).await,
        (NbdReplyError::None, page.clone())
    );
    assert_eq!(ask(&mut stream, NbdCommand::Read, 4096, 512, &[]).await.1, vec![0; 512]);
    assert_eq!(
        ask(&mut stream, NbdCommand::Read, last + 1, 4096, &[]).await.0,
        NbdReplyError::Invalid
    );
    assert_eq!(
        ask(&mut stream, NbdCommand::Write, last + 1, 4096, &page).await.0,
        NbdReplyError::NoSpace
    );
    assert_eq!(ask(&mut stream, NbdCommand::Other(3), 0, 0, &[]).await.0, NbdReplyError::Invalid);
    // Each connection has its own; nothing has a name.
    let mut other = attach(&platform).await;
    assert_eq!(ask(&mut other, NbdCommand::Read, last, 4096, &[]).await.1, vec![0; 4096]);
    assert_eq!(std::fs::read_dir(platform.dir.path()).unwrap().count(), 0);
    let end = NbdRequest { command: NbdCommand::Disconnect, cookie: 0, offset: 0, length: 0 };
    stream.write_all(&end.encode()).await.unwrap();
    expect_closed(&mut stream).await;
}

#[tokio::test]
async fn nonsense_closes() {
    let platform = Platform::start();
    for bad in [&b"GET / HTTP/1.1\r\n"[..], &[0; 4], b"\0\0\0\x03IHAVEOPX"] {
        let mut stream = connect(NODE, platform.swap).await;
        stream.write_all(bad).await.unwrap();
        expect(&mut stream, &GREETING[..]).await;
        expect_closed(&mut stream).await;
    }
    let mut stream = attach(&platform).await;
    stream.write_all(&[0; 28]).await.unwrap();
    expect_closed(&mut stream).await;
    let mut stream = attach(&platform).await;
    let huge = NbdRequest { command: NbdCommand::Write, cookie: 0, offset: 0, length: u32::MAX };
    stream.write_all(&huge.encode()).await.unwrap();
    expect_closed(&mut stream).await;
}
