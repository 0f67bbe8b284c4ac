//! The images a Dockerfile starts from, found and replaced without touching anything else of the file.
//!
//! The grammar is that of <https://docs.docker.com/reference/dockerfile/>: parser directives, comments, continuation
//! lines, here-documents, stages, `ARG` before the first `FROM`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Largest Dockerfile, in bytes.
pub const LARGEST: usize = 1 << 20;

/// A `FROM` that names an image: neither `scratch` nor a stage of the same file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Where its name stands, in bytes from the start of the file.
    pub place: Range<usize>,
    /// The name, variables replaced; none when it has a variable that only the builder knows.
    pub image: Option<String>,
    /// Value of `--platform`.
    pub platform: Option<String>,
}

/// The images a Dockerfile starts from, in its order.
pub fn bases(text: &str) -> Vec<Base> {
    let mut bases = Vec::new();
    let mut stages = BTreeSet::new();
    let mut variables = BTreeMap::new();
    let mut before_first = true;
    for instruction in instructions(text) {
        let words = words(&instruction);
        let Some(name) = words.first() else { continue };
        if name.text.eq_ignore_ascii_case("ARG") && before_first {
            for word in &words[1..] {
                if let Some((name, value)) = word.text.split_once('=')
                    && let Some(value) = substituted(unquoted(value), &variables)
                {
                    variables.insert(name.to_owned(), value);
                }
            }
        }
        if !name.text.eq_ignore_ascii_case("FROM") {
            continue;
        }
        before_first = false;
        let mut rest = words[1..].iter();
        let mut platform = None;
        let image = rest.by_ref().find(|word| match word.text.strip_prefix("--") {
            Some(option) => {
                if let Some(value) = option.strip_prefix("platform=") {
                    platform = Some(value.to_owned());
                }
                false
            }
            None => true,
        });
        let Some(word) = image else { continue };
        let image = substituted(unquoted(&word.text), &variables);
        let known = image.as_deref().is_some_and(|image| {
            image == "scratch" || stages.contains(&image.to_ascii_lowercase())
        });
        if !known {
            bases.push(Base { place: word.place.clone(), image, platform });
        }
        if let (Some(keyword), Some(stage)) = (rest.next(), rest.next())
            && keyword.text.eq_ignore_ascii_case("AS")
            // No stage can be called like a file of the server.
            && stage.text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        {
            stages.insert(stage.text.to_ascii_lowercase());
        }
    }
    bases
}

/// The file with other names at these places. Everything else stays, byte for byte.
pub fn replaced(text: &str, names: &[(Range<usize>, String)]) -> String {
    let mut out = String::with_capacity(text.len() + 64 * names.len());
    let mut done = 0;
    for (place, name) in names {
        out.push_str(&text[done..place.start]);
        out.push_str(name);
        done = place.end;
    }
    out.push_str(&text[done..]);
    out
}

/// The characters of one instruction with their places, continuation marks and comments in between left out.
pub(super) type Instruction = Vec<(usize, char)>;

pub(super) fn instructions(text: &str) -> Vec<Instruction> {
    let lines = lines(text);
    let escape = escape(text, &lines);
    let mut found = Vec::new();
    let mut index = 0;
    while index < lines.len() {
        let mut instruction = Instruction::new();
        let mut open = false;
        while index < lines.len() {
            let line = &text[lines[index].clone()];
            let start = lines[index].start;
            let content = line.trim();
            if content.starts_with('#') || (content.is_empty() && open) {
                index += 1;
                continue;
            }
            index += 1;
            let line = line.trim_end();
            open = line.ends_with(escape);
            let kept = if open { &line[..line.len() - escape.len_utf8()] } else { line };
            instruction.extend(kept.char_indices().map(|(at, c)| (start + at, c)));
            if !open {
                break;
            }
        }
        for (end, tabs) in heredocs(&instruction) {
            let ends = |line: &Range<usize>| {
                let line = text[line.clone()].trim_end_matches('\r');
                (if tabs { line.trim_start_matches('\t') } else { line }) == end
            };
            // One without its end is none for builders that do not know them.
            if let Some(length) = lines[index..].iter().position(ends) {
                index += length + 1;
            }
        }
        found.push(instruction);
    }
    found
}

/// Lines without their ends.
pub(super) fn lines(text: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    let ends = |line: &str| {
        let range = start..start + line.trim_end_matches('\n').len();
        start += line.len();
        range
    };
    text.split_inclusive('\n').map(ends).collect()
}

/// The escape character, which a directive at the very top may change.
pub(super) fn escape(text: &str, lines: &[Range<usize>]) -> char {
    for line in lines {
        let line = text[line.clone()].trim().trim_start_matches('\u{feff}');
        let Some((name, value)) = line.strip_prefix('#').and_then(|rest| rest.split_once('='))
        else {
            return '\\';
        };
        let name = name.trim();
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
            return '\\';
        }
        if name.eq_ignore_ascii_case("escape") {
            return if value.trim() == "`" { '`' } else { '\\' };
        }
    }
    '\\'
}

/// Ends of the here-documents an instruction opens, and whether tabs before them count for nothing.
fn heredocs(instruction: &Instruction) -> Vec<(String, bool)> {
    let words = words(instruction);
    let opens =
        |name: &str| ["RUN", "COPY", "ADD"].iter().any(|known| name.eq_ignore_ascii_case(known));
    if !words.first().is_some_and(|word| opens(&word.text)) {
        return Vec::new();
    }
    let end = |word: &Word| {
        let rest = word.text.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
        let (rest, tabs) = rest.strip_prefix('-').map_or((rest, false), |rest| (rest, true));
        let name = unquoted(rest);
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        (!name.is_empty() && name.chars().all(plain)).then(|| (name.to_owned(), tabs))
    };
    words[1..].iter().filter_map(end).collect()
}

pub(super) struct Word {
    pub(super) text: String,
    pub(super) place: Range<usize>,
}

pub(super) fn words(instruction: &Instruction) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut inside = false;
    for (at, c) in instruction {
        if c.is_whitespace() || *c == '\u{feff}' {
            inside = false;
            continue;
        }
        let end = at + c.len_utf8();
        match words.last_mut().filter(|_| inside) {
            Some(word) => {
                word.text.push(*c);
                word.place.end = end;
            }
            None => words.push(Word { text: c.to_string(), place: *at..end }),
        }
        inside = true;
    }
    words
}

pub(super) fn unquoted(text: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote)) {
            return inner;
        }
    }
    text
}

/// A text with `$name`, `${name}`, `${name:-default}` and `${name:+other}` replaced; none when a variable has no value
/// here, or the text is anything more difficult.
fn substituted(text: &str, variables: &BTreeMap<String, String>) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if let Some(braced) = rest.strip_prefix('{') {
            let (expression, after) = braced.split_once('}')?;
            let end = expression.find(|c| !plain(c)).unwrap_or(expression.len());
            let (name, operation) = expression.split_at(end);
            let value = variables.get(name).filter(|value| !value.is_empty());
            match (operation.get(..2), value) {
                (None, _) if operation.is_empty() => out.push_str(variables.get(name)?),
                (Some(":-"), value) => out.push_str(value.map_or(&operation[2..], String::as_str)),
                (Some(":+"), Some(_)) => out.push_str(&operation[2..]),
                (Some(":+"), None) => {}
                _ => return None,
            }
            rest = after;
        } else {
            let end = rest.find(|c| !plain(c)).unwrap_or(rest.len());
            out.push_str(variables.get(&rest[..end])?);
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    (!out.contains(['\\', '"', '\'', '$', '}'])).then_some(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn images(text: &str) -> Vec<Option<String>> {
        bases(text).into_iter().map(|base| base.image).collect()
    }

    fn some(names: &[&str]) -> Vec<Option<String>> {
        names.iter().map(|name| Some((*name).to_owned())).collect()
    }

    fn rewritten(text: &str) -> String {
        let names: Vec<_> =
            bases(text).into_iter().map(|base| (base.place, "X".to_owned())).collect();
        replaced(text, &names)
    }

    #[test]
    fn the_usual_ones() {
        assert_eq!(images("FROM pc\nRUN true\n"), some(&["pc"]));
        assert_eq!(
            images("from --platform=linux/arm64 pc:v1 as B\nFROM b\nFROM scratch"),
            some(&["pc:v1"])
        );
        assert_eq!(
            bases("FROM --platform=linux/arm64 a")[0].platform.as_deref(),
            Some("linux/arm64")
        );
        assert_eq!(
            images("ARG T=v1\nARG I=\"pc:$T\"\nFROM $I\nARG T=no\nFROM ${I}-x"),
            some(&["pc:v1", "pc:v1-x"])
        );
        assert_eq!(images("FROM ${A:-pc}${B:+no}"), some(&["pc"]));
        assert_eq!(images("FROM $TARGETARCH/x\nFROM ${A:?no}"), [None, None]);
        assert_eq!(images("FROM"), []);
        assert_eq!(images("FROM a AS dir:/x\nFROM dir:/x"), some(&["a", "dir:/x"]));
    }

    #[test]
    fn only_the_name_changes() {
        for (before, after) in [
            (
                "# escape=`\n# a comment\n\nFROM pc `\n  AS b\r\nRUN printf 'a\\nb' `\n# FROM no\nFROM me\n",
                "# escape=`\n# a comment\n\nFROM X `\n  AS b\r\nRUN printf 'a\\nb' `\n# FROM no\nFROM me\n",
            ),
            (
                "RUN <<EOF cat\nFROM inside\nEOF\nFROM \\\n# why\n\n   pc # x\nRUN sed 's/\\./x/' \\\n  && FROM no\n",
                "RUN <<EOF cat\nFROM inside\nEOF\nFROM \\\n# why\n\n   X # x\nRUN sed 's/\\./x/' \\\n  && FROM no\n",
            ),
            (
                "COPY <<-'E1' <<E2 /d/\n\tFROM a\n\tE1\nFROM b\nE2\n\tFrom c\n",
                "COPY <<-'E1' <<E2 /d/\n\tFROM a\n\tE1\nFROM b\nE2\n\tFrom X\n",
            ),
            ("RUN cat <<never\nFROM a", "RUN cat <<never\nFROM X"),
            ("\u{feff}FROM \"pc\"", "\u{feff}FROM X"),
            ("FROM scra\\\ntch\nFROM p\\\nc", "FROM scra\\\ntch\nFROM X"),
        ] {
            assert_eq!(rewritten(before), after);
        }
    }

    proptest! {
        /// Whatever the text: no panic, and all but the names is as it was.
        #[test]
        fn everything_else_stays(text in "((FROM|from|ARG|RUN|COPY|#|AS|<<E|E|scratch|--platform=x|a/b:c|\\$A|A=b|\\\\|`|\"|é|\r)( |\t|\n|)){0,40}") {
            let bases = bases(&text);
            let mut end = 0;
            for base in &bases {
                prop_assert!(base.place.start >= end && base.place.end > base.place.start);
                end = base.place.end;
                prop_assert!(text.get(base.place.clone()).is_some());
            }
            let same: Vec<_> = bases.iter().map(|base| (base.place.clone(), text[base.place.clone()].to_owned())).collect();
            prop_assert_eq!(&replaced(&text, &same), &text);
            let marked: Vec<_> = bases.iter().map(|base| (base.place.clone(), "\u{1}".to_owned())).collect();
            let out = replaced(&text, &marked);
            let mut rest = out.as_str();
            let mut at = 0;
            for base in &bases {
                let (before, after) = rest.split_once('\u{1}').unwrap();
                prop_assert_eq!(before, &text[at..base.place.start]);
                at = base.place.end;
                rest = after;
            }
            prop_assert_eq!(rest, &text[at..]);
        }
    }
}
