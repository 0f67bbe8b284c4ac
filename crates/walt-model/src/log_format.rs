//! Format of log lines: `{timestamp:%H:%M:%S.%f} {issuer}.{stream} -> {line}`.
//!
//! Python's format mini-language (<https://docs.python.org/3/library/string.html#formatspec>) over five
//! fields; a timestamp takes a strftime pattern.

use jiff::{Timestamp, ZonedDateTime, tz::TimeZone};
use std::{fmt, str::FromStr};

/// A parsed format of log lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFormat {
    source: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Timestamp(Vec<Strftime>),
    Text(Field, TextSpec),
}

/// A record to word.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// When.
    pub timestamp: Timestamp,
    /// Who.
    pub issuer: &'a str,
    /// Where.
    pub stream: &'a str,
    /// What.
    pub line: &'a str,
    /// Clock of the server minus that of the issuer, and how sure that is, in microseconds.
    pub clock: Option<(i64, i64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Timestamp,
    Issuer,
    Stream,
    Line,
    Clock,
}

/// A part of a strftime pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Strftime {
    Literal(String),
    /// `%f`: microseconds on 6 digits.
    Microseconds,
    /// `%s`: Unix seconds.
    UnixSeconds,
    /// A directive that jiff knows under the same letter.
    Directive(String),
    /// What Python shows for a date without pattern: ISO with a space, microseconds unless zero.
    Default,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Align {
    Left,
    Center,
    Right,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TextSpec {
    fill: char,
    align: Align,
    width: usize,
    precision: Option<usize>,
}

/// Why a log format cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Could not display the logs: {0}.\nPlease check the format string '{1}'.")]
pub struct LogFormatError(pub String, /** The format. */ pub String);

/// The date directives of Python and of the C library that concern a date without zone.
const DIRECTIVES: &str = "aAwdbBmyYHIpMSjUWcxXGuVCDeFghklnPrRtT";

/// Widest padding accepted; protects from `{line:>1000000000}`.
const WIDTH_MAX: usize = 10_000;

impl Default for LogFormat {
    fn default() -> Self {
        Self::DEFAULT.parse().expect("the default format is valid, as the tests show")
    }
}

impl FromStr for LogFormat {
    type Err = LogFormatError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_pieces(text)
            .map(|pieces| Self { source: text.to_owned(), pieces })
            .map_err(|why| LogFormatError(why, text.to_owned()))
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.source)
    }
}

impl LogFormat {
    /// The format used when the user gives none.
    pub const DEFAULT: &'static str = "{timestamp:%H:%M:%S.%f} {issuer}.{stream} -> {line}";

    /// Words one record. `zone` is the server's; the date is shown without it.
    pub fn render(&self, shown: &Shown<'_>, zone: &TimeZone) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Timestamp(parts) => {
                    let date = shown.timestamp.to_zoned_datetime(zone.clone());
                    parts.iter().for_each(|part| part.render(&date, &mut out));
                }
                Piece::Text(Field::Clock, spec) => spec.render(&clock(shown.clock), &mut out),
                Piece::Text(field, spec) => spec.render(
                    match field {
                        Field::Issuer => shown.issuer,
                        Field::Stream => shown.stream,
                        Field::Line | Field::Timestamp | Field::Clock => shown.line,
                    },
                    &mut out,
                ),
            }
        }
        out
    }
}

/// `+0.001234s±0.000056s`, or `?` when the clocks were never compared.
fn clock(measure: Option<(i64, i64)>) -> String {
    let seconds = |micros: u64| format!("{}.{:06}s", micros / 1_000_000, micros % 1_000_000);
    match measure {
        None => "?".to_owned(),
        Some((offset, uncertainty)) => {
            let sign = if offset < 0 { '-' } else { '+' };
            let (offset, uncertainty) = (offset.unsigned_abs(), uncertainty.unsigned_abs());
            format!("{sign}{}±{}", seconds(offset), seconds(uncertainty))
        }
    }
}

fn parse_pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '{' | '}' if chars.peek() == Some(&c) => {
                chars.next();
                literal.push(c);
            }
            '}' => return Err("single '}' outside a field; write '}}' for a brace".to_owned()),
            '{' => {
                let mut field = String::new();
                loop {
                    match chars.next() {
                        Some('}') => break,
                        Some('{') => return Err("fields cannot be nested".to_owned()),
                        Some(c) => field.push(c),
                        None => return Err("'{' without '}'; write '{{' for a brace".to_owned()),
                    }
                }
                if !literal.is_empty() {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                }
                pieces.push(parse_field(&field)?);
            }
            _ => literal.push(c),
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

fn parse_field(text: &str) -> Result<Piece, String> {
    let (name, spec) = text.split_once(':').unwrap_or((text, ""));
    let (name, conversion) = name.split_once('!').map_or((name, None), |(name, c)| (name, Some(c)));
    let field = match name {
        "timestamp" => Field::Timestamp,
        "issuer" => Field::Issuer,
        "stream" => Field::Stream,
        "line" => Field::Line,
        "clock" => Field::Clock,
        _ => {
            return Err(format!(
                "unknown field '{name}'; fields are timestamp, issuer, stream, line and clock"
            ));
        }
    };
    match (field, conversion) {
        (Field::Timestamp, None) => parse_strftime(spec).map(Piece::Timestamp),
        (Field::Timestamp, Some("s")) if spec.is_empty() => {
            Ok(Piece::Timestamp(vec![Strftime::Default]))
        }
        (_, None | Some("s")) if field != Field::Timestamp => {
            Ok(Piece::Text(field, parse_text_spec(spec)?))
        }
        _ => Err(format!("conversion '!{}' is not supported here", conversion.unwrap_or_default())),
    }
}

fn parse_text_spec(spec: &str) -> Result<TextSpec, String> {
    let error = || format!("'{spec}' is not [[fill]align][width][.precision] for a text");
    let align = |c: char| match c {
        '<' => Some(Align::Left),
        '^' => Some(Align::Center),
        '>' => Some(Align::Right),
        _ => None,
    };
    let chars: Vec<char> = spec.chars().collect();
    let mut parsed = TextSpec { fill: ' ', align: Align::Left, width: 0, precision: None };
    let mut rest = chars.as_slice();
    if let [fill, a, after @ ..] = rest
        && let Some(a) = align(*a)
    {
        (parsed.fill, parsed.align, rest) = (*fill, a, after);
    } else if let [a, after @ ..] = rest
        && let Some(a) = align(*a)
    {
        (parsed.align, rest) = (a, after);
    } else if let ['0', ..] = rest {
        parsed.fill = '0';
    }
    let number = |rest: &mut &[char]| -> Result<Option<usize>, String> {
        let digits: String = rest.iter().take_while(|c| c.is_ascii_digit()).collect();
        *rest = &rest[digits.len()..];
        match digits.parse() {
            Ok(n) if n <= WIDTH_MAX => Ok(Some(n)),
            Err(_) if digits.is_empty() => Ok(None),
            _ => Err(format!("'{digits}' is too wide")),
        }
    };
    parsed.width = number(&mut rest)?.unwrap_or(0);
    if let ['.', after @ ..] = rest {
        rest = after;
        parsed.precision = Some(number(&mut rest)?.ok_or_else(error)?);
    }
    match rest {
        [] | ['s'] => Ok(parsed),
        _ => Err(error()),
    }
}

impl TextSpec {
    fn render(&self, text: &str, out: &mut String) {
        let shown: String = match self.precision {
            Some(precision) => text.chars().take(precision).collect(),
            None => text.to_owned(),
        };
        let missing = self.width.saturating_sub(shown.chars().count());
        let before = match self.align {
            Align::Left => 0,
            Align::Center => missing / 2,
            Align::Right => missing,
        };
        out.extend(std::iter::repeat_n(self.fill, before));
        out.push_str(&shown);
        out.extend(std::iter::repeat_n(self.fill, missing - before));
    }
}

fn parse_strftime(pattern: &str) -> Result<Vec<Strftime>, String> {
    if pattern.is_empty() {
        return Ok(vec![Strftime::Default]);
    }
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            literal.push(c);
            continue;
        }
        let mut directive = String::from("%");
        for c in chars.by_ref() {
            directive.push(c);
            if !matches!(c, '-' | '_' | '0' | '^' | '#') || directive.len() > 3 {
                break;
            }
        }
        let part = match directive.as_str() {
            "%%" => {
                literal.push('%');
                continue;
            }
            // A date without zone shows nothing for these, as in Python.
            "%z" | "%Z" => continue,
            "%f" => Strftime::Microseconds,
            "%s" => Strftime::UnixSeconds,
            _ => {
                let known = jiff::fmt::strtime::format(
                    &directive,
                    &Timestamp::UNIX_EPOCH.to_zoned_datetime(TimeZone::UTC),
                );
                // Directives about the zone exist in jiff but mean nothing here.
                if known.is_err() || !directive.ends_with(|c| DIRECTIVES.contains(c)) {
                    return Err(format!("unknown date directive '{directive}'"));
                }
                Strftime::Directive(directive)
            }
        };
        if !literal.is_empty() {
            parts.push(Strftime::Literal(std::mem::take(&mut literal)));
        }
        parts.push(part);
    }
    if !literal.is_empty() {
        parts.push(Strftime::Literal(literal));
    }
    Ok(parts)
}

impl Strftime {
    fn render(&self, date: &ZonedDateTime, out: &mut String) {
        let micros = date.subsec_nanosecond() / 1000;
        match self {
            Self::Literal(text) => out.push_str(text),
            Self::Microseconds => out.push_str(&format!("{micros:06}")),
            Self::UnixSeconds => out.push_str(&date.timestamp().as_second().to_string()),
            Self::Directive(directive) => {
                // Checked when parsed; a date that has no such thing shows nothing.
                out.push_str(&jiff::fmt::strtime::format(directive, date).unwrap_or_default());
            }
            Self::Default => {
                out.push_str(
                    &jiff::fmt::strtime::format("%Y-%m-%d %H:%M:%S", date).unwrap_or_default(),
                );
                if micros != 0 {
                    out.push_str(&format!(".{micros:06}"));
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn show(format: &str) -> String {
        let timestamp = "2025-06-27T10:11:12.000345Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let clock = Some((-1_001_234, 56));
        let shown = Shown { timestamp, issuer: "n1", stream: "str", line: "héllo", clock };
        format.parse::<LogFormat>().unwrap().render(&shown, &zone)
    }

    #[test]
    fn fields() {
        assert_eq!(show(LogFormat::DEFAULT), "12:11:12.000345 n1.str -> héllo");
        assert_eq!(LogFormat::default().to_string(), LogFormat::DEFAULT);
        assert_eq!(show("{timestamp}"), "2025-06-27 12:11:12.000345");
        assert_eq!(
            show("{timestamp:%s.%f|%d/%m/%y %% %z%A}"),
            "1751019072.000345|27/06/25 % Friday"
        );
        assert_eq!(show("{{{issuer}}} {line}"), "{n1} héllo");
        assert_eq!(show(""), "");
        assert_eq!(show("{clock} {clock:>24}"), "-1.001234s±0.000056s     -1.001234s±0.000056s");
        assert_eq!(clock(None), "?");
    }

    /// Expected values are those of Python's `format`.
    #[test]
    fn text_alignment() {
        for (spec, expected) in [
            ("8", "héllo   "),
            ("<8", "héllo   "),
            (">8", "   héllo"),
            ("^8", " héllo  "),
            ("*^9", "**héllo**"),
            (".3", "hél"),
            ("6.2s", "hé    "),
            ("3", "héllo"),
            ("08", "héllo000"),
            ("0>8", "000héllo"),
            ("{<<7", ""),
        ] {
            if spec.starts_with('{') {
                assert!(format!("{{line:{spec}}}").parse::<LogFormat>().is_err());
            } else {
                assert_eq!(show(&format!("{{line:{spec}}}")), expected, "{spec}");
            }
        }
    }

    #[test]
    fn refusals() {
        for bad in [
            "{",
            "}",
            "{line",
            "{x}",
            "{}",
            "{line:d}",
            "{line:>99999}",
            "{timestamp:%Q!}",
            "{timestamp:%",
            "{line!r}",
            "{timestamp:%}",
            "{line:=5}",
        ] {
            let error = bad.parse::<LogFormat>().unwrap_err().to_string();
            assert_eq!(error.lines().count(), 2, "{bad}: {error}");
        }
    }
}
