//! `%(key)s` placeholders of injected scripts and of the templates an image declares.

use std::collections::BTreeMap;

/// Values by key.
pub type Values = BTreeMap<&'static str, String>;

/// Replaces `%(key)s` by its value and `%%` by `%`. Anything else after a `%` stays as it is, and is
/// told: one sentence per line concerned.
pub fn fill(text: &[u8], values: &Values) -> (Vec<u8>, Vec<String>) {
    let mut out = Vec::with_capacity(text.len() + 64);
    let mut problems = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'\n' {
            line += 1;
        }
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        match after {
            [b'%', after @ ..] => {
                out.push(b'%');
                rest = after;
            }
            [b'(', after @ ..] => {
                let key = after.iter().position(|&b| b == b')').filter(|end| *end < 64);
                let key = key.and_then(|end| {
                    Some((std::str::from_utf8(&after[..end]).ok()?, &after[end + 1..]))
                });
                match key {
                    Some((key, [b's', after @ ..])) if values.contains_key(key) => {
                        out.extend_from_slice(values[key].as_bytes());
                        rest = after;
                    }
                    Some((key, [b's', ..])) => {
                        problems.push(format!(
                            "line {line}: unknown placeholder '%({key})s' left as it is"
                        ));
                        out.push(byte);
                    }
                    _ => {
                        problems.push(format!(
                            "line {line}: incomplete placeholder '%(' left as it is"
                        ));
                        out.push(byte);
                    }
                }
            }
            _ => {
                problems.push(format!("line {line}: lone '%' left as it is ('%%' stands for '%')"));
                out.push(byte);
            }
        }
    }
    (out, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders() {
        let values = Values::from([("server_ip", "10.0.0.1".to_owned())]);
        let (text, problems) = fill(b"a=%(server_ip)s 100%%\nb=%(nope)s %d %(", &values);
        assert_eq!(text, b"a=10.0.0.1 100%\nb=%(nope)s %d %(");
        assert_eq!(problems.len(), 3);
        assert!(problems[0].contains("line 2") && problems[0].contains("nope"));
    }
}
