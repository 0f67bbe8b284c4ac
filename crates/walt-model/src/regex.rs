//! Regular expressions given by users: searched, never anchored, always in linear time.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A regular expression typed by a user. Takes POSIX extended expressions, bracket classes included, and the usual
/// `\d \w \s`; refuses back-references. Matching takes linear time whatever the expression.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Regex(regex::Regex);

/// Why a text is not a regular expression we take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid regular expression: {0}.")]
pub struct RegexError(pub String, /** Details from the expression compiler. */ pub String);

impl FromStr for Regex {
    type Err = RegexError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        regex::RegexBuilder::new(text)
            .size_limit(1 << 20)
            .dfa_size_limit(1 << 20)
            .nest_limit(100)
            .build()
            .map(Self)
            .map_err(|error| RegexError(text.chars().take(200).collect(), error.to_string()))
    }
}

impl Regex {
    /// Does the expression match anywhere in the text?
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// The expression as typed.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Display for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<Regex> for String {
    fn from(regex: Regex) -> String {
        regex.as_str().to_owned()
    }
}

impl TryFrom<String> for Regex {
    type Error = RegexError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn dialect() {
        for (expression, text) in [
            ("plat.*", "my platform.nodes"),
            ("^[[:alpha:]]+[]x]$", "abc]"),
            (r"\d{2}\s\w", "-42 z-"),
            ("(a|b)+c?", "bab"),
            ("", "anything"),
        ] {
            assert!(expression.parse::<Regex>().unwrap().is_match(text), "{expression}");
        }
        assert!(!"^b$".parse::<Regex>().unwrap().is_match("abc"));
        for bad in ["(", "[a", r"(a)\1", "a{1000}{1000}{1000}"] {
            let error = bad.parse::<Regex>().unwrap_err();
            assert_eq!(error.to_string(), format!("Invalid regular expression: {bad}."));
        }
    }

    #[test]
    fn linear_time() {
        let evil: Regex = "(a*)*b".parse().unwrap();
        assert!(!evil.is_match(&"a".repeat(100_000)));
    }
}
