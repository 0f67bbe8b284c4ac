//! `walt log bundle`

use super::output_file::{self, FORCE, OUTPUT};
use crate::command::server;
use crate::failure::{Failure, Outcome};
use crate::grammar::{Args, Command, Kind, Positional, Switch};
use crate::output;
use walt_model::HistoryRange;
use walt_proto::api::log::BundleLogs;
use walt_proto::api::route;

/// The command.
pub const COMMAND: Command = Command {
    name: "bundle",
    about: "Writes everything about an experiment to one file: logs, checkpoints, nodes, images, versions.\n\
        Give a history range, or the two checkpoints between which it ran.",
    example: "$ walt log bundle exp1-start exp1-end --output exp1.tar.zst\n\
        $ walt log import exp1.tar.zst",
    usage: &[
        "walt log bundle [SWITCHES] CHECKPOINT_FROM CHECKPOINT_TO",
        "walt log bundle [SWITCHES] HISTORY_RANGE",
    ],
    positionals: &[
        Positional::required("range_or_checkpoint", Kind::HistoryRange),
        Positional::optional("checkpoint_to", Kind::Checkpoint, "None"),
    ],
    switches: &[
        FORCE,
        Switch {
            aliases: &["emitters", "nodes"],
            default: "server,all-nodes",
            ..Switch::value("issuers", Kind::IssuerSet, "nodes (and server) whose logs are taken")
        },
        OUTPUT,
    ],
    topics: &["log-bundle", "log-checkpoint"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let typed = match args.positional(1) {
        "" => args.positional(0).to_owned(),
        to => format!("{}:{to}", args.positional(0)),
    };
    let range: HistoryRange = typed
        .parse()
        .map_err(|error: walt_model::HistoryError| Failure::plain(error.to_string()))?;
    if range == HistoryRange::None {
        return Err(Failure::plain("A bundle needs a range of time: this one is empty."));
    }
    let path = args.value("output").unwrap_or("walt-bundle.tar.zst");
    let force = args.flag("force");
    output_file::check(path, force)?;
    let request = BundleLogs {
        history: range.to_string(),
        issuers: args.value("issuers").map(str::to_owned),
    };
    let source = server()?.file(route::LOGS_BUNDLE, &request)?;
    let bytes = output_file::save(source, path, force, "Writing the bundle")?;
    if path != "-" {
        output::line(&format!("{path}: {}.", output_file::size(bytes)));
    }
    Ok(0)
}
