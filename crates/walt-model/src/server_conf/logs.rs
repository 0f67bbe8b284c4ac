//! Section `logs`: how long log lines are kept.

use super::read::{Group, Reader};
use super::tree::Value;
use serde::Serialize;
use std::time::Duration;

const CLASSES: &[&str] = &["platform", "console", "experiment"];
const QUOTA_KEYS: &[&str] = &["age", "size"];

/// Shortest age and smallest size accepted: less is a mistake that would delete everything.
const SHORTEST: Duration = Duration::from_secs(60);
const SMALLEST: u64 = 1 << 20;

/// What is kept of each class of log streams; nothing set: everything, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Logs {
    /// What the platform and the server say of themselves.
    pub platform: Quota,
    /// Consoles and kernel messages of nodes.
    pub console: Quota,
    /// Everything else: what users log.
    pub experiment: Quota,
}

/// How much of a class is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Quota {
    /// Older lines are deleted.
    pub age: Option<Duration>,
    /// Above that many bytes the oldest lines are deleted.
    pub size: Option<u64>,
}

impl Reader {
    pub(super) fn logs(&mut self, root: &Group<'_>) -> Logs {
        let mut logs = Logs::default();
        let Some(node) = root.get("logs") else { return logs };
        let Some(section) = self.group("logs", node) else { return logs };
        self.known_keys(&section, &["retention"], "key");
        let Some(node) = section.get("retention") else { return logs };
        let Some(classes) = self.group("logs.retention", node) else { return logs };
        self.known_keys(&classes, CLASSES, "class of streams");
        for class in CLASSES {
            let Some(node) = classes.get(class) else { continue };
            let Some(group) = self.group(&classes.path_of(class), node) else { continue };
            self.known_keys(&group, QUOTA_KEYS, "key");
            let quota = Quota {
                age: self.amount(&group, "age", age, "an age such as 90d (s, m, h or d)"),
                size: self.amount(&group, "size", size, "a size such as 500M (K, M, G or T)"),
            };
            match *class {
                "platform" => logs.platform = quota,
                "console" => logs.console = quota,
                _ => logs.experiment = quota,
            }
        }
        logs
    }

    fn amount<T>(
        &mut self,
        group: &Group<'_>,
        key: &str,
        parse: fn(&str) -> Result<T, &'static str>,
        expected: &str,
    ) -> Option<T> {
        let node = group.get(key)?;
        let message = match &node.value {
            Value::Null => return None,
            Value::Text(text) => match parse(text) {
                Ok(amount) => return Some(amount),
                Err("") => format!("expected {expected}, found '{text}'"),
                Err(why) => format!("'{text}' is too little: {why}"),
            },
            other => format!("expected {expected}, found {}", other.describe()),
        };
        self.problem(node.referenced.line(), group.path_of(key), message);
        None
    }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim()))
}

fn age(text: &str) -> Result<Duration, &'static str> {
    let (number, unit) = split(text).ok_or("")?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(""),
    };
    let age = Duration::from_secs(number.checked_mul(unit).ok_or("")?);
    if age < SHORTEST { Err("at least 1m") } else { Ok(age) }
}

fn size(text: &str) -> Result<u64, &'static str> {
    let (number, unit) = split(text).ok_or("")?;
    let shift = match unit {
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "T" | "TiB" => 40,
        _ => return Err(""),
    };
    let size = number.checked_mul(1 << shift).ok_or("")?;
    if size < SMALLEST { Err("at least 1M") } else { Ok(size) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::ServerConf;
    use std::time::Duration;

    fn conf(logs: &str) -> String {
        format!("network:\n  walt-net:\n    ip: 192.168.7.1/24\n{logs}")
    }

    #[test]
    fn nothing_is_deleted_unless_asked_for() {
        let text = conf(
            "logs:\n  retention:\n    platform: {age: 90d, size: 1G}\n    console:\n      size: 500M\n",
        );
        let logs = ServerConf::parse(&text).unwrap().logs;
        assert_eq!(logs.platform.age, Some(Duration::from_secs(90 * 86_400)));
        assert_eq!(logs.platform.size, Some(1 << 30));
        assert_eq!(logs.console.size, Some(500 << 20));
        assert_eq!(logs.experiment, super::Quota::default());
        assert_eq!(ServerConf::parse(&conf("")).unwrap().logs, super::Logs::default());
    }

    #[test]
    fn problems_are_told() {
        for (logs, expected) in [
            ("logs:\n  retention:\n    consol: {age: 1d}\n", "did you mean 'console'?"),
            ("logs:\n  retention:\n    console: {age: 10}\n", "such as 90d"),
            ("logs:\n  retention:\n    console: {age: 10y}\n", "found '10y'"),
            ("logs:\n  retention:\n    console: {size: 10K}\n", "at least 1M"),
            ("logs:\n  retention:\n    console: {age: 1s}\n", "at least 1m"),
            ("logs:\n  keep: 1\n", "unknown key"),
        ] {
            let error = ServerConf::parse(&conf(logs)).unwrap_err().to_string();
            assert!(error.contains(expected), "{logs}: {error}");
        }
    }
}
