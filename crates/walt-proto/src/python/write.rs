//! Python's `repr`.

use super::PyValue;
use std::fmt::Write as _;

/// The value as Python's `repr` shows it, on one line.
pub fn repr(value: &PyValue) -> String {
    let mut out = String::new();
    write_value(value, &mut out);
    out
}

fn write_value(value: &PyValue, out: &mut String) {
    match value {
        PyValue::None => out.push_str("None"),
        PyValue::Bool(true) => out.push_str("True"),
        PyValue::Bool(false) => out.push_str("False"),
        PyValue::Int(n) => {
            let _ = write!(out, "{n}");
        }
        PyValue::Float(x) => write_float(*x, out),
        PyValue::Str(text) => write_str(text, out),
        PyValue::Bytes(bytes) => write_bytes(bytes, out),
        PyValue::Tuple(items) => {
            out.push('(');
            write_items(items, out);
            out.push_str(if items.len() == 1 { ",)" } else { ")" });
        }
        PyValue::List(items) => {
            out.push('[');
            write_items(items, out);
            out.push(']');
        }
        PyValue::Dict(entries) => {
            out.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_value(key, out);
                out.push_str(": ");
                write_value(value, out);
            }
            out.push('}');
        }
    }
}

fn write_items(items: &[PyValue], out: &mut String) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write_value(item, out);
    }
}

/// Shortest digits that read back the same, with an exponent when it is under -4 or from 16 up. Python has no
/// literal for infinity, and writes a word nobody can read; a number that is too large is one.
fn write_float(x: f64, out: &mut String) {
    if !x.is_finite() {
        out.push_str(if x.is_nan() {
            "nan"
        } else if x > 0.0 {
            "1e999"
        } else {
            "-1e999"
        });
        return;
    }
    let scientific = format!("{x:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if x != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(out, "{mantissa}e{sign}{:02}", exponent.abs());
    } else {
        let _ = write!(out, "{x:?}");
    }
}

fn quote_for(has_single: bool, has_double: bool) -> char {
    if has_single && !has_double { '"' } else { '\'' }
}

fn write_str(text: &str, out: &mut String) {
    let quote = quote_for(text.contains('\''), text.contains('"'));
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if is_printable(c) => out.push(c),
            c => {
                let code = u32::from(c);
                let _ = match code {
                    0..=0xff => write!(out, "\\x{code:02x}"),
                    0x100..=0xffff => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
}

/// Close to Python's `str.isprintable`: no control, format, separator nor private characters. Unassigned ones
/// are printed as they are, which any reader takes.
fn is_printable(c: char) -> bool {
    let hidden = c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}'
            | '\u{e0000}'..='\u{e007f}' | '\u{f0000}'..);
    !hidden
}

fn write_bytes(bytes: &[u8], out: &mut String) {
    let quote = quote_for(bytes.contains(&b'\''), bytes.contains(&b'"'));
    out.push('b');
    out.push(quote);
    for byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b if char::from(*b) == quote => {
                out.push('\\');
                out.push(quote);
            }
            0x20..=0x7e => out.push(char::from(*byte)),
            b => {
                let _ = write!(out, "\\x{b:02x}");
            }
        }
    }
    out.push(quote);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected texts are those of Python's `repr`.
    #[test]
    fn as_python_does() {
        for (x, expected) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (1e16, "1e+16"),
            (1e15, "1000000000000000.0"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (1e100, "1e+100"),
            (1751286000.25, "1751286000.25"),
            (123456789012345680.0, "1.2345678901234568e+17"),
        ] {
            assert_eq!(repr(&PyValue::Float(x)), expected);
        }
        for x in [f64::INFINITY, f64::NEG_INFINITY] {
            let value = PyValue::Float(x);
            assert_eq!(crate::python::parse(&repr(&value)), Ok(value));
        }
        for (text, expected) in [
            ("a", "'a'"),
            ("it's", "\"it's\""),
            ("'\"", "'\\'\"'"),
            ("\\\n\t\r", "'\\\\\\n\\t\\r'"),
            ("\0\x7f\u{a0}", "'\\x00\\x7f\\xa0'"),
            ("é€", "'é€'"),
            ("\u{2028}\u{feff}", "'\\u2028\\ufeff'"),
            ("\u{f0000}", "'\\U000f0000'"),
        ] {
            assert_eq!(repr(&PyValue::str(text)), expected);
        }
        assert_eq!(repr(&PyValue::Bytes(b"a'\xff\n".to_vec())), "b\"a'\\xff\\n\"");
        assert_eq!(repr(&PyValue::Tuple(vec![])), "()");
        assert_eq!(repr(&PyValue::Tuple(vec![PyValue::None])), "(None,)");
        let dict =
            PyValue::dict([("a", PyValue::List(vec![PyValue::Int(1), PyValue::Bool(true)]))]);
        assert_eq!(repr(&dict), "{'a': [1, True]}");
        assert_eq!(
            repr(&PyValue::Tuple(vec![PyValue::str("RESULT"), PyValue::Int(1751286001)])),
            "('RESULT', 1751286001)"
        );
    }
}
