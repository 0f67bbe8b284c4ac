//! TCP 12345.

use std::time::{Duration, SystemTime};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use walt_model::Mac;
use walt_proto::pickle::PickleReader;
use walt_proto::python::PyValue;

use super::hub::*;

#[tokio::test]
async fn sync_clock_answers_on_the_second() {
    let platform = Platform::start();
    let text = b"REQ_API_SESSION\nNSAPI\n('API_CALL', 'sync_clock', (), {})\n";
    let mut stream = send(platform.rpc, text).await;
    expect(&mut stream, b"10.0\n").await;
    let mut line = String::new();
    BufReader::new(&mut stream).read_line(&mut line).await.unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seconds = line.strip_prefix("('RESULT', ").unwrap().strip_suffix(")\n").unwrap();
    let late = now.checked_sub(Duration::from_secs(seconds.parse().unwrap())).expect("too early");
    assert!(late < Duration::from_millis(200), "{late:?} late");
    stream.write_all(b"('CLOSE')\n").await.unwrap();
    expect_closed(&mut stream).await;
}

#[tokio::test]
async fn lldp_report_in_shell_syntax() {
    let platform = Platform::start();
    let call =
        b"10\nNSAPI\n('API_CALL', 'report_lldp_neighbor', ( '6c:b0:ce:00:00:01', 'port 1',), {})\n";
    let mut stream = send(platform.rpc, call).await;
    expect(&mut stream, b"10.0\n('RESULT', None)\n").await;
    let neighbour = Event::Neighbour(Mac([0x6c, 0xb0, 0xce, 0, 0, 1]), "port 1".into());
    assert_eq!(platform.hub.events(), [neighbour]);
    // From an address that is no node, it is ignored.
    let mut stranger = connect(STRANGER, platform.rpc).await;
    stranger.write_all(call).await.unwrap();
    expect(&mut stranger, b"10.0\n('RESULT', None)\n").await;
    assert_eq!(platform.hub.events().len(), 1);
}

#[tokio::test]
async fn device_info_in_pickles() {
    let platform = Platform::start();
    let call = hex(
        "80 04 95 39 00 00 00 00 00 00 00 28 8c 08 41 50 49 5f 43 41 4c 4c 94 8c 0f 67 65 74 5f 64 65 76 69 63 65 5f 69 6e 66 6f 94 \
         8c 11 35 32 3a 35 34 3a 30 30 3a 30 31 3a 30 32 3a 30 33 94 85 94 7d 94 74 94 2e",
    );
    let mut stream = send(platform.rpc, b"10\nVSAPI\n('SET_MODE', 'pickle4')\n").await;
    stream.write_all(&call).await.unwrap();
    expect(&mut stream, b"10.0\n").await;
    let mut reader = PickleReader::default();
    let message = loop {
        let mut buffer = [0; 64];
        let n = tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.unwrap();
        assert_ne!(n, 0);
        reader.feed(&buffer[..n]);
        if let Some(message) = reader.next_value().unwrap() {
            break message;
        }
    };
    let info = &message.as_sequence().unwrap()[1];
    for (key, value) in [
        ("name", PyValue::str("n1")),
        ("type", PyValue::str("node")),
        ("virtual", PyValue::Bool(true)),
        ("gateway", PyValue::str("")),
        ("netmask", PyValue::str("255.255.255.0")),
        ("conf", PyValue::dict([("kexec.allow", PyValue::Bool(false))])),
    ] {
        assert_eq!(info.get(key), Some(&value), "{key}");
    }
    // Unknown device: the None of the protocol description.
    let other = PyValue::Tuple(vec![
        PyValue::str("API_CALL"),
        PyValue::str("get_device_info"),
        PyValue::Tuple(vec![PyValue::str("52:54:00:01:02:04")]),
        PyValue::Dict(vec![]),
    ]);
    stream.write_all(&walt_proto::pickle::write(&other)).await.unwrap();
    expect(
        &mut stream,
        &hex("80 04 95 0d 00 00 00 00 00 00 00 8c 06 52 45 53 55 4c 54 94 4e 86 94 2e"),
    )
    .await;
}

#[tokio::test]
async fn registration() {
    let platform = Platform::start();
    let call = b"10\nVSAPI\n('API_CALL', 'register_device', ('walt.node.pc-x86-64', '', '192.168.1.2', '52:54:00:01:02:03'), {'name': 'pi'})\n";
    let mut stream = send(platform.rpc, call).await;
    expect(&mut stream, b"10.0\n('RESULT', None)\n").await;
    let events = platform.hub.events();
    let [Event::Registered(registration)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(registration.vendor_class, "walt.node.pc-x86-64");
    assert_eq!(registration.proposed_name.as_deref(), Some("pi"));
    assert_eq!(registration.mac, MAC);
}

#[tokio::test]
async fn errors_are_results_and_nonsense_closes() {
    let platform = Platform::start();
    let call = b"10\nNSAPI\n('API_CALL', 'os.system', ('id',), {})\n('API_CALL', 'report_lldp_neighbor', (1, 2), {})\n";
    let mut stream = send(platform.rpc, call).await;
    expect(&mut stream, b"10.0\n('RESULT', 'no such method')\n").await;
    expect(&mut stream, b"('RESULT', \"bad argument 'sw_mac'\")\n").await;
    for bad in [&b"__import__('os')\n"[..], b"\n", b"('RESULT', 1)\n", b"(((((\n"] {
        let mut bytes = b"10\nNSAPI\n".to_vec();
        bytes.extend(bad);
        let mut stream = send(platform.rpc, &bytes).await;
        expect(&mut stream, b"10.0\n").await;
        expect_closed(&mut stream).await;
    }
    for bad in [&b"0\nNSAPI\n"[..], b"10\nCSAPI\n", b"10\nSSAPI\n", b"10\nother\n"] {
        expect_closed(&mut send(platform.rpc, bad).await).await;
    }
}
