//! Reading and writing XDR (RFC 4506) on the path of every call: no allocation, every length bounded.

use bytes::BufMut;

/// The bytes do not hold what the protocol says they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Takes XDR values from the front of a message.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    #[cfg(test)]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Number of bytes that were not read yet.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.fixed().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.fixed().map(u64::from_be_bytes)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    /// Variable-length opaque data or a string of at most `max` bytes, with its padding.
    pub(crate) fn opaque(&mut self, max: usize) -> Result<&'a [u8], Malformed> {
        let len = self.u32()? as usize;
        if len > max {
            return Err(Malformed);
        }
        let padded = len.next_multiple_of(4);
        let (head, rest) = self.rest.split_at_checked(padded).ok_or(Malformed)?;
        self.rest = rest;
        Ok(&head[..len])
    }
}

/// Length on the wire of opaque data of this length: count, bytes, padding.
pub(crate) const fn opaque_size(len: usize) -> usize {
    4 + len.next_multiple_of(4)
}

/// Appends opaque data or a string: count, bytes, padding.
pub(crate) fn put_opaque(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32(bytes.len() as u32);
    out.put_slice(bytes);
    put_padding(out, bytes.len());
}

/// Appends the zero bytes that follow opaque data of this length.
pub(crate) fn put_padding(out: &mut Vec<u8>, len: usize) {
    out.put_bytes(0, len.next_multiple_of(4) - len);
}

/// Overwrites a 32-bit value written before.
pub(crate) fn patch_u32(out: &mut [u8], at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn opaque_data_goes_and_comes_back() {
        for len in 0..9 {
            let data = vec![7; len];
            let mut out = Vec::new();
            put_opaque(&mut out, &data);
            out.put_u32(0xfeed);
            assert_eq!(out.len(), opaque_size(len) + 4);
            let mut reader = Reader::new(&out);
            assert_eq!(reader.opaque(8).unwrap(), &data[..]);
            assert_eq!(reader.u32().unwrap(), 0xfeed);
            assert!(reader.rest().is_empty());
        }
    }

    #[test]
    fn lengths_are_bounded_and_truncation_is_seen() {
        let mut out = Vec::new();
        put_opaque(&mut out, b"abcde");
        assert_eq!(Reader::new(&out).opaque(4), Err(Malformed));
        for cut in 0..out.len() {
            assert_eq!(Reader::new(&out[..cut]).opaque(64), Err(Malformed));
        }
        assert_eq!(Reader::new(&[0xff; 4]).opaque(usize::MAX), Err(Malformed));
        assert_eq!(Reader::new(&[0, 0, 0, 2]).bool(), Err(Malformed));
    }
}
