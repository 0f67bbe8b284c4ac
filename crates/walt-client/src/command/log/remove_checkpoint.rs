//! `walt log remove-checkpoint`

use crate::command::server;
use crate::failure::Outcome;
use crate::grammar::{Args, Command, Kind, Positional};
use crate::output;
use walt_proto::api::{Empty, route};

/// The command.
pub const COMMAND: Command = Command {
    name: "remove-checkpoint",
    about: "Removes a checkpoint.\nThe logs themselves are kept.",
    example: "$ walt log remove-checkpoint exp1-start",
    positionals: &[Positional::required("checkpoint_name", Kind::Checkpoint)],
    topics: &["log-checkpoint"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let Empty {} = server()?.delete(&route::fill(route::CHECKPOINT, args.positional(0)))?;
    output::line("Done.");
    Ok(0)
}
