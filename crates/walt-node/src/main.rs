//! `walt-node`: every command of a node in one program, chosen by the name it is called with.

mod autolog;
mod blink;
mod boot_script;
mod command;
mod failure;
mod install;
mod ipxe;
mod kexec;
mod log;
mod program;
mod report;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use command::{COMMANDS, Command};
use failure::Failure;

/// What `walt-node` itself is called.
const SELF: &str = "walt-node";

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let called = words.next().unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or(OsStr::new(SELF)).to_owned();
    let mut arguments: Vec<OsString> = words.collect();
    let command = match find(&name) {
        Some(command) => command,
        None => {
            let Some(first) = arguments.first().cloned() else {
                print!("{}", command::help());
                return ExitCode::from(2);
            };
            match (first.to_str(), find(&first)) {
                (Some("--help" | "-h" | "help"), _) => {
                    print!("{}", command::help());
                    return ExitCode::SUCCESS;
                }
                (Some("--version"), _) => {
                    println!("{SELF} {}", env!("CARGO_PKG_VERSION"));
                    return ExitCode::SUCCESS;
                }
                (_, Some(command)) => {
                    arguments.remove(0);
                    command
                }
                (_, None) => {
                    eprintln!("{SELF}: no command '{}'.", first.to_string_lossy());
                    eprint!("{}", command::help());
                    return ExitCode::from(2);
                }
            }
        }
    };
    if let Some(new) = command.deprecated {
        println!("WARNING: {} is deprecated. Use {new} instead.", command.name);
    }
    if arguments.len() == 1 && matches!(arguments[0].to_str(), Some("--help" | "-h")) {
        println!("usage: {}\n\n{}", command.usage, command.about);
        return ExitCode::SUCCESS;
    }
    match (command.run)(arguments) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => end(command, &failure),
    }
}

fn end(command: &Command, failure: &Failure) -> ExitCode {
    let text = match failure {
        Failure::Usage(_) => format!("Usage: {}\n", command.usage),
        Failure::Plain(text) => format!("{}: {text}\n", command.name),
    };
    eprint!("{text}");
    ExitCode::from(failure.status())
}

/// The command of that name, with or without `walt-` before it.
fn find(name: &OsStr) -> Option<&'static Command> {
    let name = name.to_str()?;
    COMMANDS
        .iter()
        .find(|command| command.name == name || command.name.strip_prefix("walt-") == Some(name))
}
