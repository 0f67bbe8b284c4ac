//! Questions to the user.

use crate::failure::Failure;
use crate::output;
use crate::terminal::hung_up;
use std::io::{BufRead, stdin};

/// What came at a prompt.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed<T> {
    /// An answer.
    Answer(T),
    /// The end of the input: ctrl-D, or a script that has no more to say.
    End,
    /// The terminal was closed: this is no answer of anybody.
    Gone,
}

impl<T> Typed<T> {
    fn or_end(answer: Option<T>) -> Self {
        match answer {
            Some(answer) => Self::Answer(answer),
            None if hung_up(stdin()) => Self::Gone,
            None => Self::End,
        }
    }
}

/// Asks `Are you sure?`. `yes`: the user already answered on the command line (`--yes`).
///
/// # Errors
/// [`Failure::Aborted`] after a `n` or at the end of the input.
pub fn confirm(yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let answer = ask(&mut stdin().lock(), "Are you sure?", output::print);
    if answer {
        output::line("OK.");
        output::line("");
        Ok(())
    } else {
        Err(Failure::Aborted)
    }
}

/// Asks `Are you sure?`. Nothing is said after the answer.
pub fn is_sure(yes: bool) -> Typed<bool> {
    if yes {
        return Typed::Answer(true);
    }
    Typed::or_end(answer(&mut stdin().lock(), "Are you sure?", output::print))
}

/// A line typed at a prompt, without blanks around.
pub fn line(prompt: &str) -> Typed<String> {
    output::print(prompt);
    let mut line = String::new();
    Typed::or_end(match stdin().lock().read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim().to_owned()),
    })
}

/// Asks until the answer is `y` or `n`. The end of the input means no.
fn ask(input: &mut dyn BufRead, question: &str, say: impl FnMut(&str)) -> bool {
    answer(input, question, say).unwrap_or(false)
}

fn answer(input: &mut dyn BufRead, question: &str, mut say: impl FnMut(&str)) -> Option<bool> {
    loop {
        say(&format!("{question} (y/n): "));
        let mut answer = String::new();
        match input.read_line(&mut answer) {
            Ok(0) | Err(_) => {
                say("\n");
                return None;
            }
            Ok(_) => match answer.trim_end_matches(['\n', '\r']) {
                "y" => return Some(true),
                "n" => return Some(false),
                _ => say("Invalid response.\n"),
            },
        }
    }
}

/// Waits for Enter at a prompt; false at the end of the input.
pub fn wait_for_enter(prompt: &str) -> bool {
    output::print(prompt);
    let mut line = String::new();
    matches!(stdin().lock().read_line(&mut line), Ok(count) if count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        for (input, expected, said) in [
            ("y\n", true, "Sure? (y/n): "),
            ("n\n", false, "Sure? (y/n): "),
            ("", false, "Sure? (y/n): \n"),
            ("Y\ny\n", true, "Sure? (y/n): Invalid response.\nSure? (y/n): "),
            ("yes\n", false, "Sure? (y/n): Invalid response.\nSure? (y/n): \n"),
        ] {
            let mut text = String::new();
            let answer = ask(&mut input.as_bytes(), "Sure?", |said| text.push_str(said));
            assert_eq!((answer, text.as_str()), (expected, said), "{input:?}");
        }
    }
}
