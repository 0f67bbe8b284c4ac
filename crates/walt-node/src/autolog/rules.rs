//! What the device declares, and what its lines mean after that.

use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};

use super::format::Format;

/// Most declarations of each kind.
const DECLARATIONS_MAX: usize = 1000;

/// What a line of the device leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing.
    Nothing,
    /// A line of the log.
    Log {
        /// The stream.
        stream: String,
        /// The text.
        text: String,
    },
    /// It was meant to be something: what is wrong with it.
    Problem(String),
}

/// The declarations of a device.
#[derive(Debug, Default)]
pub struct Rules {
    started: bool,
    definitions: BTreeMap<String, Definition>,
    variables: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Definition {
    stream: String,
    separator: String,
    format: Format,
}

impl Rules {
    /// Takes a line of the device.
    pub fn line(&mut self, line: &str) -> Meaning {
        if line.starts_with("LOGSTART") {
            self.started = true;
            return Meaning::Nothing;
        }
        if !self.started {
            return Meaning::Nothing;
        }
        let (word, rest) = cut(line);
        let declared = match word {
            "LOGDEF" => self.define(rest),
            "LOGVAR" => self.set(rest),
            _ => return self.data(line),
        };
        declared.map_or_else(Meaning::Problem, |()| Meaning::Nothing)
    }

    fn define(&mut self, rest: &str) -> Result<(), String> {
        let (stream, rest) = cut(rest);
        let (prefix, rest) = cut(rest);
        let (separator, format) = cut(rest);
        if separator.is_empty() {
            return Err("LOGDEF wants: stream prefix separator format".to_owned());
        }
        let format = Format::parse(format).map_err(|why| format!("LOGDEF {stream}: {why}"))?;
        let definition =
            Definition { stream: stream.to_owned(), separator: separator.to_owned(), format };
        insert(&mut self.definitions, prefix, definition)
    }

    fn set(&mut self, rest: &str) -> Result<(), String> {
        let (name, value) = cut(rest);
        if name.is_empty() {
            return Err("LOGVAR wants: name value".to_owned());
        }
        insert(&mut self.variables, name, value.to_owned())
    }

    fn data(&self, line: &str) -> Meaning {
        let Some(definition) = self.longest_prefix(line) else { return Meaning::Nothing };
        let parts: Vec<&str> = line.split(definition.separator.as_str()).skip(1).collect();
        match definition.format.fill(&parts, &self.variables) {
            Ok(text) => Meaning::Log { stream: definition.stream.clone(), text },
            Err(why) => Meaning::Problem(format!("{line:.100}: {why}")),
        }
    }

    /// The definition of the longest prefix of this line: each step goes from a prefix that sorts before the line to
    /// what it has in common with it, which every other candidate begins.
    fn longest_prefix(&self, line: &str) -> Option<&Definition> {
        let mut end = line;
        loop {
            let (prefix, definition) =
                self.definitions.range::<str, _>((Unbounded, Included(end))).next_back()?;
            if line.starts_with(prefix.as_str()) {
                return Some(definition);
            }
            let common = prefix.chars().zip(line.chars()).take_while(|(a, b)| a == b);
            end = &line[..common.map(|(a, _)| a.len_utf8()).sum()];
        }
    }
}

/// The first word and the rest, without the blanks around both.
fn cut(text: &str) -> (&str, &str) {
    let text = text.trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

fn insert<V>(map: &mut BTreeMap<String, V>, key: &str, value: V) -> Result<(), String> {
    if map.len() >= DECLARATIONS_MAX && !map.contains_key(key) {
        return Err(format!("more than {DECLARATIONS_MAX} declarations: {key} is not taken"));
    }
    map.insert(key.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log(stream: &str, text: &str) -> Meaning {
        Meaning::Log { stream: stream.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn the_example_of_the_protocol() {
        let mut rules = Rules::default();
        for line in [
            "noise",
            ";T:early",
            "LOGDEF early ;T: : {}",
            "LOGSTART v1",
            "LOGDEF vizwalt ;T: : {nodeid}:TxStart:{}",
            "LOGVAR nodeid af4e",
            "noise",
        ] {
            assert_eq!(rules.line(line), Meaning::Nothing, "{line}");
        }
        assert_eq!(rules.line(";T:aabb"), log("vizwalt", "af4e:TxStart:aabb"));
        assert_eq!(rules.line("LOGVAR nodeid other  node "), Meaning::Nothing);
        assert_eq!(rules.line(";T:aabb"), log("vizwalt", "other  node:TxStart:aabb"));
    }

    #[test]
    fn the_longest_prefix_counts() {
        let mut rules = Rules::default();
        for line in [
            "LOGSTART",
            "LOGDEF a x , a{}",
            "LOGDEF b xy , b{}",
            "LOGDEF c xyzz , c{}",
            "LOGDEF d xya , d{}",
        ] {
            assert_eq!(rules.line(line), Meaning::Nothing);
        }
        for (line, expected) in [
            ("x,1", log("a", "a1")),
            ("xz,1", log("a", "a1")),
            ("xy,1", log("b", "b1")),
            ("xyzy,1", log("b", "b1")),
            ("xyzz,1", log("c", "c1")),
            ("xyab,1", log("d", "d1")),
            ("w,1", Meaning::Nothing),
            ("", Meaning::Nothing),
        ] {
            assert_eq!(rules.line(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let mut rules = Rules::default();
        rules.line("LOGSTART");
        rules.line("LOGDEF a x , {} {}");
        for (line, why) in [
            ("LOGDEF a x", "LOGDEF wants"),
            ("LOGDEF a x , {", "brace"),
            ("LOGVAR", "LOGVAR wants"),
            ("x,1", "has 1 parts"),
        ] {
            assert!(
                matches!(rules.line(line), Meaning::Problem(said) if said.contains(why)),
                "{line}"
            );
        }
        for n in 0..2000 {
            rules.line(&format!("LOGVAR n{n} x"));
        }
        assert_eq!(rules.variables.len(), DECLARATIONS_MAX);
    }

    proptest! {
        #[test]
        fn the_search_is_the_plain_one(prefixes in prop::collection::vec("[abé]{1,4}", 0..12), line in "[abcé]{0,6}") {
            let mut rules = Rules::default();
            rules.line("LOGSTART");
            for prefix in &prefixes {
                rules.line(&format!("LOGDEF {prefix} {prefix} , ok"));
            }
            let expected = prefixes.iter().filter(|prefix| line.starts_with(*prefix)).max_by_key(|prefix| prefix.len());
            let found = rules.longest_prefix(&line).map(|definition| &definition.stream);
            prop_assert_eq!(found, expected);
        }
    }
}
