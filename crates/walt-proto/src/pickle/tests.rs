use super::*;
use crate::python::{PyValue, strategy};
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn read(bytes: &[u8]) -> Result<Option<PyValue>, PickleError> {
    let mut reader = PickleReader::default();
    reader.feed(bytes);
    reader.next_value()
}

const RPC_CALL: &str = "80 04 95 39 00 00 00 00 00 00 00 28 8c 08 41 50 49 5f 43 41 4c 4c 94 8c 0f 67 65 74 5f 64 65 76 \
    69 63 65 5f 69 6e 66 6f 94 8c 11 35 32 3a 35 34 3a 30 30 3a 30 31 3a 30 32 3a 30 33 94 85 94 7d 94 74 94 2e";

/// The worked examples of the protocol description, both ways.
#[test]
fn transcripts() {
    let s = |text: &str| PyValue::str(text);
    let ping =
        PyValue::dict([("device_ip", s("192.168.152.20")), ("tty_mode", PyValue::Bool(false))]);
    let typed =
        PyValue::dict([("evt", s("input_data")), ("data", PyValue::Bytes(b"ls\r".to_vec()))]);
    let call = PyValue::Tuple(vec![
        s("API_CALL"),
        s("get_device_info"),
        PyValue::Tuple(vec![s("52:54:00:01:02:03")]),
        PyValue::Dict(vec![]),
    ]);
    let none = PyValue::Tuple(vec![s("RESULT"), PyValue::None]);
    for (bytes, value) in [
        (
            "80 04 95 2e 00 00 00 00 00 00 00 7d 94 28 8c 09 64 65 76 69 63 65 5f 69 70 94 8c 0e 31 39 32 2e 31 36 38 2e 31 35 32 \
          2e 32 30 94 8c 08 74 74 79 5f 6d 6f 64 65 94 89 75 2e",
            ping,
        ),
        (
            "80 04 95 25 00 00 00 00 00 00 00 7d 94 28 8c 03 65 76 74 94 8c 0a 69 6e 70 75 74 5f 64 61 74 61 94 8c 04 64 61 74 \
          61 94 43 03 6c 73 0d 94 75 2e",
            typed,
        ),
        (RPC_CALL, call),
        ("80 04 95 0d 00 00 00 00 00 00 00 8c 06 52 45 53 55 4c 54 94 4e 86 94 2e", none),
    ] {
        let bytes = hex(bytes);
        assert_eq!(read(&bytes), Ok(Some(value.clone())));
        assert_eq!(write(&value), bytes);
    }
}

#[test]
fn every_split_and_the_rest() {
    let bytes = hex(RPC_CALL);
    for cut in 0..bytes.len() {
        let mut reader = PickleReader::default();
        reader.feed(&bytes[..cut]);
        assert_eq!(reader.next_value(), Ok(None));
        reader.feed(&bytes[cut..]);
        reader.feed(b"rest");
        assert!(reader.next_value().unwrap().is_some());
        assert_eq!(reader.into_rest(), b"rest");
    }
}

#[test]
fn memo_sharing() {
    // x = []; (x, x) where x gets an element after it was memoized.
    let bytes = b"\x80\x04]\x94h\x00K\x07a\x86.";
    let list = PyValue::List(vec![PyValue::Int(7)]);
    assert_eq!(read(bytes), Ok(Some(PyValue::Tuple(vec![list.clone(), list]))));
}

#[test]
fn integers() {
    for n in [
        0,
        1,
        255,
        256,
        65535,
        65536,
        -1,
        i64::from(i32::MIN),
        1 << 31,
        -(1 << 31) - 1,
        1 << 39,
        i64::MAX,
        i64::MIN,
    ] {
        assert_eq!(read(&write(&PyValue::Int(n))), Ok(Some(PyValue::Int(n))));
    }
    assert_eq!(
        write(&PyValue::Int(1 << 31)),
        b"\x80\x04\x95\x08\0\0\0\0\0\0\0\x8a\x05\0\0\0\x80\0."
    );
    assert_eq!(read(b"\x80\x04\x8a\x00."), Ok(Some(PyValue::Int(0))));
}

#[test]
fn refusals() {
    // os.system through GLOBAL + REDUCE, STACK_GLOBAL, BUILD, INST, OBJ, EXT, PERSID, NEXT_BUFFER.
    for opcode in
        [b'c', b'R', 0x93, b'b', b'i', b'o', 0x82, 0x83, 0x84, b'P', b'Q', 0x97, 0x81, 0x92]
    {
        assert_eq!(read(&[0x80, 4, opcode]), Err(PickleError::Opcode(opcode)));
    }
    for bad in [
        &b"\x80\x04."[..],
        b"NN.",
        b"(.",
        b"a",
        b"Na",
        b"NNa",
        b"]N(a",
        b"NNNs",
        b"}(Nu",
        b"t",
        b"e",
        b"h\0",
        b"\x94",
        b"\x80\x09",
        b"\x8c\x01\xff",
    ] {
        assert!(matches!(read(bad), Err(PickleError::Malformed(_))), "{bad:?}");
    }
}

#[test]
fn limits() {
    assert_eq!(read(b"X\xff\xff\xff\x7f"), Err(PickleError::Limit("size")));
    assert_eq!(read(b"\x8a\xff"), Ok(None));
    let mut reader = PickleReader::default();
    reader.feed(b"\x80\x04\x95\x00\x00");
    assert_eq!(reader.next_value(), Ok(None));
    // A list that contains itself.
    assert_eq!(read(b"]\x94h\x00a."), Err(PickleError::Limit("nesting")));
    assert!(read(&[b'('; 70_000]).is_err());
    assert!(read(&[b']'; 70_000]).is_err());
    // Doubling by sharing: 2^60 values in 400 bytes.
    let mut bomb = b"(]\x94".to_vec();
    for index in 0..60u8 {
        bomb.extend([b'h', index, b'h', index, 0x86, MEMOIZE]);
    }
    bomb.extend(b"t.");
    assert_eq!(read(&bomb), Err(PickleError::Limit("items")));
}

proptest! {
    #[test]
    fn round_trip(value in strategy::value()) {
        prop_assert_eq!(read(&write(&value)).unwrap(), Some(value));
    }

    #[test]
    fn never_panics(bytes: Vec<u8>) {
        let _ = read(&bytes);
    }

    #[test]
    fn never_panics_on_near_pickles(opcodes in prop::collection::vec(prop::sample::select(
        b"N\x88K\x01M\x02J\x00G\x8c\x00XC)\x85\x86\x87t(]ae}su.\x94h\x00\x80\x04".to_vec()), 0..60)) {
        let _ = read(&opcodes);
    }
}
