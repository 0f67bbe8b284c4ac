//! `walt help show`

use crate::failure::{Failure, Outcome};
use crate::grammar::{Args, Command, Kind, Positional};
use crate::{output, terminal};

/// The command.
pub const COMMAND: Command = Command {
    name: "show",
    about: "Displays a help topic.\nIn a terminal: arrows scroll, <tab> and <enter> follow links, <q> quits.",
    example: "$ walt help show node-ownership",
    usage: &["[topic=help-intro]"],
    positionals: &[Positional::optional("topic", Kind::Topic, walt_doc::INTRODUCTION)],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let name = match args.positional(0) {
        "" => walt_doc::INTRODUCTION,
        name => name,
    };
    let topic = walt_doc::topic(name).ok_or_else(|| {
        Failure::plain(format!("There is no help topic '{name}'. (tip: walt help list)"))
    })?;
    if terminal::is_interactive() {
        terminal::pager::show(topic)?;
    } else {
        output::print(topic.source);
    }
    Ok(0)
}
