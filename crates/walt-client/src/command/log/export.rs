//! `walt log export`

use super::output_file::{self, FORCE, OUTPUT};
use super::query::{IMPORT, ISSUERS, PLATFORM, SERVER, STREAMS, query};
use crate::command::server;
use crate::failure::{Failure, Outcome};
use crate::grammar::{Args, Command, Kind, Positional, Switch};
use crate::output;
use walt_model::HistoryRange;
use walt_proto::api::log::{ExportFormat, ExportLogs};
use walt_proto::api::route;

/// The command.
pub const COMMAND: Command = Command {
    name: "export",
    about: "Writes logs of the past to a file: JSON lines, CSV or Parquet.\n\
        The format is that of the name of the file, or --format.",
    example: "$ walt log export exp1-start:exp1-end --nodes n1,n2 --output exp1.parquet\n\
        $ walt log export -1h: --format csv --output - | head",
    positionals: &[
        Positional::required("history_range", Kind::HistoryRange),
        Positional::optional("logline_regexp", Kind::Text("LOGLINE_REGEXP"), "None"),
    ],
    switches: &[
        FORCE,
        Switch::value(
            "format",
            Kind::Choice("EXPORT_FORMAT", &["jsonl", "csv", "parquet"]),
            "jsonl, csv or parquet; default: by the name of the file, else jsonl",
        ),
        IMPORT,
        ISSUERS,
        OUTPUT,
        PLATFORM,
        SERVER,
        STREAMS,
    ],
    topics: &["log-export", "log-history"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let range: HistoryRange = args
        .positional(0)
        .parse()
        .map_err(|error: walt_model::HistoryError| Failure::plain(error.to_string()))?;
    if range == HistoryRange::None {
        return Err(Failure::plain("Nothing to export: this range is empty."));
    }
    let line = Some(args.positional(1)).filter(|line| !line.is_empty());
    let mut query = query(args, line)?;
    query.history = Some(range.to_string());
    let format = format(args.value("format"), args.value("output").unwrap_or_default())?;
    let path = match args.value("output") {
        Some(path) => path.to_owned(),
        None => format!("walt-logs.{}", extension(format)),
    };
    let force = args.flag("force");
    output_file::check(&path, force)?;
    let source = server()?.file(route::LOGS_EXPORT, &ExportLogs { query, format })?;
    let bytes = output_file::save(source, &path, force, "Exporting logs")?;
    if path != "-" {
        output::line(&format!("{path}: {}.", output_file::size(bytes)));
    }
    Ok(0)
}

const FORMATS: [ExportFormat; 3] = [ExportFormat::Jsonl, ExportFormat::Csv, ExportFormat::Parquet];

fn extension(format: ExportFormat) -> &'static str {
    match format {
        ExportFormat::Jsonl => "jsonl",
        ExportFormat::Csv => "csv",
        ExportFormat::Parquet => "parquet",
    }
}

fn format(given: Option<&str>, path: &str) -> Result<ExportFormat, Failure> {
    let of = |word: &str| {
        FORMATS.into_iter().find(|format| extension(*format).eq_ignore_ascii_case(word))
    };
    match given {
        Some(word) => of(word).ok_or_else(|| {
            Failure::plain(format!("Unknown format '{word}': jsonl, csv or parquet."))
        }),
        None => Ok(path.rsplit_once('.').and_then(|(_, end)| of(end)).unwrap_or_default()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_file_tells_the_format() {
        assert_eq!(format(None, "a.b/x.csv").unwrap(), ExportFormat::Csv);
        assert_eq!(format(None, "x.log").unwrap(), ExportFormat::Jsonl);
        assert_eq!(format(Some("PARQUET"), "x.csv").unwrap(), ExportFormat::Parquet);
        assert!(format(Some("xml"), "x.csv").is_err());
    }
}
