//! TCP 12347, request 100.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use walt_proto::spooled::ClockOffset;

use super::hub::*;

async fn answer(stream: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    line
}

#[tokio::test]
async fn each_line_once_over_two_connections() {
    let platform = Platform::start();
    let text = b"REQ_SPOOLED_LOGS\nCLOCK 1000\n";
    let mut stream = BufReader::new(send(platform.streams, text).await);
    assert_eq!(answer(&mut stream).await, "SPOOLED-LOGS 1\n");
    let clock = answer(&mut stream).await;
    let times: Vec<i64> =
        clock.trim().split(' ').skip(1).map(|word| word.parse().unwrap()).collect();
    assert!(clock.starts_with("CLOCK 1000 ") && times[1] <= times[2], "{clock}");
    stream.write_all(b"OFFSET 7 3\nSESSION boot-1 1\n").await.unwrap();
    assert_eq!(answer(&mut stream).await, "RESUME 0\n");
    stream.write_all(b"STREAM 0 app\nLINE 1 0 1 a\nLINE 2 0 1  b\n").await.unwrap();
    assert_eq!(answer(&mut stream).await, "ACK 2\n");
    stream.write_all(b"LINE 3 0 1 cut").await.unwrap();
    drop(stream);

    let text = b"100\nSESSION boot-1 2\n";
    let mut stream = BufReader::new(send(platform.streams, text).await);
    assert_eq!(answer(&mut stream).await, "SPOOLED-LOGS 1\n");
    assert_eq!(answer(&mut stream).await, "RESUME 2\n");
    stream.write_all(b"STREAM 9 app\nLINE 2 9 1  b\nLINE 3 9 ~1 c\nCLOSE\n").await.unwrap();
    assert_eq!(answer(&mut stream).await, "ACK 3\n");
    assert_eq!(answer(&mut stream).await, "");
    let events = platform.hub.wait_events(4).await;
    assert_eq!(events[0], Event::Clock(ClockOffset { offset: 7, uncertainty: 3 }));
    let lines = platform.hub.wait_lines(4).await;
    let texts: Vec<&str> = lines.iter().map(|(_, text)| &**text).collect();
    assert_eq!(texts, ["a", " b", "c"]);
}

#[tokio::test]
async fn strangers_and_nonsense() {
    let platform = Platform::start();
    let mut stranger = connect(STRANGER, platform.streams).await;
    stranger.write_all(b"100\n").await.unwrap();
    let mut said = String::new();
    stranger.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "SPOOLED-LOGS 1\n");
    for bad in [
        "LINE 1 0 1 x\n".to_owned(),
        "SESSION ../x 1\n".to_owned(),
        "CLOCK 1\n".repeat(17),
        "SESSION a 1\nLINE 1 0 1 x\n".to_owned(),
        "SESSION a 1\nSTREAM 0 s\nLINE 1 0 x x\n".to_owned(),
        format!("SESSION a 1\nSTREAM 0 s\nLINE 1 0 1 {}", "x".repeat(20_000)),
    ] {
        let mut stream = send(platform.streams, format!("100\n{bad}").as_bytes()).await;
        let mut said = Vec::new();
        // The end of the connection; a reset is one too.
        let _ = stream.read_to_end(&mut said).await;
    }
    assert_eq!(platform.hub.events(), []);
}
