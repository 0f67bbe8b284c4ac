//! `.dockerignore`: which files of a directory are not sent
//! (<https://docs.docker.com/build/concepts/context/#dockerignore-files>).

use std::collections::HashSet;
use std::iter::Peekable;
use std::str::Chars;

/// Files that are always sent: the build cannot do without one of them.
const ALWAYS: &[&str] = &["Dockerfile", "Containerfile", "ContainerFile"];

/// What is not sent.
#[derive(Debug, Clone, Default)]
pub struct Ignored {
    /// In the order of the file; the last one that matches counts.
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    /// It brings files back.
    exception: bool,
    pattern: Vec<Part>,
}

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    One(char),
    /// `?`: any character but `/`.
    Any,
    /// `[...]`: one of these, or none of them.
    Class(bool, Vec<(char, char)>),
    /// `*`: any text without `/`.
    Star,
    /// `**`: any text.
    Stars,
    /// `**/`: any number of folders.
    Folders,
}

impl Ignored {
    /// Reads the text of a `.dockerignore`.
    ///
    /// # Errors
    /// A pattern is not understood: the sentence says which.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rules = Vec::new();
        for line in text.trim_start_matches('\u{feff}').lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (exception, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let pattern = clean(pattern);
            // The directory itself cannot be left out.
            if pattern.is_empty() {
                continue;
            }
            let wrong = || format!("the pattern '{line}' is not understood");
            rules.push(Rule { exception, pattern: parts(&pattern).ok_or_else(wrong)? });
        }
        Ok(Self { rules })
    }

    /// Whether a file, given by its path from the top of the directory, stays here.
    pub fn ignores(&self, path: &str) -> bool {
        if path.is_empty() || ALWAYS.contains(&path) {
            return false;
        }
        let mut ignored = false;
        for rule in &self.rules {
            // What matches a folder matches all in it.
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            if ignored == rule.exception
                && ends.into_iter().any(|end| matches(&rule.pattern, &path[..end]))
            {
                ignored = !rule.exception;
            }
        }
        ignored
    }

    /// Whether something in an ignored folder may be sent.
    pub fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| rule.exception)
    }
}

/// Without `.`, empty parts, and what `..` takes away.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn parts(pattern: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        parts.push(match c {
            '*' if rest.next_if_eq(&'*').is_some() => {
                while rest.next_if_eq(&'*').is_some() {}
                if rest.next_if_eq(&'/').is_some() { Part::Folders } else { Part::Stars }
            }
            '*' => Part::Star,
            '?' => Part::Any,
            '\\' => Part::One(rest.next()?),
            '[' => {
                let negated = rest.next_if_eq(&'^').is_some();
                let ranges = class(&mut rest)?;
                Part::Class(negated, ranges)
            }
            c => Part::One(c),
        });
    }
    Some(parts)
}

/// The ranges of a class, behind its bracket.
fn class(rest: &mut Peekable<Chars<'_>>) -> Option<Vec<(char, char)>> {
    let mut ranges = Vec::new();
    let character = |rest: &mut Peekable<Chars<'_>>| match rest.next()? {
        '\\' => rest.next(),
        c => Some(c),
    };
    while rest.next_if_eq(&']').is_none() {
        let from = character(rest)?;
        let to = if rest.next_if_eq(&'-').is_some() { character(rest)? } else { from };
        ranges.push((from, to));
    }
    (!ranges.is_empty()).then_some(ranges)
}

fn matches(pattern: &[Part], path: &str) -> bool {
    let path: Vec<char> = path.chars().collect();
    let mut seen = HashSet::new();
    let mut open = vec![(0, 0)];
    while let Some((p, s)) = open.pop() {
        if !seen.insert((p, s)) {
            continue;
        }
        let Some(part) = pattern.get(p) else {
            if s == path.len() {
                return true;
            }
            continue;
        };
        let next = path.get(s).copied();
        match part {
            Part::One(c) if next == Some(*c) => open.push((p + 1, s + 1)),
            Part::Any if next.is_some_and(|c| c != '/') => open.push((p + 1, s + 1)),
            Part::Class(negated, ranges) => {
                let inside = |c: char| ranges.iter().any(|(from, to)| (*from..=*to).contains(&c));
                if next.is_some_and(|c| c != '/' && inside(c) != *negated) {
                    open.push((p + 1, s + 1));
                }
            }
            Part::Star | Part::Stars => {
                open.push((p + 1, s));
                if next.is_some_and(|c| c != '/' || *part == Part::Stars) {
                    open.push((p, s + 1));
                }
            }
            Part::Folders => {
                open.push((p + 1, s));
                let ends = path.iter().enumerate().skip(s).filter(|(_, c)| **c == '/');
                open.extend(ends.map(|(at, _)| (p + 1, at + 1)));
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ignored(text: &str, path: &str) -> bool {
        Ignored::parse(text).unwrap().ignores(path)
    }

    #[test]
    fn patterns() {
        for (pattern, yes, no) in [
            ("a", &["a", "a/b", "a/b/c"][..], &["b/a", "ab"][..]),
            ("/a/", &["a", "a/b"], &["b/a"]),
            ("*.o", &["x.o"], &["d/x.o", "x.oo"]),
            ("**/*.o", &["x.o", "d/x.o", "d/e/x.o"], &["x.c"]),
            ("d/**", &["d/x", "d/e/x"], &["d", "e"]),
            ("d/**/x", &["d/x", "d/e/f/x"], &["d/xx", "x"]),
            ("?b", &["ab"], &["b", "/b", "aab"]),
            ("[a-c]x[^0-9]", &["axz"], &["dxz", "ax1"]),
            ("a\\*b", &["a*b"], &["axb"]),
            ("./x/../a", &["a"], &["x"]),
            ("# a", &[], &["# a", "a"]),
            ("[]]", &[], &[]),
        ] {
            let Ok(rules) = Ignored::parse(pattern) else {
                assert_eq!(pattern, "[]]");
                continue;
            };
            for path in yes {
                assert!(rules.ignores(path), "{pattern} {path}");
            }
            for path in no {
                assert!(!rules.ignores(path), "{pattern} {path}");
            }
        }
        assert!(Ignored::parse("a\n[b").unwrap_err().contains("'[b'"));
    }

    #[test]
    fn the_last_one_counts() {
        let text = "*\n!src\nsrc/*.tmp\n!src/keep.tmp\n";
        for (path, expected) in [
            ("README", true),
            ("src", false),
            ("src/a", false),
            ("src/a.tmp", true),
            ("src/keep.tmp", false),
            ("Dockerfile", false),
            ("sub/Dockerfile", true),
        ] {
            assert_eq!(ignored(text, path), expected, "{path}");
        }
        assert!(!ignored(".", "a"));
    }

    #[test]
    fn many_stars_take_no_time() {
        assert!(!ignored(&"*a".repeat(50), &"a".repeat(200).replace("aaaa", "aaab")));
    }
}
