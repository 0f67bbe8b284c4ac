//! `walt log list-imports`

use crate::command::{date, server, server_zone};
use crate::failure::Outcome;
use crate::grammar::{Args, Command, JSON};
use crate::output;
use jiff::Timestamp;
use walt_model::table::table;
use walt_proto::api::log::LogImport;
use walt_proto::api::route;

/// The command.
pub const COMMAND: Command = Command {
    name: "list-imports",
    about: "Lists the bundles that were imported.",
    example: "$ walt log list-imports",
    switches: &[JSON],
    topics: &["log-bundle"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let server = server()?;
    let imports: Vec<LogImport> = server.get(route::LOGS_IMPORTS)?;
    if args.flag("json") {
        output::json(&imports)?;
    } else if imports.is_empty() {
        output::line("No bundle was imported.");
    } else {
        let zone = server_zone(&server)?;
        let at = |us| date(Timestamp::from_microsecond(us).unwrap_or_default(), &zone);
        let row = |import: &LogImport| {
            vec![
                output::printable(&import.label),
                output::printable(&import.user),
                import.lines.to_string(),
                output::printable(&import.range),
                at(import.made_us),
                at(import.imported_us),
            ]
        };
        let rows: Vec<Vec<String>> = imports.iter().map(row).collect();
        output::line(&table(&["label", "user", "lines", "range", "made", "imported"], &rows));
    }
    Ok(0)
}
