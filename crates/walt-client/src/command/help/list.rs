//! `walt help list`

use crate::failure::Outcome;
use crate::grammar::{Args, Command};
use crate::output;

/// The command.
pub const COMMAND: Command = Command {
    name: "list",
    about: "Lists the help topics.",
    example: "$ walt help list",
    run,
    ..Command::NEW
};

fn run(_args: &Args) -> Outcome {
    output::line("The following help topics are available:");
    let widest = walt_doc::topics().map(|topic| topic.name.len()).max().unwrap_or(0);
    for topic in walt_doc::topics() {
        output::line(&format!("{:<widest$} -- {}", topic.name, topic.title()));
    }
    Ok(0)
}
