//! `walt log list-checkpoints`

use crate::command::{date, server, server_zone};
use crate::failure::Outcome;
use crate::grammar::{Args, Command, JSON};
use crate::output;
use jiff::Timestamp;
use walt_model::table::table;
use walt_proto::api::log::Checkpoint;
use walt_proto::api::route;

/// The command.
pub const COMMAND: Command = Command {
    name: "list-checkpoints",
    about: "Lists your checkpoints.",
    example: "$ walt log list-checkpoints",
    switches: &[JSON],
    topics: &["log-checkpoint"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let server = server()?;
    let checkpoints: Vec<Checkpoint> = server.get(route::CHECKPOINTS)?;
    if args.flag("json") {
        output::json(&checkpoints)?;
    } else if checkpoints.is_empty() {
        output::line("You own no checkpoints.");
    } else {
        let zone = server_zone(&server)?;
        let row = |checkpoint: &Checkpoint| {
            let timestamp =
                Timestamp::from_microsecond(checkpoint.timestamp_us).unwrap_or_default();
            vec![date(timestamp, &zone), checkpoint.name.clone()]
        };
        let rows: Vec<Vec<String>> = checkpoints.iter().map(row).collect();
        output::line(&table(&["timestamp", "name"], &rows));
    }
    Ok(0)
}
