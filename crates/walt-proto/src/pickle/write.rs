//! The writer.

use super::{MEMOIZE, signed};
use crate::python::PyValue;

/// Writes a value as CPython's protocol 4 does.
pub fn write(value: &PyValue) -> Vec<u8> {
    let mut body = Vec::new();
    write_value(value, &mut body);
    body.push(b'.');
    let mut out = vec![0x80, 4];
    // CPython frames from 4 bytes up.
    if body.len() >= 4 {
        out.push(0x95);
        out.extend((body.len() as u64).to_le_bytes());
    }
    out.extend(body);
    out
}

/// Entries of one APPENDS or SETITEMS, as CPython batches them.
const BATCH: usize = 1000;

fn write_value(value: &PyValue, out: &mut Vec<u8>) {
    match value {
        PyValue::None => out.push(b'N'),
        PyValue::Bool(true) => out.push(0x88),
        PyValue::Bool(false) => out.push(0x89),
        PyValue::Int(n) => write_int(*n, out),
        PyValue::Float(x) => {
            out.push(b'G');
            out.extend(x.to_be_bytes());
        }
        PyValue::Str(text) => write_blob(0x8c, b'X', text.as_bytes(), out),
        PyValue::Bytes(bytes) => write_blob(b'C', b'B', bytes, out),
        PyValue::Tuple(items) => write_tuple(items, out),
        PyValue::List(items) => {
            out.extend([b']', MEMOIZE]);
            write_batches(items, b'a', b'e', write_value, out);
        }
        PyValue::Dict(entries) => {
            out.extend([b'}', MEMOIZE]);
            let entry = |(key, value): &(PyValue, PyValue), out: &mut Vec<u8>| {
                write_value(key, out);
                write_value(value, out);
            };
            write_batches(entries, b's', b'u', entry, out);
        }
    }
}

fn write_int(n: i64, out: &mut Vec<u8>) {
    if let Ok(byte) = u8::try_from(n) {
        out.extend([b'K', byte]);
    } else if let Ok(short) = u16::try_from(n) {
        out.push(b'M');
        out.extend(short.to_le_bytes());
    } else if let Ok(int) = i32::try_from(n) {
        out.push(b'J');
        out.extend(int.to_le_bytes());
    } else {
        // As few bytes as keep the sign.
        let bytes = n.to_le_bytes();
        let fits = |length: &usize| signed(&bytes[..*length]) == Ok(n);
        let length = (5..=8).find(fits).unwrap_or(8);
        out.extend([0x8a, length as u8]);
        out.extend(&bytes[..length]);
    }
}

fn write_blob(short: u8, long: u8, bytes: &[u8], out: &mut Vec<u8>) {
    match (u8::try_from(bytes.len()), u32::try_from(bytes.len())) {
        (Ok(length), _) => out.extend([short, length]),
        (_, length) => {
            // Nothing we send comes near 4 GiB.
            let length = length.unwrap_or(u32::MAX);
            out.push(long);
            out.extend(length.to_le_bytes());
        }
    }
    out.extend(bytes);
    out.push(MEMOIZE);
}

fn write_tuple(items: &[PyValue], out: &mut Vec<u8>) {
    let close = match items.len() {
        0 => return out.push(b')'),
        length @ 1..=3 => 0x84 + length as u8,
        _ => {
            out.push(b'(');
            b't'
        }
    };
    items.iter().for_each(|item| write_value(item, out));
    out.extend([close, MEMOIZE]);
}

fn write_batches<T>(
    items: &[T],
    one: u8,
    many: u8,
    write: impl Fn(&T, &mut Vec<u8>),
    out: &mut Vec<u8>,
) {
    for batch in items.chunks(BATCH) {
        if batch.len() > 1 {
            out.push(b'(');
        }
        batch.iter().for_each(|item| write(item, out));
        out.push(if batch.len() > 1 { many } else { one });
    }
}
