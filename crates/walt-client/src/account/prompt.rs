//! Asking for an account. Passwords are not echoed. Without a terminal the answers are the next lines of standard input.

use crate::failure::Failure;
use crate::output;
use crate::terminal::raw::Quiet;
use std::io::{BufRead, IsTerminal, stdin};
use walt_proto::api::image::registry::{Account, CredentialsNeeded, Secret};

/// Asks for a user name and a password. None: an empty user name, where that is allowed.
///
/// # Errors
/// [`Failure::Aborted`] at the end of the input.
pub fn ask(needed: &CredentialsNeeded, may_leave_out: bool) -> Result<Option<Account>, Failure> {
    let hub = needed.registry == "hub";
    let place = match hub {
        true => "the Docker Hub".to_owned(),
        false => format!("registry '{}'", needed.registry),
    };
    let what = if needed.refused { "were refused" } else { "are needed" };
    output::line(&format!("Credentials for {place} {what}."));
    if may_leave_out {
        output::line("Press Enter to leave it out.");
    }
    let Some(username) = answer("username: ", may_leave_out, false)? else { return Ok(None) };
    let question = if hub { "password: " } else { "password (or token): " };
    let Some(password) = answer(question, false, true)? else { return Err(Failure::Aborted) };
    Ok(Some(Account { username, password: Secret::new(password) }))
}

/// Whether an account that worked is to be kept.
pub fn keep(registry: &str) -> bool {
    let question = format!("Keep this account for '{registry}' in ~/.walt/config? (y/n): ");
    loop {
        output::print(&question);
        match read_line() {
            Some(line) if line == "y" => return true,
            Some(line) if line == "n" => return false,
            Some(_) => output::line("Invalid response."),
            None => {
                output::line("");
                return false;
            }
        }
    }
}

/// An answer that is not empty (it is asked for again), or nothing where that is allowed.
fn answer(question: &str, may_be_empty: bool, hidden: bool) -> Result<Option<String>, Failure> {
    loop {
        output::print(question);
        let quiet = (hidden && stdin().is_terminal()).then(Quiet::enter);
        let line = read_line();
        if quiet.is_some() || !stdin().is_terminal() {
            // The Enter key was not shown.
            output::line("");
        }
        drop(quiet);
        match line {
            None => return Err(Failure::Aborted),
            Some(line) if !line.is_empty() => return Ok(Some(line)),
            Some(_) if may_be_empty => return Ok(None),
            Some(_) => {}
        }
    }
}

fn read_line() -> Option<String> {
    let mut line = String::new();
    match stdin().lock().read_line(&mut line) {
        Ok(count) if count > 0 => Some(line.trim_end_matches(['\n', '\r']).to_owned()),
        _ => None,
    }
}
