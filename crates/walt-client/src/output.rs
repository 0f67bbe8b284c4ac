//! Writing results: text, listings, JSON. A reader that went away (`| head -1`) ends the command quietly.

use crate::failure::Failure;
use crate::terminal;
use serde::Serialize;
use std::io::{ErrorKind, Write, stderr, stdout};

/// Status of a process whose output nobody reads any more: 128 + SIGPIPE, as the shell shows it.
const NOBODY_READS: i32 = 141;

/// Writes text to standard output at once.
pub fn print(text: &str) {
    bytes(text.as_bytes());
}

/// Writes a line to standard output at once.
pub fn line(text: &str) {
    bytes(format!("{text}\n").as_bytes());
}

/// Writes bytes to standard output at once.
pub fn bytes(bytes: &[u8]) {
    let mut out = stdout().lock();
    if let Err(error) = out.write_all(bytes).and_then(|()| out.flush()) {
        drop(out);
        gone(&error);
    }
}

/// Writes a line to standard error at once.
pub fn error(text: &str) {
    error_bytes(format!("{text}\n").as_bytes());
}

/// Writes bytes to standard error at once.
pub fn error_bytes(bytes: &[u8]) {
    // Nobody is left to be told when this fails.
    let _ = stderr().lock().write_all(bytes);
}

fn gone(error: &std::io::Error) -> ! {
    terminal::spinner::erase();
    terminal::raw::restore();
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(NOBODY_READS);
    }
    let _ = writeln!(stderr(), "Cannot write the output: {error}.");
    std::process::exit(1);
}

/// Prints an answer as it came.
///
/// # Errors
/// Never in practice: all answers are JSON.
pub fn json(answer: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(answer)
        .map_err(|error| Failure::plain(format!("Cannot print this as JSON: {error}.")))?;
    line(&text);
    Ok(())
}

/// Prints one object of an endless answer on one line.
///
/// # Errors
/// Never in practice: all answers are JSON.
pub fn json_line(answer: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(answer)
        .map_err(|error| Failure::plain(format!("Cannot print this as JSON: {error}.")))?;
    line(&text);
    Ok(())
}

/// Prints a section of a listing: title, table, footnote.
pub fn section(title: &str, header: &[&str], rows: &[Vec<String>], footnote: Option<&str>) {
    let text = walt_model::table::section(title, &walt_model::table::table(header, rows), footnote);
    print(&without_styles(&text));
}

/// A number of bytes for people: `8.1 MB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{}.{} kB", bytes / 1000, bytes % 1000 / 100),
        1_000_000..1_000_000_000 => {
            format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
        }
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes % 1_000_000_000 / 100_000_000),
    }
}

/// Takes bold out of a section where escape codes would disturb.
fn without_styles(text: &str) -> String {
    if terminal::has_styles() {
        text.to_owned()
    } else {
        text.replace("\x1b[1m", "").replace("\x1b[0m", "")
    }
}

/// Text from the platform (a name, a cause, a log line) that could hold control characters: they are shown, not
/// obeyed by the terminal.
pub fn printable(text: &str) -> String {
    let harmless = |c: char| !c.is_control() || c == '\t';
    if text.chars().all(harmless) {
        return text.to_owned();
    }
    text.chars()
        .flat_map(|c| {
            let escaped: Vec<char> =
                if harmless(c) { vec![c] } else { c.escape_default().collect() };
            escaped
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(
            [999, 1999, 8_123_456, 1_250_000_000].map(size),
            ["999 B", "1.9 kB", "8.1 MB", "1.2 GB"]
        );
    }

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(printable("é\tx"), "é\tx");
        assert_eq!(printable("a\x1b[2Jb"), "a\\u{1b}[2Jb");
    }
}
