//! UDP 12342.

use std::net::Ipv4Addr;

use tokio::net::UdpSocket;

use super::hub::*;

async fn socket(from: Ipv4Addr, platform: &Platform) -> UdpSocket {
    let socket = UdpSocket::bind((from, 0)).await.unwrap();
    socket.connect(platform.netconsole).await.unwrap();
    socket
}

#[tokio::test]
async fn kernel_messages() {
    let platform = Platform::start();
    let stranger = socket(STRANGER, &platform).await;
    stranger.send(b"from nobody\n").await.unwrap();
    let node = socket(NODE, &platform).await;
    node.send(b"[    1.234567] eth0: link up\n").await.unwrap();
    node.send(b"caf\xc3").await.unwrap();
    node.send(b"\xa9\nbad \xff\npartial").await.unwrap();
    let lines = platform.hub.wait_lines(3).await;
    let texts: Vec<&str> = lines.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["[    1.234567] eth0: link up", "café", "bad \u{fffd}"]);
    assert!(lines.iter().all(|(stream, _)| stream == "netconsole"));
}

#[tokio::test]
async fn kernel_messages_do_not_wait_for_room() {
    let platform = Platform::start();
    platform.hub.full.store(true, std::sync::atomic::Ordering::Relaxed);
    let node = socket(NODE, &platform).await;
    for n in 0..10 {
        node.send(format!("message {n}\n").as_bytes()).await.unwrap();
    }
    assert_eq!(platform.hub.wait_lines(10).await[9].1, "message 9");
}
