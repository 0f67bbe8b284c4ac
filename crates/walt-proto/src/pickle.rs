//! Python pickles of plain data: a reader of data opcodes only, and a protocol 4 writer.
//!
//! Opcodes are those of CPython's `Lib/pickletools.py`. Nothing that names a class or calls anything is known here:
//! such an opcode is an error like any unknown byte. Pickles have no length prefix, so [`PickleReader`] takes bytes as
//! they come, one opcode at a time, and keeps what follows the end.

use crate::python::PyValue;
use std::collections::HashMap;

/// What a reader accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PickleLimits {
    /// Size of the pickle, in bytes.
    pub bytes: usize,
    /// Number of values, shared ones counted as often as they are used.
    pub items: usize,
    /// Nesting.
    pub depth: usize,
}

impl Default for PickleLimits {
    fn default() -> Self {
        Self { bytes: 64 * 1024, items: 10_000, depth: 32 }
    }
}

/// Why bytes are no pickle we take: close the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PickleError {
    /// An opcode that is not plain data.
    #[error("pickle opcode {0:#04x} is refused: only plain data is accepted")]
    Opcode(u8),
    /// Opcodes that do not fit together.
    #[error("malformed pickle: {0}")]
    Malformed(&'static str),
    /// Beyond the limits.
    #[error("pickle over the limit of {0}")]
    Limit(&'static str),
}

/// An object being built. Containers refer to others by index, since a memoized container may still grow.
#[derive(Debug, Clone)]
enum Object {
    Leaf(PyValue),
    Tuple(Vec<usize>),
    List(Vec<usize>),
    Dict(Vec<(usize, usize)>),
}

/// Reads pickles out of a byte stream.
#[derive(Debug)]
pub struct PickleReader {
    limits: PickleLimits,
    buffer: Vec<u8>,
    /// Start of the next opcode.
    at: usize,
    objects: Vec<Object>,
    stack: Vec<usize>,
    marks: Vec<usize>,
    memo: HashMap<u32, usize>,
}

/// Outcome of one opcode.
enum Step {
    Done,
    Stop(usize),
    NeedMore,
}

impl Default for PickleReader {
    fn default() -> Self {
        Self::new(PickleLimits::default())
    }
}

impl PickleReader {
    /// Nothing received yet.
    pub fn new(limits: PickleLimits) -> Self {
        Self {
            limits,
            buffer: Vec::new(),
            at: 0,
            objects: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        }
    }

    /// Adds received bytes.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole value, if its end was received. What follows is kept for the next one.
    ///
    /// # Errors
    /// See [`PickleError`]; the reader is of no use afterwards.
    pub fn next_value(&mut self) -> Result<Option<PyValue>, PickleError> {
        loop {
            match self.step()? {
                Step::Done if self.at > self.limits.bytes => {
                    return Err(PickleError::Limit("size"));
                }
                Step::Done if self.objects.len() > self.limits.items => {
                    return Err(PickleError::Limit("items"));
                }
                Step::Done => {}
                Step::NeedMore if self.buffer.len() > self.limits.bytes => {
                    return Err(PickleError::Limit("size"));
                }
                Step::NeedMore => return Ok(None),
                Step::Stop(root) => {
                    let mut budget = Budget { items: self.limits.items, bytes: self.limits.bytes };
                    let value = self.build(root, self.limits.depth, &mut budget)?;
                    self.buffer.drain(..self.at);
                    self.at = 0;
                    self.objects.clear();
                    self.stack.clear();
                    self.marks.clear();
                    self.memo.clear();
                    return Ok(Some(value));
                }
            }
        }
    }

    /// What was received after the values already given.
    pub fn into_rest(self) -> Vec<u8> {
        self.buffer
    }

    fn step(&mut self) -> Result<Step, PickleError> {
        let Some(&opcode) = self.buffer.get(self.at) else { return Ok(Step::NeedMore) };
        let Some((argument_at, length)) = self.argument(opcode)? else { return Ok(Step::NeedMore) };
        if length > self.limits.bytes {
            return Err(PickleError::Limit("size"));
        }
        let end = argument_at + length;
        let Some(argument) = self.buffer.get(argument_at..end) else { return Ok(Step::NeedMore) };
        let leaf = match opcode {
            b'N' => Some(PyValue::None),
            0x88 => Some(PyValue::Bool(true)),
            0x89 => Some(PyValue::Bool(false)),
            b'K' | b'M' => Some(PyValue::Int(little_endian(argument) as i64)),
            b'J' => Some(PyValue::Int(i64::from(little_endian(argument) as u32 as i32))),
            0x8a => Some(PyValue::Int(signed(argument)?)),
            b'G' => Some(PyValue::Float(big_endian_float(argument))),
            0x8c | b'X' => Some(PyValue::Str(
                std::str::from_utf8(argument)
                    .map_err(|_| PickleError::Malformed("text is not UTF-8"))?
                    .to_owned(),
            )),
            b'C' | b'B' => Some(PyValue::Bytes(argument.to_vec())),
            _ => None,
        };
        let number = if argument.len() <= 4 { little_endian(argument) as u32 } else { 0 };
        self.at = end;
        if let Some(leaf) = leaf {
            self.push(Object::Leaf(leaf));
            return Ok(Step::Done);
        }
        match opcode {
            // Protocol number; frames only help to read ahead.
            0x80 if number > 5 => return Err(PickleError::Malformed("unknown protocol")),
            0x80 | 0x95 => {}
            0x94 => {
                let index =
                    u32::try_from(self.memo.len()).map_err(|_| PickleError::Limit("items"))?;
                let top = self.top()?;
                self.memo.insert(index, top);
            }
            b'h' | b'j' => {
                let object =
                    *self.memo.get(&number).ok_or(PickleError::Malformed("unknown memo"))?;
                if self.stack.len() > self.limits.items {
                    return Err(PickleError::Limit("items"));
                }
                self.stack.push(object);
            }
            b'(' => {
                if self.marks.len() > self.limits.items {
                    return Err(PickleError::Limit("items"));
                }
                self.marks.push(self.stack.len());
            }
            b')' => self.push(Object::Tuple(Vec::new())),
            0x85..=0x87 => {
                let items = self.pop_last(usize::from(opcode - 0x84))?;
                self.push(Object::Tuple(items));
            }
            b't' => {
                let items = self.pop_marked()?;
                self.push(Object::Tuple(items));
            }
            b']' => self.push(Object::List(Vec::new())),
            b'}' => self.push(Object::Dict(Vec::new())),
            b'a' | b'e' => {
                let added = if opcode == b'a' { self.pop_last(1)? } else { self.pop_marked()? };
                let top = self.top()?;
                match self.objects.get_mut(top) {
                    Some(Object::List(items)) => items.extend(added),
                    _ => return Err(PickleError::Malformed("append to what is no list")),
                }
            }
            b's' | b'u' => {
                let added = if opcode == b's' { self.pop_last(2)? } else { self.pop_marked()? };
                let top = self.top()?;
                let (pairs, rest) = added.as_chunks::<2>();
                match self.objects.get_mut(top) {
                    Some(Object::Dict(entries)) if rest.is_empty() => {
                        entries.extend(pairs.iter().map(|[key, value]| (*key, *value)));
                    }
                    _ => return Err(PickleError::Malformed("entry of what is no dict")),
                }
            }
            b'.' => {
                let root = self.pop_last(1)?;
                return match (root.as_slice(), self.stack.is_empty() && self.marks.is_empty()) {
                    ([root], true) => Ok(Step::Stop(*root)),
                    _ => Err(PickleError::Malformed("several values")),
                };
            }
            _ => return Err(PickleError::Opcode(opcode)),
        }
        Ok(Step::Done)
    }

    /// Where the argument of the opcode at the cursor starts and how long it is; `None` if its length is not
    /// received yet.
    fn argument(&self, opcode: u8) -> Result<Option<(usize, usize)>, PickleError> {
        let fixed = |length| Ok(Some((self.at + 1, length)));
        let prefixed = |size: usize| {
            let prefix = self.buffer.get(self.at + 1..self.at + 1 + size);
            Ok(prefix.map(|prefix| (self.at + 1 + size, little_endian(prefix) as usize)))
        };
        match opcode {
            b'N'
            | 0x88
            | 0x89
            | 0x94
            | b'('
            | b')'
            | 0x85..=0x87
            | b't'
            | b']'
            | b'a'
            | b'e'
            | b'}'
            | b's'
            | b'u'
            | b'.' => fixed(0),
            0x80 | b'K' | b'h' => fixed(1),
            b'M' => fixed(2),
            b'J' | b'j' => fixed(4),
            0x95 | b'G' => fixed(8),
            0x8c | b'C' | 0x8a => prefixed(1),
            b'X' | b'B' => prefixed(4),
            other => Err(PickleError::Opcode(other)),
        }
    }

    fn push(&mut self, object: Object) {
        self.stack.push(self.objects.len());
        self.objects.push(object);
    }

    /// How much of the stack is above the last mark and may be popped.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<usize, PickleError> {
        match self.stack.last() {
            Some(top) if self.stack.len() > self.floor() => Ok(*top),
            _ => Err(PickleError::Malformed("empty stack")),
        }
    }

    fn pop_last(&mut self, count: usize) -> Result<Vec<usize>, PickleError> {
        match self.stack.len().checked_sub(count) {
            Some(start) if start >= self.floor() => Ok(self.stack.split_off(start)),
            _ => Err(PickleError::Malformed("empty stack")),
        }
    }

    fn pop_marked(&mut self) -> Result<Vec<usize>, PickleError> {
        let mark = self.marks.pop().ok_or(PickleError::Malformed("no mark"))?;
        Ok(self.stack.split_off(mark))
    }

    /// Turns the graph into a tree; cycles end at the depth limit, sharing is paid for by the budget.
    fn build(
        &self,
        index: usize,
        depth: usize,
        budget: &mut Budget,
    ) -> Result<PyValue, PickleError> {
        budget.items = budget.items.checked_sub(1).ok_or(PickleError::Limit("items"))?;
        let deeper = || depth.checked_sub(1).ok_or(PickleError::Limit("nesting"));
        Ok(match self.objects.get(index).ok_or(PickleError::Malformed("unknown object"))? {
            Object::Leaf(leaf) => {
                let size = match leaf {
                    PyValue::Str(text) => text.len(),
                    PyValue::Bytes(bytes) => bytes.len(),
                    _ => 0,
                };
                budget.bytes = budget.bytes.checked_sub(size).ok_or(PickleError::Limit("size"))?;
                leaf.clone()
            }
            Object::Tuple(items) => PyValue::Tuple(self.build_all(items, deeper()?, budget)?),
            Object::List(items) => PyValue::List(self.build_all(items, deeper()?, budget)?),
            Object::Dict(entries) => {
                let depth = deeper()?;
                let entry = |(key, value): &(usize, usize)| {
                    Ok((self.build(*key, depth, budget)?, self.build(*value, depth, budget)?))
                };
                PyValue::Dict(entries.iter().map(entry).collect::<Result<_, PickleError>>()?)
            }
        })
    }

    fn build_all(
        &self,
        items: &[usize],
        depth: usize,
        budget: &mut Budget,
    ) -> Result<Vec<PyValue>, PickleError> {
        items.iter().map(|item| self.build(*item, depth, budget)).collect()
    }
}

struct Budget {
    items: usize,
    bytes: usize,
}

/// Up to 8 bytes.
fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
}

fn signed(bytes: &[u8]) -> Result<i64, PickleError> {
    if bytes.len() > 8 {
        return Err(PickleError::Limit("integers"));
    }
    let negative = bytes.last().is_some_and(|b| *b >= 0x80);
    let mut extended = if negative { [0xff; 8] } else { [0; 8] };
    extended[..bytes.len()].copy_from_slice(bytes);
    Ok(i64::from_le_bytes(extended))
}

fn big_endian_float(bytes: &[u8]) -> f64 {
    f64::from_bits(bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
}

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

const MEMOIZE: u8 = 0x94;
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::python::strategy;
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
}
