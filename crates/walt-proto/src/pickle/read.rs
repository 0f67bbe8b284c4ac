//! The reader.

use super::{MEMOIZE, PickleError, PickleLimits, signed};
use crate::python::PyValue;
use std::collections::HashMap;

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
            MEMOIZE => {
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
                let pairs = added.chunks_exact(2);
                match self.objects.get_mut(top) {
                    Some(Object::Dict(entries)) if pairs.remainder().is_empty() => {
                        entries.extend(pairs.map(|pair| (pair[0], pair[1])));
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

fn big_endian_float(bytes: &[u8]) -> f64 {
    f64::from_bits(bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
}
