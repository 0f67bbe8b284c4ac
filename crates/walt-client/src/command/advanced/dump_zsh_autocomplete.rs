//! `walt advanced dump-zsh-autocomplete`

use crate::failure::Outcome;
use crate::grammar::{Args, Command};
use crate::output;

/// The command.
pub const COMMAND: Command = Command {
    name: "dump-zsh-autocomplete",
    about: "Prints the completion script of zsh.",
    example: "$ walt advanced dump-zsh-autocomplete > ~/.zfunc/_walt",
    topics: &["shell-completion"],
    run,
    ..Command::NEW
};

fn run(_args: &Args) -> Outcome {
    output::print(include_str!("completion.zsh"));
    Ok(0)
}
