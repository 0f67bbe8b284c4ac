//! Bytes to lines, with bounded memory.

/// Cuts a byte stream into lines. A line longer than the limit is given in pieces, so that nothing is lost and
/// memory stays bounded. Characters cut by the edge of a chunk are put together again.
#[derive(Debug, Clone)]
pub struct LineSplitter {
    buffer: Vec<u8>,
    /// Where what is not yet given starts.
    start: usize,
    /// How far `buffer` is known to hold no line break.
    scanned: usize,
    limit: usize,
    /// The last piece given was not the end of its line.
    cut: bool,
}

impl LineSplitter {
    /// With lines of at most `limit` bytes (at least 4).
    pub fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, scanned: 0, limit: limit.max(4), cut: false }
    }

    /// Adds received bytes; take the lines with [`LineSplitter::next_line`] before adding more.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(chunk);
    }

    /// The next complete line, or piece of a line over the limit, without its line break.
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        let window = self.buffer.len().min(self.start + self.limit + 1);
        let found = self.buffer[self.scanned..window].iter().position(|b| *b == b'\n');
        let (end, next) = match found {
            Some(found) => {
                self.cut = false;
                (self.scanned + found, self.scanned + found + 1)
            }
            None if self.buffer.len() - self.start > self.limit => {
                self.cut = true;
                let cut = self.start + char_boundary(&self.buffer[self.start..], self.limit);
                (cut, cut)
            }
            None => {
                self.scanned = window;
                return None;
            }
        };
        let line = self.buffer[self.start..end].to_vec();
        self.start = next;
        self.scanned = next;
        Some(line)
    }

    /// Is what comes next, from [`LineSplitter::next_line`] or [`LineSplitter::take_rest`], the rest of a line of which
    /// a piece was given?
    pub fn in_long_line(&self) -> bool {
        self.cut
    }

    /// Is a line begun but not ended?
    pub fn has_partial(&self) -> bool {
        self.start < self.buffer.len()
    }

    /// Gives back what is not consumed, and forgets it.
    pub fn take_rest(&mut self) -> Vec<u8> {
        let rest = self.buffer.split_off(self.start);
        self.buffer.clear();
        (self.start, self.scanned) = (0, 0);
        self.cut = false;
        rest
    }
}

/// The last position up to `limit` that is not inside an UTF-8 character.
fn char_boundary(bytes: &[u8], limit: usize) -> usize {
    let is_continuation = |index: usize| bytes.get(index).is_some_and(|b| b & 0xc0 == 0x80);
    (limit - 3..=limit).rev().find(|index| !is_continuation(*index)).unwrap_or(limit)
}

/// A line as text: what is not UTF-8 is replaced, and so are NULs, which stores of text refuse.
pub fn to_text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).replace('\0', "\u{fffd}")
}

/// [`to_text`] of a line that is no longer needed: usually it costs no copy.
pub fn into_text(line: Vec<u8>) -> String {
    match String::from_utf8(line) {
        Ok(text) if !text.contains('\0') => text,
        Ok(text) => text.replace('\0', "\u{fffd}"),
        Err(error) => to_text(error.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(splitter: &mut LineSplitter) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| splitter.next_line()).collect()
    }

    #[test]
    fn pieces() {
        let mut splitter = LineSplitter::new(4);
        splitter.feed(b"ab\n\nabcd\nabcde");
        let mut given = Vec::new();
        while let Some(line) = splitter.next_line() {
            given.push((line, splitter.in_long_line()));
        }
        let line = |text: &str, cut| (text.as_bytes().to_vec(), cut);
        assert_eq!(
            given,
            [line("ab", false), line("", false), line("abcd", false), line("abcd", true)]
        );
        assert!(splitter.has_partial());
        splitter.feed("é€".as_bytes());
        assert_eq!(all(&mut splitter), ["eé".as_bytes()]);
        assert!(splitter.in_long_line());
        assert_eq!(splitter.take_rest(), "€".as_bytes());
        assert!(!splitter.in_long_line());
        for line in [&b"a\0\xff"[..], b"a\0", b"a\xff", b"a"] {
            assert_eq!(into_text(line.to_vec()), to_text(line));
        }
        assert_eq!(to_text(b"a\0\xff"), "a\u{fffd}\u{fffd}");
    }

    proptest! {
        #[test]
        fn chunking_does_not_matter(data: Vec<u8>, cuts: Vec<usize>) {
            let mut whole = LineSplitter::new(1000);
            whole.feed(&data);
            let expected = all(&mut whole);
            let mut pieces = LineSplitter::new(1000);
            let mut found = Vec::new();
            let mut rest = &data[..];
            for cut in cuts {
                let (chunk, after) = rest.split_at(cut % (rest.len() + 1));
                pieces.feed(chunk);
                found.extend(all(&mut pieces));
                rest = after;
            }
            pieces.feed(rest);
            found.extend(all(&mut pieces));
            prop_assert_eq!(expected, found);
            prop_assert_eq!(whole.take_rest(), pieces.take_rest());
        }
    }
}
