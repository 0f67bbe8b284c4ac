//! Regular expressions given by users: searched, never anchored, always in linear time.
//!
//! One engine (crate `regex`) for what was logged and for what comes. It takes POSIX extended expressions and
//! `\d \w \s \b`; what PostgreSQL, which held the logs before, writes in its own way is translated first:
//!
//! | PostgreSQL | here |
//! | --- | --- |
//! | `\m`, `[[:<:]]` | start of a word |
//! | `\M`, `[[:>:]]` | end of a word |
//! | `\y` | start or end of a word, as `\b` |
//! | `\Y` | neither, as `\B` |
//! | `\A`, `\Z` | start, end of the line |
//! | `\e`, `\cX`, `\uXXXX` | these characters |
//! | `***:`, `***=`, `(?e)`, `(?b)`... in front | what it says, when it can be said |
//!
//! Back-references, look-ahead and collating elements cannot be searched in linear time, or mean nothing here: refused.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Longest expression accepted, bytes.
const LONGEST: usize = 4096;

/// A regular expression typed by a user. Takes POSIX extended expressions, bracket classes included, and the usual
/// `\d \w \s`; refuses back-references. Matching takes linear time whatever the expression.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Regex {
    typed: String,
    compiled: regex::Regex,
}

/// Why a text is not a regular expression we take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid regular expression: {0}.\n(tip: {1})")]
pub struct RegexError(pub String, /** What is wrong, in one line. */ pub String);

impl FromStr for Regex {
    type Err = RegexError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |why: String| RegexError(text.chars().take(200).collect(), why);
        if text.len() > LONGEST {
            return Err(refused(format!("it is longer than {LONGEST} bytes")));
        }
        let translated = translate(text).map_err(|why| refused(why.to_owned()))?;
        regex::RegexBuilder::new(&translated)
            .size_limit(1 << 20)
            .dfa_size_limit(1 << 20)
            .nest_limit(100)
            .build()
            .map(|compiled| Self { typed: text.to_owned(), compiled })
            .map_err(|error| refused(reason(&error)))
    }
}

impl Regex {
    /// Does the expression match anywhere in the text?
    pub fn is_match(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }

    /// The expression as typed.
    pub fn as_str(&self) -> &str {
        &self.typed
    }
}

/// The last line of what the compiler says: the others draw the place.
fn reason(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => {
            "it is too large once its repetitions are written out".to_owned()
        }
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default().trim();
            last.trim_start_matches("error: ").to_owned()
        }
    }
}

/// From what PostgreSQL and POSIX accept to what the engine does.
fn translate(text: &str) -> Result<String, &'static str> {
    if let Some(literal) = text.strip_prefix("***=") {
        return Ok(regex::escape(literal));
    }
    let text = text.strip_prefix("***:").unwrap_or(text);
    // "Extended", which is what all are.
    let text = text.strip_prefix("(?e)").unwrap_or(text);
    let mut input = Input { rest: text };
    let mut out = String::with_capacity(text.len() + 16);
    loop {
        if input.take("[[:<:]]") {
            out.push_str(r"\b{start}");
        } else if input.take("[[:>:]]") {
            out.push_str(r"\b{end}");
        } else if ["(?=", "(?!", "(?<"].iter().any(|start| input.rest.starts_with(start)) {
            return Err("look-ahead, look-behind and named groups are not supported");
        } else if input.take("{,") {
            out.push_str("{0,");
        } else {
            match input.next() {
                None => return Ok(out),
                Some('\\') => escape(&mut input, &mut out, false)?,
                Some('[') => bracket(&mut input, &mut out)?,
                Some(other) => out.push(other),
            }
        }
    }
}

/// What is not read yet.
struct Input<'a> {
    rest: &'a str,
}

impl Input<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn take(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// A character given by exactly `digits` hexadecimal digits.
    fn hexadecimal(&mut self, digits: usize) -> Result<char, &'static str> {
        const ERROR: &str =
            "\\x, \\u and \\U are followed by hexadecimal digits of a character: \\x41, \\u00e9";
        let (number, rest) = self.rest.split_at_checked(digits).ok_or(ERROR)?;
        let valid = number.bytes().all(|b| b.is_ascii_hexdigit());
        self.rest = rest;
        let code = u32::from_str_radix(number, 16).ok().filter(|_| valid);
        code.and_then(char::from_u32).ok_or(ERROR)
    }
}

/// What follows a backslash.
fn escape(input: &mut Input<'_>, out: &mut String, in_bracket: bool) -> Result<(), &'static str> {
    let escaped = input.next().ok_or("it ends with a backslash")?;
    let word = match escaped {
        'm' => r"\b{start}",
        'M' => r"\b{end}",
        'y' | 'b' => r"\b",
        'Y' | 'B' => r"\B",
        'A' => r"\A",
        'Z' | 'z' => r"\z",
        _ => "",
    };
    if !word.is_empty() {
        if in_bracket {
            return Err("a place in the line (\\m, \\y...) cannot stand between [ and ]");
        }
        out.push_str(word);
        return Ok(());
    }
    match escaped {
        'd' | 'D' | 'w' | 'W' | 's' | 'S' | 'n' | 'r' | 't' | 'f' | 'v' | 'a' => {
            out.push('\\');
            out.push(escaped);
        }
        'e' => out.push_str(r"\x1b"),
        'c' => {
            let control = input.next().ok_or("\\c is followed by a letter")?;
            literal(char::from(u8::try_from(control).unwrap_or_default() & 31), out);
        }
        // `\x{...}` is the engine's own form.
        'x' if input.rest.starts_with('{') => out.push_str(r"\x"),
        'x' => literal(input.hexadecimal(2)?, out),
        'u' => literal(input.hexadecimal(4)?, out),
        'U' => literal(input.hexadecimal(8)?, out),
        '1'..='9' => return Err("back-references (\\1) are not supported"),
        'p' | 'P' => {
            out.push('\\');
            out.push(escaped);
        }
        other if other.is_ascii_alphanumeric() => return Err("unknown letter after a backslash"),
        other => literal(other, out),
    }
    Ok(())
}

/// Classes of characters, written `[:alpha:]` between brackets.
const CLASSES: [&str; 13] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "xdigit",
];

/// A bracket expression after its `[`. POSIX gives few characters a meaning there, the engine more.
fn bracket(input: &mut Input<'_>, out: &mut String) -> Result<(), &'static str> {
    const OPEN: &str = "a '[' without its ']'";
    out.push('[');
    if input.take("^") {
        out.push('^');
    }
    let mut first = true;
    loop {
        if input.rest.starts_with("[:") {
            let end = input.rest.find(":]").ok_or(OPEN)?;
            // The engine would take a class it does not know for a set of characters.
            if !CLASSES.contains(&&input.rest[2..end]) {
                return Err("unknown class of characters ([:...:])");
            }
            out.push_str(&input.rest[..end + 2]);
            input.rest = &input.rest[end + 2..];
        } else if let Some(mark) = ["[.", "[="].iter().find(|mark| input.rest.starts_with(**mark)) {
            // Of one character only: what it stands for in every language.
            let mut inside = input.rest[mark.len()..].chars();
            let c = inside.next().ok_or(OPEN)?;
            let end = format!("{}]", &mark[1..]);
            input.rest = inside
                .as_str()
                .strip_prefix(end.as_str())
                .ok_or("collating elements ([.hyphen.]) are not supported")?;
            literal(c, out);
        } else {
            match input.next().ok_or(OPEN)? {
                ']' if !first => break,
                '\\' => escape(input, out, true)?,
                // A range, or a dash at an end.
                '-' if !first && !input.rest.starts_with(']') => out.push('-'),
                other => literal(other, out),
            }
        }
        first = false;
    }
    out.push(']');
    Ok(())
}

/// A character that means itself, between brackets too.
fn literal(c: char, out: &mut String) {
    out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Display for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<Regex> for String {
    fn from(regex: Regex) -> String {
        regex.typed
    }
}

impl TryFrom<String> for Regex {
    type Error = RegexError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn dialect() {
        for (expression, text) in [
            ("plat.*", "my platform.nodes"),
            ("^[[:alpha:]]+[]x]$", "abc]"),
            (r"\d{2}\s\w", "-42 z-"),
            ("(a|b)+c?", "bab"),
            ("", "anything"),
        ] {
            assert!(expression.parse::<Regex>().unwrap().is_match(text), "{expression}");
        }
        assert!(!"^b$".parse::<Regex>().unwrap().is_match("abc"));
        for bad in ["(", "[a", r"(a)\1", "a{1000}{1000}{1000}"] {
            let error = bad.parse::<Regex>().unwrap_err();
            let first = format!("Invalid regular expression: {bad}.\n(tip: ");
            assert!(error.to_string().starts_with(&first), "{error}");
        }
    }

    #[test]
    fn postgresql_forms() {
        for (expression, yes, no) in [
            (r"\mcat\M", "a cat.", "concat"),
            ("[[:<:]]cat[[:>:]]", "a cat.", "cats"),
            (r"\ycat", "a cats", "concat"),
            (r"con\Ycat", "concat", "con cat"),
            (r"\Aab\Z", "ab", "cab"),
            (r"[\d_]+x", "1_2x", "x"),
            ("[^[:space:]]+[.]$", "a b.", "a b"),
            ("[]a]b", "]b", "[b"),
            ("[^]]b", "xb", "]b"),
            ("[a-]z", "-z", "bz"),
            ("[[]x", "[x", "x"),
            ("[a&&b]&&", "&&&", "a&"),
            ("[a~~b]", "~", "x"),
            (r"\u00e9t\u00E9", "été", "ete"),
            (r"\x41\cA", "A\u{1}", "A"),
            ("***=a.b(", "xa.b(", "axb("),
            ("***:a{2}", "aa", "a"),
            ("(?e)a{2}", "aa", "a"),
            ("(?i)abc", "xABC", "xAB"),
            ("(?:ab)+$", "abab", "ba"),
            (r"a\.b\/\-\<", "a.b/-<", "axb/-<"),
            ("[[.a.]]|[[=b=]]", "b", "c"),
            ("a{,2}b$", "aab", "c"),
            (r"[\]]\e", "]\u{1b}", "x"),
        ] {
            let regex = expression.parse::<Regex>().unwrap_or_else(|e| panic!("{expression}: {e}"));
            assert!(regex.is_match(yes), "{expression} {yes}");
            assert!(!regex.is_match(no), "{expression} {no}");
            assert_eq!(regex.as_str(), expression);
        }
        for (bad, why) in [
            (r"(a)\1", "back-references"),
            ("a(?=b)", "look-ahead"),
            ("[[.hyphen.]]", "collating"),
            ("[abc", "']'"),
            ("[[:letter:]]", "class"),
            (r"a\", "backslash"),
            ("*a", "repetition"),
            ("(a", "group"),
            ("(?x", "flag"),
            (r"\u00", "hexadecimal"),
        ] {
            let error = bad.parse::<Regex>().unwrap_err();
            assert!(error.1.contains(why), "{bad}: {error}");
        }
        assert!("a".repeat(5000).parse::<Regex>().is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(text in "[a-z\\\\\\[\\]():.^$*+?{},0-9=<>|&~-]{0,40}") {
            if let Ok(regex) = text.parse::<Regex>() {
                regex.is_match("some text 12");
            }
        }
    }

    #[test]
    fn linear_time() {
        let evil: Regex = "(a*)*b".parse().unwrap();
        assert!(!evil.is_match(&"a".repeat(100_000)));
    }
}
