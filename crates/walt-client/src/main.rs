//! `walt`: one process per command, no daemon, no local state.

mod account;
mod command;
mod failure;
mod gate;
mod grammar;
mod operation;
mod output;
mod server;
mod session;
mod terminal;
mod transfer;

use failure::Failure;
use grammar::parse::{Parsed, UsageError, parse};
use grammar::{Category, help};
use std::process::ExitCode;

fn main() -> ExitCode {
    terminal::signals::watch();
    let words = match command_line() {
        Ok(words) => words,
        Err(failure) => return end(&failure),
    };
    if words.first().is_some_and(|word| word == grammar::complete::WORD) {
        return ExitCode::from(grammar::complete::run(command::CATEGORIES, &words[1..]));
    }
    let width = usize::from(terminal::size().0).clamp(40, 100);
    match parse(command::CATEGORIES, &words) {
        Ok(Parsed::Help) => output::print(&help::top(command::CATEGORIES, width)),
        Ok(Parsed::Version) => output::line(concat!("walt ", env!("CARGO_PKG_VERSION"))),
        Ok(Parsed::CategoryHelp(category)) => output::print(&help::category(category, width)),
        Ok(Parsed::CommandHelp(category, command)) => {
            output::print(&help::command(category, command, width));
        }
        Ok(Parsed::Run(command, args)) => {
            return match (command.run)(&args) {
                Ok(status) => ExitCode::from(status),
                Err(failure) => end(&failure),
            };
        }
        Err(error) => return usage(&error, command::CATEGORIES, width),
    }
    ExitCode::SUCCESS
}

fn command_line() -> Result<Vec<String>, Failure> {
    std::env::args_os()
        .skip(1)
        .map(|word| {
            word.into_string().map_err(|word| {
                Failure::plain(format!("'{}' is not valid UTF-8.", word.to_string_lossy()))
            })
        })
        .collect()
}

fn end(failure: &Failure) -> ExitCode {
    terminal::spinner::erase();
    let text = failure.to_string();
    if !text.is_empty() {
        output::error(&text);
    }
    ExitCode::from(failure.status())
}

/// The error, a rule, and the help of the level concerned.
fn usage(error: &UsageError, categories: &[Category], width: usize) -> ExitCode {
    output::line(&error.message);
    output::line("------");
    let category = error
        .level
        .first()
        .and_then(|name| categories.iter().find(|category| category.name == *name));
    let command = category.and_then(|category| {
        let name = error.level.get(1)?;
        category.commands.iter().find(|command| command.name == *name)
    });
    output::print(&match (category, command) {
        (Some(category), Some(command)) => help::command(category, command, width),
        (Some(category), None) => help::category(category, width),
        (None, _) => help::top(categories, width),
    });
    ExitCode::from(error.status)
}
