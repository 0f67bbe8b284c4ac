//! TCP 12347.

use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::hub::*;

fn owned(lines: &[(&str, &str)]) -> Vec<(String, String)> {
    lines.iter().map(|(stream, text)| ((*stream).to_owned(), (*text).to_owned())).collect()
}

#[tokio::test]
async fn log_echo() {
    let platform = Platform::start();
    let text = b"REQ_NEW_INCOMING_LOGS\nmystream\nNO_TIMESTAMPS\nhello t  world\nCLOSE\n";
    expect_closed(&mut send(platform.streams, text).await).await;
    assert_eq!(platform.hub.wait_lines(1).await, owned(&[("mystream", "hello t  world")]));
}

#[tokio::test]
async fn log_echo_with_timestamp() {
    let platform = Platform::start();
    let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() - 1000;
    let text = format!("0\nmystream\nTIMESTAMPS_INSIDE\n{epoch}.25 hi\nCLOSE\n");
    expect_closed(&mut send(platform.streams, text.as_bytes()).await).await;
    let events = platform.hub.wait_events(1).await;
    let timestamp =
        SystemTime::UNIX_EPOCH + Duration::from_secs(epoch) + Duration::from_millis(250);
    assert_eq!(events, [Event::Line { stream: "mystream".into(), timestamp, text: "hi".into() }]);
}

#[tokio::test]
async fn lines_come_while_the_stream_is_open() {
    let platform = Platform::start();
    let mut stream = send(platform.streams, b"0\ns\nNO_TIMESTAMPS\na\nb \xc3").await;
    assert_eq!(platform.hub.wait_lines(1).await, owned(&[("s", "a")]));
    stream.write_all(b"\xa9\nCLOSE\nc\npart").await.unwrap();
    platform.hub.wait_lines(4).await;
    drop(stream);
    let lines = platform.hub.wait_lines(5).await;
    assert_eq!(
        lines[1..],
        owned(&[("s", "b é"), ("s", "CLOSE"), ("s", "c"), ("s", "part<disconnected!>")])
    );
}

#[tokio::test]
async fn unknown_senders_and_requests_are_closed() {
    let platform = Platform::start();
    let mut stranger = connect(STRANGER, platform.streams).await;
    stranger.write_all(b"0\ns\nNO_TIMESTAMPS\nhello\n").await.unwrap();
    expect_closed(&mut stranger).await;
    let long = [b'x'; 5000];
    for bad in [&b"17\n"[..], b"REQ_SQL_PROMPT\n", b"10\nNSAPI\n", b"\n", b"0\n\n", &long] {
        expect_closed(&mut send(platform.streams, bad).await).await;
    }
    assert_eq!(platform.hub.events(), []);
}

#[tokio::test]
async fn a_panic_ends_one_connection_only() {
    let platform = Platform::start();
    let mut other = send(platform.streams, b"0\ns\nNO_TIMESTAMPS\na\n").await;
    platform.hub.wait_lines(1).await;
    expect_closed(&mut send(platform.streams, b"0\npanic\nNO_TIMESTAMPS\nx\n").await).await;
    other.write_all(b"b\n").await.unwrap();
    assert_eq!(platform.hub.wait_lines(2).await, owned(&[("s", "a"), ("s", "b")]));
}

#[tokio::test]
async fn bootup_notification() {
    let platform = Platform::start();
    let request =
        hex("52 45 51 5f 4e 4f 54 49 46 59 5f 42 4f 4f 54 55 50 5f 53 54 41 54 55 53 0a 0a");
    let mut first = send(platform.streams, &request).await;
    expect(&mut first, b"OK\n").await;
    assert_eq!(platform.hub.wait_events(1).await, [Event::Confirmed(1)]);
    first.write_all(b"\n\n").await.unwrap();

    // The node rebooted: its new connection comes before the old one is known to be lost.
    let mut second = send(platform.streams, &request).await;
    expect(&mut second, b"OK\n").await;
    platform.hub.wait_events(2).await;
    drop(first);
    platform.hub.wait_events(3).await;
    drop(second);
    let events = platform.hub.wait_events(4).await;
    assert_eq!(events[1..], [Event::Confirmed(2), Event::Lost(1), Event::Lost(2)]);
}

#[tokio::test]
async fn a_notification_without_confirmation_does_not_count() {
    let platform = Platform::start();
    let mut stream = send(platform.streams, b"14\n").await;
    expect(&mut stream, b"OK\n").await;
    stream.shutdown().await.unwrap();
    expect_closed(&mut stream).await;
    assert_eq!(platform.hub.events(), []);
}

#[tokio::test]
async fn a_stop_of_the_server_takes_no_node_down() {
    let platform = Platform::start();
    let mut stream = send(platform.streams, b"14\n\n").await;
    expect(&mut stream, b"OK\n").await;
    platform.hub.wait_events(1).await;
    let hub = platform.stop().await;
    expect_closed(&mut stream).await;
    assert_eq!(hub.events(), [Event::Confirmed(1)]);
}

#[tokio::test]
async fn boot_files() {
    let platform = Platform::start();
    let by_mac = hex(
        "80 04 95 39 00 00 00 00 00 00 00 7d 94 28 8c 08 6e 6f 64 65 5f 6d 61 63 94 8c 11 35 32 3a 35 34 3a 30 30 3a 30 31 3a \
         30 32 3a 30 33 94 8c 04 70 61 74 68 94 8c 0b 2f 73 74 61 72 74 2e 69 70 78 65 94 75 2e",
    );
    let mut stream = send(platform.streams, b"12\n").await;
    expect(&mut stream, b"READY\n").await;
    stream.write_all(&by_mac).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"OK\n27\n#!ipxe\necho hello\nboot\n....");

    use walt_proto::{pickle, python::PyValue};
    for (request, expected) in [
        (
            PyValue::dict([
                ("node_ip", PyValue::str("127.0.0.1")),
                ("path", PyValue::str("/../x")),
            ]),
            "READY\nNO SUCH FILE\n",
        ),
        (PyValue::dict([("path", PyValue::str("/start.ipxe"))]), "READY\nNO MAC OR IP SPECIFIED\n"),
        (PyValue::None, "READY\nNO MAC OR IP SPECIFIED\n"),
    ] {
        let mut pipelined = b"REQ_FAKE_TFTP_GET\n".to_vec();
        pipelined.extend(pickle::write(&request));
        let mut stream = send(platform.streams, &pipelined).await;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, expected);
    }
    // os.system: closed, not run.
    let mut hostile = send(platform.streams, b"12\n\x80\x04cos\nsystem\n(X\x02\0\0\0idtR.").await;
    expect(&mut hostile, b"READY\n").await;
    expect_closed(&mut hostile).await;
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let platform = Platform::start();
    let mut open = Vec::new();
    for _ in 0..256 {
        open.push(connect(STRANGER, platform.streams).await);
    }
    // One more is closed at once; another address is still served.
    expect_closed(&mut connect(STRANGER, platform.streams).await).await;
    let mut node = send(platform.streams, b"14\n\n").await;
    expect(&mut node, b"OK\n").await;
    drop(open);
    // Places are given back.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut stranger = connect(STRANGER, platform.streams).await;
    stranger.write_all(b"14\n").await.unwrap();
    expect(&mut stranger, b"OK\n").await;
}
