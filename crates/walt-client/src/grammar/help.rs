//! Help screens, made from the description of the commands.

use super::{Category, Command, Positional, Switch};

/// Left margin of texts.
const INDENT: usize = 4;

/// `walt --help`.
pub fn top(categories: &[Category], width: usize) -> String {
    let mut out = format!(
        "WalT: a platform for reproducible network experiments\nVersion: {}\n\n",
        env!("CARGO_PKG_VERSION")
    );
    out.push_str("Usage:\n    walt <category> --help\n    walt <category> <command> --help\n");
    out.push_str("    walt <category> <command> [OPTIONS...] [ARGUMENTS...]\n\nCategories:\n");
    let rows: Vec<(&str, &str)> = categories.iter().map(|c| (c.name, c.about)).collect();
    out.push_str(&aligned(&rows, width));
    out.push_str("\nFirst time here? Try: walt help show\n");
    out
}

/// `walt <category> --help`.
pub fn category(category: &Category, width: usize) -> String {
    let name = category.name;
    let mut out = format!("walt {name}: {}\n\n", category.about);
    out.push_str(&format!("Usage:\n    walt {name} <command> --help\n"));
    out.push_str(&format!("    walt {name} <command> [OPTIONS...] [ARGUMENTS...]\n\n"));
    out.push_str("Sub-commands:\n");
    let rows: Vec<(&str, &str)> = category
        .commands
        .iter()
        .filter(|command| !command.hidden)
        .map(|command| (command.name, command.summary()))
        .collect();
    out.push_str(&aligned(&rows, width));
    out
}

/// `walt <category> <command> --help`.
pub fn command(category: &Category, command: &Command, width: usize) -> String {
    let mut out = String::new();
    for paragraph in command.about.split('\n').filter(|text| !text.is_empty()) {
        out.push_str(&wrap(paragraph, 0, width));
        out.push('\n');
    }
    out.push_str("Usage:\n");
    let prefix = format!("walt {} {}", category.name, command.name);
    if command.usage.is_empty() {
        let words: String =
            command.positionals.iter().map(|p| format!(" {}", positional(p))).collect();
        let switches = if command.switches.is_empty() { "" } else { " [SWITCHES]" };
        out.push_str(&format!("    {prefix}{switches}{words}\n"));
    }
    for usage in command.usage {
        out.push_str(&format!("    {prefix} {usage}\n"));
    }
    out.push_str("\nMeta-switches:\n    -h, --help  Prints this help message and quits\n");
    if !command.switches.is_empty() {
        out.push_str("\nSwitches:\n");
        let rows: Vec<(String, String)> =
            command.switches.iter().map(|s| (left(s), right(s))).collect();
        let rows: Vec<(&str, &str)> = rows.iter().map(|(l, r)| (&**l, &**r)).collect();
        out.push_str(&aligned(&rows, width));
    }
    if !command.example.is_empty() {
        out.push_str("\nExample:\n");
        for line in command.example.lines() {
            out.push_str(&format!("    {line}\n"));
        }
    }
    if !command.topics.is_empty() {
        out.push_str("\nMore:\n");
        for topic in command.topics {
            out.push_str(&format!("    walt help show {topic}\n"));
        }
    }
    out
}

fn positional(positional: &Positional) -> String {
    match (positional.variable, positional.default) {
        (true, _) => format!("{}...", positional.name),
        (false, Some(default)) => format!("[{}={default}]", positional.name),
        (false, None) => positional.name.to_owned(),
    }
}

/// A switch as it is typed: one letter takes one dash.
pub(super) fn dashed(name: &str) -> String {
    if name.chars().count() == 1 { format!("-{name}") } else { format!("--{name}") }
}

fn left(switch: &Switch) -> String {
    let mut names = vec![switch.name];
    names.extend(switch.aliases);
    let names: Vec<String> = names.iter().map(|name| dashed(name)).collect();
    let names = names.join(", ");
    match switch.value {
        Some(kind) => format!("{names} {}:{}", kind.metavar(), kind.type_name()),
        None => names,
    }
}

fn right(switch: &Switch) -> String {
    let mut text = switch.about.to_owned();
    if !switch.default.is_empty() {
        text.push_str(&format!("; the default is {}", switch.default));
    }
    if !switch.excludes.is_empty() {
        let others: Vec<String> = switch.excludes.iter().map(|name| format!("--{name}")).collect();
        text.push_str(&format!("; excludes {}", others.join(", ")));
    }
    text
}

/// Two columns; the second one is wrapped, and goes below when the first is too wide.
fn aligned(rows: &[(&str, &str)], width: usize) -> String {
    let widest = rows.iter().map(|(left, _)| left.chars().count()).max().unwrap_or(0).min(24);
    let column = INDENT + widest + 2;
    let mut out = String::new();
    for (left, right) in rows {
        let text = wrap(right, column, width);
        if left.chars().count() > widest {
            out.push_str(&format!("    {left}\n{text}"));
        } else {
            out.push_str(&format!("    {left:<widest$}  {}", text.trim_start()));
        }
    }
    out
}

/// Fills lines of at most `width` columns, each starting with `indent` blanks.
fn wrap(text: &str, indent: usize, width: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            out.push('\n');
            column = 0;
        }
        if column == 0 {
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::CATEGORIES;

    #[test]
    fn every_command_has_a_help_with_an_example() {
        for group in CATEGORIES {
            assert!(category(group, 80).contains("Sub-commands:"));
            for entry in group.commands {
                let text = command(group, entry, 80);
                let who = format!("walt {} {}", group.name, entry.name);
                assert!(entry.hidden || !entry.example.is_empty(), "{who} has no example");
                assert!(text.contains("Usage:\n"), "{who}");
                for line in text.lines() {
                    assert!(line.chars().count() <= 100, "{who}: too long: {line}");
                }
            }
        }
    }

    #[test]
    fn switches_are_sorted() {
        for group in CATEGORIES {
            for entry in group.commands {
                let names: Vec<&str> = entry.switches.iter().map(|switch| switch.name).collect();
                assert!(names.is_sorted(), "walt {} {}: {names:?}", group.name, entry.name);
            }
        }
    }

    #[test]
    fn topics_exist() {
        for group in CATEGORIES {
            for entry in group.commands {
                for topic in entry.topics {
                    let found = walt_doc::topic(topic).is_some();
                    assert!(found, "walt {} {}: no topic {topic}", group.name, entry.name);
                }
            }
        }
    }

    #[test]
    fn long_texts_are_wrapped() {
        let text = wrap("aaa bbb ccc", 2, 9);
        assert_eq!(text, "  aaa bbb\n  ccc\n");
    }
}
