//! Words for the shell at the other end of ssh.
//!
//! ssh joins its arguments with blanks and hands one string to the login shell of the node, so a
//! word that is not ours (a path) must be quoted. Inside single quotes a POSIX shell interprets
//! nothing; a single quote itself is written `'\''`.

/// `word` as one word of a POSIX shell command line.
pub fn quote(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:,@%=".contains(&byte);
    // `=` first would be an assignment and `-` is left to the caller (`--`); both are harmless as words.
    if !word.is_empty() && word.bytes().all(plain) && !word.contains('=') {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A command line of which every word is quoted.
pub fn command_line<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(quote).collect();
    words.join(" ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_stay_readable() {
        assert_eq!(quote("/etc/os-release"), "/etc/os-release");
        assert_eq!(command_line(["tar", "-C", "/root", "x"]), "tar -C /root x");
    }

    #[test]
    fn a_real_shell_gives_the_word_back() {
        for word in [
            "",
            " ",
            "a b",
            "it's",
            "''",
            "$(reboot)",
            "`id`",
            "a;b",
            "a\nb",
            "~root",
            "*",
            "\\",
            "é",
            "x=1",
            "!!",
            "\"q\"",
        ] {
            let out = std::process::Command::new("sh")
                .arg("-c")
                .arg(format!("printf %s {}", quote(word)))
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(out.stdout).unwrap(), word);
        }
    }
}
