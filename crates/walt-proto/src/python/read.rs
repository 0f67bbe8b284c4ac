//! Python literal syntax, read as data.

use super::PyValue;

/// Deepest nesting accepted.
pub const LITERAL_DEPTH_MAX: usize = 32;

/// Most values accepted in one literal.
pub const LITERAL_ITEMS_MAX: usize = 10_000;

/// Why a text is no literal we take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a Python literal, at byte {at}: {what}")]
pub struct LiteralError {
    /// Offset of the problem.
    pub at: usize,
    /// The problem.
    pub what: &'static str,
}

/// Reads one literal: `None`, booleans, numbers, strings and bytes in all their quotings, tuples, lists, dicts; blanks
/// around. No sets, complex numbers, names, calls nor operators (a sign before a number is fine).
///
/// # Errors
/// Anything else, or beyond the limits.
pub fn parse(text: &str) -> Result<PyValue, LiteralError> {
    let mut reader = Reader { text, at: 0, items: 0 };
    let value = reader.value(0)?;
    reader.blanks();
    if reader.at < text.len() {
        Err(reader.error("something follows the literal"))
    } else {
        Ok(value)
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    items: usize,
}

impl Reader<'_> {
    fn error(&self, what: &'static str) -> LiteralError {
        LiteralError { at: self.at, what }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|b| matches!(b, b' ' | b'\t' | b'\x0c' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.blanks();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<PyValue, LiteralError> {
        self.blanks();
        self.items += 1;
        if depth > LITERAL_DEPTH_MAX {
            return Err(self.error("nested too deeply"));
        }
        if self.items > LITERAL_ITEMS_MAX {
            return Err(self.error("too many values"));
        }
        match self.peek().ok_or_else(|| self.error("ends too early"))? {
            b'(' => self.parenthesis(depth),
            b'[' => {
                self.at += 1;
                self.items_until(b']', depth).map(|(items, _)| PyValue::List(items))
            }
            b'{' => self.dict(depth),
            b'0'..=b'9' | b'.' | b'-' | b'+' => self.number(),
            b'\'' | b'"' => self.strings(),
            _ => self.word(),
        }
    }

    /// A parenthesised value, or a tuple.
    fn parenthesis(&mut self, depth: usize) -> Result<PyValue, LiteralError> {
        self.at += 1;
        let (mut items, trailing_comma) = self.items_until(b')', depth)?;
        match items.pop() {
            Some(only) if items.is_empty() && !trailing_comma => Ok(only),
            Some(last) => {
                items.push(last);
                Ok(PyValue::Tuple(items))
            }
            None => Ok(PyValue::Tuple(items)),
        }
    }

    /// Comma-separated values up to the closing byte, and whether a comma came last.
    fn items_until(
        &mut self,
        close: u8,
        depth: usize,
    ) -> Result<(Vec<PyValue>, bool), LiteralError> {
        let mut items = Vec::new();
        let mut comma = false;
        while !self.eat(close) {
            if !items.is_empty() && !comma {
                return Err(self.error("expected a comma or the closing bracket"));
            }
            items.push(self.value(depth + 1)?);
            comma = self.eat(b',');
        }
        Ok((items, comma))
    }

    fn dict(&mut self, depth: usize) -> Result<PyValue, LiteralError> {
        self.at += 1;
        let mut entries = Vec::new();
        let mut comma = true;
        while !self.eat(b'}') {
            if !comma {
                return Err(self.error("expected a comma or '}'"));
            }
            let key = self.value(depth + 1)?;
            if !self.eat(b':') {
                return Err(self.error("expected ':'"));
            }
            entries.push((key, self.value(depth + 1)?));
            comma = self.eat(b',');
        }
        Ok(PyValue::Dict(entries))
    }

    fn word(&mut self) -> Result<PyValue, LiteralError> {
        let rest = self.rest();
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        let value = match word {
            "None" => PyValue::None,
            "True" => PyValue::Bool(true),
            "False" => PyValue::Bool(false),
            _ if length <= 2 && after.starts_with(['\'', '"']) => return self.strings(),
            _ => return Err(self.error("expected a literal")),
        };
        self.at += length;
        Ok(value)
    }

    fn number(&mut self) -> Result<PyValue, LiteralError> {
        let start = self.at;
        let error = |what| LiteralError { at: start, what };
        let mut negative = false;
        while let Some(sign @ (b'-' | b'+')) = self.peek() {
            negative ^= sign == b'-';
            self.at += 1;
            self.blanks();
            if self.at - start > 16 {
                return Err(error("too many signs"));
            }
        }
        let rest = self.rest();
        let mut length = 0;
        let bytes = rest.as_bytes();
        let is_based = bytes.first() == Some(&b'0')
            && matches!(bytes.get(1), Some(b'x' | b'X' | b'o' | b'O' | b'b' | b'B'));
        while let Some(byte) = bytes.get(length) {
            let exponent_sign = matches!(byte, b'-' | b'+')
                && !is_based
                && matches!(bytes[..length].last(), Some(b'e' | b'E'));
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || exponent_sign) {
                break;
            }
            length += 1;
        }
        let token = &rest[..length];
        let digits: String = token.chars().filter(|c| *c != '_').collect();
        if token.is_empty()
            || token.starts_with('_')
            || token.ends_with('_')
            || token.contains("__")
            || length > 400
        {
            return Err(error("bad number"));
        }
        let value = if is_based {
            let radix = match digits.as_bytes().get(1) {
                Some(b'x' | b'X') => 16,
                Some(b'o' | b'O') => 8,
                _ => 2,
            };
            integer(&digits[2..], radix, negative)
        } else if digits.bytes().all(|b| b.is_ascii_digit()) {
            let zeros_only = digits.bytes().all(|b| b == b'0');
            if digits.len() > 1 && digits.starts_with('0') && !zeros_only {
                None
            } else {
                integer(&digits, 10, negative)
            }
        } else if digits
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+'))
        {
            digits.parse().ok().map(|x: f64| PyValue::Float(if negative { -x } else { x }))
        } else {
            None
        };
        self.at += length;
        value.ok_or_else(|| error("bad number, or one that does not fit in 64 bits"))
    }

    /// One string or several juxtaposed, all texts or all bytes.
    fn strings(&mut self) -> Result<PyValue, LiteralError> {
        let mut text: Option<String> = None;
        let mut bytes: Option<Vec<u8>> = None;
        loop {
            let rest = self.rest();
            let Some(prefix) = rest.find(['\'', '"']).filter(|at| *at <= 2) else { break };
            let (is_bytes, is_raw) = match rest[..prefix].to_ascii_lowercase().as_str() {
                "" | "u" => (false, false),
                "b" => (true, false),
                "r" => (false, true),
                "br" | "rb" => (true, true),
                _ => break,
            };
            self.at += prefix;
            if is_bytes {
                self.string(is_raw, bytes.get_or_insert_default(), bytes_escape, |out, c| {
                    u8::try_from(c).ok().filter(u8::is_ascii).map(|b| out.push(b)).is_some()
                })?;
            } else {
                self.string(is_raw, text.get_or_insert_default(), text_escape, |out, c| {
                    out.push(c);
                    true
                })?;
            }
            self.blanks();
        }
        match (text, bytes) {
            (Some(text), None) => Ok(PyValue::Str(text)),
            (None, Some(bytes)) => Ok(PyValue::Bytes(bytes)),
            (None, None) => Err(self.error("expected a string")),
            _ => Err(self.error("texts and bytes cannot be juxtaposed")),
        }
    }

    /// One quoted string, the cursor being on its quote.
    fn string<T>(
        &mut self,
        is_raw: bool,
        out: &mut T,
        escape: fn(&mut T, &str) -> Option<usize>,
        push: fn(&mut T, char) -> bool,
    ) -> Result<(), LiteralError> {
        let start = self.at;
        let rest = self.rest();
        let quote = if rest.starts_with('"') { '"' } else { '\'' };
        let triple = if quote == '"' { "\"\"\"" } else { "'''" };
        let close = if rest.starts_with(triple) { triple } else { &triple[..1] };
        self.at += close.len();
        loop {
            let rest = &self.text[self.at..];
            if rest.starts_with(close) {
                self.at += close.len();
                return Ok(());
            }
            let c = rest
                .chars()
                .next()
                .ok_or(LiteralError { at: start, what: "unterminated string" })?;
            if c == '\n' && close.len() == 1 {
                return Err(self.error("line break in a string"));
            }
            if c == '\\' && is_raw {
                let next =
                    rest[1..].chars().next().ok_or_else(|| self.error("unterminated string"))?;
                if !push(out, c) || !push(out, next) {
                    return Err(self.error("bytes must be ASCII"));
                }
                self.at += 1 + next.len_utf8();
            } else if c == '\\' {
                let length =
                    escape(out, &rest[1..]).ok_or_else(|| self.error("bad escape sequence"))?;
                self.at += 1 + length;
            } else if push(out, c) {
                self.at += c.len_utf8();
            } else {
                return Err(self.error("bytes must be ASCII"));
            }
        }
    }
}

fn integer(digits: &str, radix: u32, negative: bool) -> Option<PyValue> {
    if digits.starts_with(['-', '+']) {
        return None;
    }
    let n = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if negative { -n } else { n }).ok().map(PyValue::Int)
}

/// What a backslash and the character after it stand for, in texts and bytes alike.
fn simple_escape(c: char) -> Option<&'static str> {
    Some(match c {
        '\n' => "",
        '\\' => "\\",
        '\'' => "'",
        '"' => "\"",
        'a' => "\x07",
        'b' => "\x08",
        'f' => "\x0c",
        'n' => "\n",
        'r' => "\r",
        't' => "\t",
        'v' => "\x0b",
        _ => return None,
    })
}

/// The number written by `\x..`, `\u....`, `\U........` or up to three octal digits, and the length of its text.
fn numeric_escape(rest: &str, with_unicode: bool) -> Option<(u32, usize)> {
    let first = rest.chars().next()?;
    let width = match first {
        'x' => 2,
        'u' if with_unicode => 4,
        'U' if with_unicode => 8,
        '0'..='7' => {
            let length = rest.bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
            return Some((u32::from_str_radix(&rest[..length], 8).ok()?, length));
        }
        _ => return None,
    };
    let digits = rest.get(1..=width).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
    Some((u32::from_str_radix(digits, 16).ok()?, 1 + width))
}

/// Writes what an escape stands for; gives the length of its text after the backslash. An unknown escape is
/// kept as it is, backslash included, as Python does.
fn text_escape(out: &mut String, rest: &str) -> Option<usize> {
    let c = rest.chars().next()?;
    if let Some(text) = simple_escape(c) {
        out.push_str(text);
        return Some(c.len_utf8());
    }
    if let Some((code, length)) = numeric_escape(rest, true) {
        // Half of a surrogate pair has no place in a Rust text.
        let lone_surrogate = (0xd800..0xe000).contains(&code);
        out.push(if lone_surrogate { char::REPLACEMENT_CHARACTER } else { char::from_u32(code)? });
        return Some(length);
    }
    if matches!(c, 'x' | 'u' | 'U' | 'N') {
        return None;
    }
    out.push('\\');
    out.push(c);
    Some(c.len_utf8())
}

fn bytes_escape(out: &mut Vec<u8>, rest: &str) -> Option<usize> {
    let c = rest.chars().next()?;
    if let Some(text) = simple_escape(c) {
        out.extend_from_slice(text.as_bytes());
        return Some(c.len_utf8());
    }
    if let Some((code, length)) = numeric_escape(rest, false) {
        out.push((code & 0xff) as u8);
        return Some(length);
    }
    if c == 'x' || !c.is_ascii() {
        return None;
    }
    out.push(b'\\');
    out.push(c as u8);
    Some(1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "tests.rs"]
mod tests;
