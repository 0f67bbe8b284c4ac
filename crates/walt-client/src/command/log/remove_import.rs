//! `walt log remove-import`

use crate::command::server;
use crate::failure::Outcome;
use crate::grammar::{Args, Command, Kind, Positional};
use crate::output;
use walt_proto::api::{Empty, route};

/// The command.
pub const COMMAND: Command = Command {
    name: "remove-import",
    about: "Removes an imported bundle from the server.",
    example: "$ walt log remove-import exp1",
    positionals: &[Positional::required("import", Kind::LogImport)],
    topics: &["log-bundle"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let Empty {} = server()?.delete(&route::fill(route::LOGS_IMPORT, args.positional(0)))?;
    output::line("Done.");
    Ok(0)
}
