//! Formats in the style of Python's `str.format`, for texts: `{}`, `{0}`, `{name}`, `{:>8.4}`, `{{`, `}}`.
//!
//! Fields are numbers and names only: no attribute, index or conversion is looked up in anything.

use std::collections::BTreeMap;

/// Longest text made, in bytes: a line of the log.
pub const TEXT_MAX: usize = 3500;

/// Largest width and precision.
const WIDTH_MAX: usize = 500;

/// A format that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(Field, Layout),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Number(usize),
    Name(String),
}

/// `[[fill]align][width][.precision][s]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Layout {
    fill: Option<char>,
    align: Option<char>,
    width: usize,
    precision: Option<usize>,
}

impl Format {
    /// Reads a format.
    ///
    /// # Errors
    /// What is not understood in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        // Python has `{}` count by themselves, or all numbers given.
        let (mut counted, mut given) = (0, false);
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let (inside, after) = match rest.split_once('}') {
                Some(split) if brace == "{" => split,
                _ => return Err("a brace has no partner".to_owned()),
            };
            rest = after;
            let (name, layout) = inside.split_once(':').unwrap_or((inside, ""));
            let field = if name.is_empty() {
                counted += 1;
                Field::Number(counted - 1)
            } else if name.bytes().all(|b| b.is_ascii_digit()) {
                given = true;
                Field::Number(name.parse().map_err(|_| format!("{{{name}}} is too large"))?)
            } else if name.chars().all(|c| c.is_alphanumeric() || c == '_') {
                Field::Name(name.to_owned())
            } else {
                return Err(format!("{{{name}}} is neither a number nor a name"));
            };
            if given && counted > 0 {
                return Err("{} and numbers cannot be mixed".to_owned());
            }
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Field(field, Layout::parse(layout)?));
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    /// The text with its fields filled.
    ///
    /// # Errors
    /// The field that has no value.
    pub fn fill(&self, parts: &[&str], names: &BTreeMap<String, String>) -> Result<String, String> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Field(field, layout) => {
                    let value = match field {
                        Field::Number(n) => parts.get(*n).copied().ok_or_else(|| {
                            format!("the line has {} parts, the format wants more", parts.len())
                        }),
                        Field::Name(name) => names
                            .get(name)
                            .map(String::as_str)
                            .ok_or_else(|| format!("no LOGVAR defined {name}")),
                    }?;
                    layout.write(value, &mut text);
                }
            }
            if text.len() > TEXT_MAX {
                let end = (0..=TEXT_MAX).rev().find(|end| text.is_char_boundary(*end));
                text.truncate(end.unwrap_or_default());
                break;
            }
        }
        Ok(text)
    }
}

impl Layout {
    fn parse(text: &str) -> Result<Self, String> {
        let mut layout = Self::default();
        let is_align = |c: &char| matches!(c, '<' | '>' | '^');
        let mut chars = text.chars();
        let (first, second) = (chars.next(), chars.next());
        let mut rest = text;
        if let (Some(fill), Some(align)) = (first, second.filter(is_align)) {
            (layout.fill, layout.align) = (Some(fill), Some(align));
            rest = &text[fill.len_utf8() + 1..];
        } else if let Some(align) = first.filter(is_align) {
            layout.align = Some(align);
            rest = &text[1..];
        }
        rest = rest.strip_suffix('s').unwrap_or(rest);
        let number = |digits: &str| {
            let is_number = digits.bytes().all(|b| b.is_ascii_digit());
            let value = digits.parse().ok().filter(|n| is_number && *n <= WIDTH_MAX);
            value.ok_or_else(|| {
                format!("':{text}' is not a layout for texts, or is over {WIDTH_MAX} characters")
            })
        };
        let (width, precision) = match rest.split_once('.') {
            Some((width, precision)) => (width, Some(precision)),
            None => (rest, None),
        };
        if !width.is_empty() {
            layout.width = number(width)?;
        }
        layout.precision = precision.map(number).transpose()?;
        Ok(layout)
    }

    fn write(&self, value: &str, text: &mut String) {
        let shown: String = value.chars().take(self.precision.unwrap_or(usize::MAX)).collect();
        let space = self.width.saturating_sub(shown.chars().count());
        let before = match self.align {
            Some('>') => space,
            Some('^') => space / 2,
            _ => 0,
        };
        let fill = |count| std::iter::repeat_n(self.fill.unwrap_or(' '), count);
        text.extend(fill(before));
        text.push_str(&shown);
        text.extend(fill(space - before));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fill(format: &str, parts: &[&str]) -> Result<String, String> {
        let names = BTreeMap::from([("nodeid".to_owned(), "af4e".to_owned())]);
        Format::parse(format)?.fill(parts, &names)
    }

    #[test]
    fn fields() {
        assert_eq!(fill("{nodeid}:TxStart:{}", &["aabb"]).unwrap(), "af4e:TxStart:aabb");
        assert_eq!(fill("{1}-{0} {{x}} {1}", &["a", "b"]).unwrap(), "b-a {x} b");
        assert_eq!(
            fill("[{:>4}][{:*^5}][{:<3}][{:.2}][{:6.1s}]", &["a", "b", "c", "def", "ghi"]).unwrap(),
            "[   a][**b**][c  ][de][g     ]"
        );
        assert_eq!(fill("é{:é>3}", &["x"]).unwrap(), "éééx");
        assert_eq!(fill("no field", &["x"]).unwrap(), "no field");
        assert!(fill("{:500}", &["x"]).unwrap().len() == 500);
    }

    #[test]
    fn refusals() {
        for bad in [
            "{",
            "}",
            "{a",
            "a}b",
            "{} {0}",
            "{a.b}",
            "{0[1]}",
            "{a!r}",
            "{:d}",
            "{:>9999}",
            "{:{}}",
            "{ }",
            "{99999999999999999999999}",
            "{:.}",
            "{:+5}",
        ] {
            assert!(Format::parse(bad).is_err(), "{bad}");
        }
        assert!(fill("{} {}", &["one"]).unwrap_err().contains("has 1 parts"));
        assert!(fill("{other}", &[]).unwrap_err().contains("other"));
    }

    proptest! {
        #[test]
        fn never_panics_nor_grows(format in "[{}:<>^.0-9a-zé ]{0,40}", parts: Vec<String>) {
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            if let Ok(text) = fill(&format, &parts) {
                prop_assert!(text.len() <= TEXT_MAX);
            }
        }
    }
}
