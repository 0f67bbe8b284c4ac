//! From words to a command and its arguments. Pure: what is printed is decided by the caller.

use super::{Category, Command, Kind, Switch};

/// Arguments of a command.
#[derive(Debug, Default, Clone)]
pub struct Args {
    switches: Vec<(&'static str, Option<String>)>,
    positionals: Vec<String>,
}

impl Args {
    /// Whether a flag (or an option with a value) was given, under its main name.
    pub fn flag(&self, name: &str) -> bool {
        self.switches.iter().any(|(given, _)| *given == name)
    }

    /// Value of an option, under its main name.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.switches
            .iter()
            .find(|(given, _)| *given == name)
            .and_then(|(_, value)| value.as_deref())
    }

    /// Value of an option that [`parse`] checked to be an integer.
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.value(name).and_then(|value| value.parse().ok())
    }

    /// A positional argument; empty text when it was left out.
    pub fn positional(&self, index: usize) -> &str {
        self.positionals.get(index).map_or("", String::as_str)
    }

    /// Positional arguments from `index` on.
    pub fn rest(&self, index: usize) -> &[String] {
        self.positionals.get(index..).unwrap_or_default()
    }
}

/// What a command line means.
pub enum Parsed {
    /// Help of the top level.
    Help,
    /// `walt --version`.
    Version,
    /// Help of a category.
    CategoryHelp(&'static Category),
    /// Help of a command.
    CommandHelp(&'static Category, &'static Command),
    /// A command to carry out.
    Run(&'static Command, Args),
}

/// A usage error. Its help is that of the level concerned.
#[derive(Debug, PartialEq, Eq)]
pub struct UsageError {
    /// The message.
    pub message: String,
    /// 1 for a wrong sub-command, 2 for anything else.
    pub status: u8,
    /// Category and command, as far as they were known.
    pub level: Vec<&'static str>,
}

/// Parses the words after `walt`.
///
/// # Errors
/// The first problem met, in this order: scanning, exclusive options, number of positionals, their types.
pub fn parse(categories: &'static [Category], words: &[String]) -> Result<Parsed, UsageError> {
    let wrong = |message: String, status: u8, level: &[&'static str]| UsageError {
        message,
        status,
        level: level.to_vec(),
    };
    let Some((first, words)) = words.split_first() else {
        return Err(wrong("No sub-command given".into(), 1, &[]));
    };
    let Some(category) = categories.iter().find(|category| category.name == first) else {
        return match first.as_str() {
            "-h" | "--help" => Ok(Parsed::Help),
            "--version" => Ok(Parsed::Version),
            _ => Err(upper_level(first, &[])),
        };
    };
    let Some((second, words)) = words.split_first() else {
        return Err(wrong("No sub-command given".into(), 1, &[category.name]));
    };
    let Some(command) = category.commands.iter().find(|command| command.name == second) else {
        return match second.as_str() {
            "-h" | "--help" => Ok(Parsed::CategoryHelp(category)),
            _ => Err(upper_level(second, &[category.name])),
        };
    };
    let level = [category.name, command.name];
    match scan(command, words).map_err(|message| wrong(message, 2, &level))? {
        None => Ok(Parsed::CommandHelp(category, command)),
        Some(args) => {
            check(command, &args).map_err(|message| wrong(message, 2, &level))?;
            Ok(Parsed::Run(command, args))
        }
    }
}

fn upper_level(word: &str, level: &[&'static str]) -> UsageError {
    if word.starts_with('-') {
        let name = word.split('=').next().unwrap_or(word);
        let message = format!("Error: Unknown switch {name}");
        UsageError { message, status: 2, level: level.to_vec() }
    } else {
        let message = format!("Unknown sub-command '{word}'");
        UsageError { message, status: 1, level: level.to_vec() }
    }
}

/// A range of time may start with a dash: `-5m:`.
fn is_range(command: &Command, position: usize, word: &str) -> bool {
    let expected = command.positionals.get(position).map(|positional| positional.kind);
    let digit =
        word.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    digit && expected == Some(Kind::HistoryRange)
}

/// The name in `--name`, or in `-n` when a switch has that letter.
fn long_of<'a>(command: &Command, word: &'a str) -> Option<&'a str> {
    word.strip_prefix("--").or_else(|| {
        let letter = word.strip_prefix('-').filter(|rest| rest.chars().count() == 1)?;
        command.switch(letter).map(|_| letter)
    })
}

/// `None`: help was asked.
fn scan(command: &'static Command, words: &[String]) -> Result<Option<Args>, String> {
    let mut args = Args::default();
    let mut words = words.iter();
    let variable = command.positionals.last().is_some_and(|positional| positional.variable);
    while let Some(word) = words.next() {
        // A remote command has begun: its options are not ours (`df -h`, `test -e x`).
        let foreign = variable && args.positionals.len() >= command.positionals.len();
        if foreign {
            args.positionals.push(word.clone());
        } else if word == "--" {
            args.positionals.extend(words.by_ref().cloned());
        } else if word == "-h" || word == "--help" {
            return Ok(None);
        } else if is_range(command, args.positionals.len(), word) {
            args.positionals.push(word.clone());
        } else if let Some(long) = long_of(command, word) {
            let (name, attached) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            let switch =
                command.switch(name).ok_or_else(|| format!("Error: Unknown switch --{name}"))?;
            if args.flag(switch.name) {
                return Err(repeated(switch, name));
            }
            let value = match (switch.value, attached) {
                (None, None) => None,
                (None, Some(_)) => {
                    return Err(format!("Error: Switch --{name} does not take an argument"));
                }
                (Some(kind), attached) => Some(value_of(kind, name, attached, &mut words)?),
            };
            args.switches.push((switch.name, value));
        } else if word.starts_with('-') {
            return Err(format!("Error: Unknown switch {word}"));
        } else {
            args.positionals.push(word.clone());
        }
    }
    Ok(Some(args))
}

fn repeated(switch: &Switch, typed: &str) -> String {
    if typed == switch.name && switch.aliases.is_empty() {
        format!("Error: Switch --{typed} already given")
    } else {
        let mut names = vec![switch.name];
        names.extend(switch.aliases);
        let names: Vec<String> = names.iter().map(|name| format!("--{name}")).collect();
        format!("Error: Switch --{typed} already given ({} are equivalent)", names.join(", "))
    }
}

/// `--x v`, `--x=v`, `--x= v` and `--x =v` all give `v`.
fn value_of<'a>(
    kind: Kind,
    name: &str,
    attached: Option<&str>,
    words: &mut impl Iterator<Item = &'a String>,
) -> Result<String, String> {
    let missing = || format!("Error: Switch --{name} requires an argument");
    let value = match attached {
        Some(value) if !value.is_empty() => value.to_owned(),
        Some(_) => words.next().ok_or_else(missing)?.clone(),
        None => {
            let word = words.next().ok_or_else(missing)?;
            match word.strip_prefix('=') {
                Some("") => words.next().ok_or_else(missing)?.clone(),
                Some(value) => value.to_owned(),
                None => word.clone(),
            }
        }
    };
    typed(kind, &format!("--{name}"), &value)?;
    Ok(value)
}

fn typed(kind: Kind, name: &str, value: &str) -> Result<(), String> {
    let problem = |cause: String| {
        let expected = kind.type_name();
        Err(format!("Error: Argument of {name} expected to be {expected}, not '{value}':\n{cause}"))
    };
    match kind {
        Kind::Integer(_) if value.parse::<i64>().is_err() => {
            problem(format!("'{value}' is not a decimal integer"))
        }
        Kind::Choice(_, words) if !words.iter().any(|word| word.eq_ignore_ascii_case(value)) => {
            problem(format!("'{value}' is not one of: {}", words.join(", ")))
        }
        _ => Ok(()),
    }
}

fn check(command: &Command, args: &Args) -> Result<(), String> {
    for switch in command.switches {
        if !args.flag(switch.name) {
            continue;
        }
        let clashes: Vec<String> = switch
            .excludes
            .iter()
            .filter(|other| args.flag(other))
            .map(|other| format!("'--{other}'"))
            .collect();
        if !clashes.is_empty() {
            return Err(format!(
                "Error: Given --{}, the following are invalid [{}]",
                switch.name,
                clashes.join(", ")
            ));
        }
    }
    let least = command
        .positionals
        .iter()
        .filter(|positional| positional.default.is_none() && !positional.variable)
        .count();
    let most = command.positionals.len();
    let given: Vec<String> = args.positionals.iter().map(|word| format!("'{word}'")).collect();
    let given = given.join(", ");
    if args.positionals.len() < least {
        return Err(format!(
            "Error: Expected at least {least} positional argument(s), got [{given}]"
        ));
    }
    let variable = command.positionals.last().is_some_and(|positional| positional.variable);
    if args.positionals.len() > most && !variable {
        return Err(format!(
            "Error: Expected at most {most} positional argument(s), got [{given}]"
        ));
    }
    for (positional, word) in command.positionals.iter().zip(&args.positionals) {
        typed(positional.kind, positional.name, word)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::grammar::Positional;

    const FAR: Command = Command {
        name: "far",
        positionals: &[
            Positional::required("where", Kind::NodeSet),
            Positional::variable("words", Kind::Text("WORDS")),
        ],
        switches: &[Switch::flag("all", "everything")],
        ..Command::NEW
    };

    static CATEGORIES: &[Category] = &[Category {
        name: "node",
        about: "nodes",
        commands: &[
            FAR,
            Command {
                name: "do",
                about: "Does it.",
                positionals: &[
                    Positional::required("what", Kind::Node),
                    Positional::optional("times", Kind::Integer("TIMES"), "1"),
                ],
                switches: &[
                    Switch::flag("all", "everything"),
                    Switch { excludes: &["all"], ..Switch::flag("one", "one thing") },
                    Switch {
                        aliases: &["emitters"],
                        ..Switch::value("issuers", Kind::IssuerSet, "who")
                    },
                    Switch::value("timeout", Kind::Integer("SECONDS"), "how long"),
                ],
                ..Command::NEW
            },
        ],
    }];

    fn run(line: &str) -> Result<Parsed, UsageError> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(CATEGORIES, &words)
    }

    fn args(line: &str) -> Args {
        match run(line) {
            Ok(Parsed::Run(_, args)) => args,
            Ok(_) => panic!("{line}: not a command"),
            Err(error) => panic!("{line}: {error:?}"),
        }
    }

    #[track_caller]
    fn refused(line: &str, status: u8, message: &str) {
        let Err(error) = run(line) else { panic!("{line} was accepted") };
        assert_eq!((error.status, error.message.as_str()), (status, message));
    }

    #[test]
    fn all_forms_of_a_value() {
        for line in [
            "node do x --timeout 5",
            "node do --timeout=5 x",
            "node do --timeout= 5 x",
            "node do --timeout =5 x",
            "node do --timeout = 5 x",
        ] {
            let args = args(line);
            assert_eq!((args.integer("timeout"), args.positional(0)), (Some(5), "x"), "{line}");
        }
        assert_eq!(args("node do x --timeout -5").integer("timeout"), Some(-5));
        assert_eq!(args("node do x --emitters -a").value("issuers"), Some("-a"));
    }

    #[test]
    fn after_two_dashes_all_is_positional() {
        let args = args("node do --all -- -x 3");
        assert_eq!((args.positional(0), args.positional(1)), ("-x", "3"));
        assert!(args.flag("all"));
    }

    #[test]
    fn options_of_a_remote_command_are_its_own() {
        let args = args("node far --all n1 df -h --all -- x");
        assert!(args.flag("all"));
        assert_eq!(args.rest(0), ["n1", "df", "-h", "--all", "--", "x"]);
        refused("node far n1 -h1 df", 2, "Error: Unknown switch -h1");
        assert!(matches!(run("node far n1 --help"), Ok(Parsed::CommandHelp(..))));
    }

    #[test]
    fn usage_errors() {
        refused("", 1, "No sub-command given");
        refused("node", 1, "No sub-command given");
        refused("nodes", 1, "Unknown sub-command 'nodes'");
        refused("node fly", 1, "Unknown sub-command 'fly'");
        refused("node --all do x", 2, "Error: Unknown switch --all");
        refused("node do x --al", 2, "Error: Unknown switch --al");
        refused("node do -", 2, "Error: Unknown switch -");
        refused("node do x --timeout", 2, "Error: Switch --timeout requires an argument");
        refused("node do x --all --all", 2, "Error: Switch --all already given");
        refused(
            "node do x --issuers a --emitters b",
            2,
            "Error: Switch --emitters already given (--issuers, --emitters are equivalent)",
        );
        refused("node do x --all=3", 2, "Error: Switch --all does not take an argument");
        refused(
            "node do x --one --all",
            2,
            "Error: Given --one, the following are invalid ['--all']",
        );
        refused("node do", 2, "Error: Expected at least 1 positional argument(s), got []");
        refused(
            "node do a 1 c",
            2,
            "Error: Expected at most 2 positional argument(s), got ['a', '1', 'c']",
        );
        refused(
            "node do a b",
            2,
            "Error: Argument of times expected to be int, not 'b':\n'b' is not a decimal integer",
        );
    }

    #[test]
    fn help_wins_over_what_follows() {
        assert!(matches!(run("node do --help --nonsense"), Ok(Parsed::CommandHelp(..))));
        assert!(run("node do --nonsense --help").is_err());
        assert!(matches!(run("-h"), Ok(Parsed::Help)));
        assert!(matches!(run("node --help"), Ok(Parsed::CategoryHelp(_))));
    }
}
