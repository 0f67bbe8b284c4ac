//! One line of a script: its parts, their words, and variables.

/// What stands before a part of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `&&`: carried out when what precedes succeeded. Also before the first part.
    And,
    /// `||`: carried out when what precedes failed.
    Or,
}

/// A line cut at its operators; an empty part is a success. Quotes hide operators; `#` starts a comment anywhere.
pub fn parts(line: &str) -> Vec<(Operator, &str)> {
    let line = line.split('#').next().unwrap_or_default();
    let mut parts = Vec::new();
    let (mut operator, mut start, mut at) = (Operator::And, 0, 0);
    let mut quotes = Quotes::default();
    while let Some(c) = line[at..].chars().next() {
        let next = match &line[at..] {
            _ if !quotes.outside() => None,
            rest if rest.starts_with("&&") => Some(Operator::And),
            rest if rest.starts_with("||") => Some(Operator::Or),
            _ => None,
        };
        if let Some(next) = next {
            parts.push((operator, line[start..at].trim()));
            operator = next;
            at += 2;
            start = at;
        } else {
            quotes.see(c);
            at += c.len_utf8();
        }
    }
    parts.push((operator, line[start..].trim()));
    parts
}

/// The quotes of a shell, one character after the other.
#[derive(Default)]
struct Quotes {
    open: Option<char>,
    escaped: bool,
}

impl Quotes {
    fn outside(&self) -> bool {
        self.open.is_none() && !self.escaped
    }

    /// Takes the next character, and gives what it adds to the word if it adds something.
    fn see(&mut self, c: char) -> Option<Added> {
        if std::mem::take(&mut self.escaped) {
            return Some(match self.open {
                // Between double quotes, a backslash counts before these only.
                Some(_) if c != '"' && c != '\\' => Added::Two('\\', c),
                _ => Added::One(c),
            });
        }
        match (self.open, c) {
            (None | Some('"'), '\\') => self.escaped = true,
            (None, '\'' | '"') => self.open = Some(c),
            (Some(open), _) if open == c => self.open = None,
            (None, _) if c.is_whitespace() => return Some(Added::Blank),
            _ => return Some(Added::One(c)),
        }
        None
    }
}

enum Added {
    One(char),
    Two(char, char),
    /// The word ends.
    Blank,
}

/// The words of a part, by the quoting rules of a shell. `None`: a quote is not closed.
pub fn words(part: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quotes = Quotes::default();
    for c in part.chars() {
        match quotes.see(c) {
            Some(Added::Blank) => words.extend(word.take()),
            Some(Added::One(c)) => word.get_or_insert_default().push(c),
            Some(Added::Two(a, b)) => word.get_or_insert_default().extend([a, b]),
            // A quote begins a word even if nothing is between it and the next.
            None => drop(word.get_or_insert_default()),
        }
    }
    if !quotes.outside() {
        return None;
    }
    words.extend(word);
    Some(words)
}

/// A word with each `${name}` replaced by what `value` says. A `${` that is not closed is left as it is.
pub fn expand<'a>(word: &str, value: impl Fn(&str) -> &'a str) -> String {
    let mut expanded = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, next)) = after.split_once('}') else { break };
        expanded.push_str(before);
        expanded.push_str(value(name));
        rest = next;
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn operators() {
        use Operator::{And, Or};
        assert_eq!(parts("a b # c || d"), [(And, "a b")]);
        assert_eq!(parts("#!ipxe"), [(And, "")]);
        assert_eq!(parts("a && b||c"), [(And, "a"), (And, "b"), (Or, "c")]);
        assert_eq!(parts("chain x ||"), [(And, "chain x"), (Or, "")]);
        assert_eq!(
            parts("echo 'a && b' \"c || d\" \\|| e"),
            [(And, "echo 'a && b' \"c || d\" \\|| e")]
        );
        assert_eq!(parts("a & b | c"), [(And, "a & b | c")]);
    }

    #[test]
    fn quoting() {
        let words = |text| words(text).unwrap_or_default();
        assert_eq!(words("  a  b\tc "), ["a", "b", "c"]);
        assert_eq!(words("'a b' \"c  d\"e ''"), ["a b", "c  de", ""]);
        assert_eq!(words(r#"a\ b "x\"y\\z\n" 'p\q'"#), ["a b", "x\"y\\z\\n", "p\\q"]);
        assert_eq!(super::words("a 'b"), None);
        assert_eq!(super::words("a\\"), None);
        assert!(words("").is_empty());
    }

    #[test]
    fn variables() {
        let value = |name: &str| match name {
            "a" => "1 2",
            "mac:hexhyp" => "52-54",
            _ => "",
        };
        assert_eq!(expand("x${a}y${mac:hexhyp}${no}z", value), "x1 2y52-54z");
        assert_eq!(expand("${a", value), "${a");
        assert_eq!(expand("$a {a} $", value), "$a {a} $");
    }

    proptest! {
        #[test]
        fn never_panics(line: String) {
            for (_, part) in parts(&line) {
                for word in words(part).unwrap_or_default() {
                    expand(&word, |_| "x");
                }
            }
        }
    }
}
