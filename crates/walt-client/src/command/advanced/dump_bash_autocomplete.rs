//! `walt advanced dump-bash-autocomplete`

use crate::failure::Outcome;
use crate::grammar::{Args, Command};
use crate::output;

/// The command.
pub const COMMAND: Command = Command {
    name: "dump-bash-autocomplete",
    about: "Prints the completion script of bash.",
    example: "$ walt advanced dump-bash-autocomplete > ~/.local/share/bash-completion/completions/walt",
    topics: &["shell-completion"],
    run,
    ..Command::NEW
};

fn run(_args: &Args) -> Outcome {
    output::print(include_str!("completion.bash"));
    Ok(0)
}
