//! `walt log show`

use super::query::{FORMAT, IMPORT, ISSUERS, PLATFORM, Printer, SERVER, STREAMS, query};
use crate::command::{server, yes};
use crate::failure::{Failure, Outcome};
use crate::grammar::{Args, Command, Kind, Positional, Switch, YES};
use crate::terminal::confirm::confirm;
use crate::{output, terminal};
use walt_model::HistoryRange;
use walt_proto::api::log::LogCount;
use walt_proto::api::{Event, route};

/// Number of records above which a question is asked.
const MANY: u64 = 1000;

/// The command.
pub const COMMAND: Command = Command {
    name: "show",
    about: "Displays logs: those of the past (--history), those to come (--realtime), or both.\n\
        An optional regular expression selects lines.",
    example: "$ walt log show --history -5m: --nodes n1 'error|warning'\n\
        $ walt log show --realtime --platform",
    positionals: &[Positional::optional("logline_regexp", Kind::Text("LOGLINE_REGEXP"), "None")],
    switches: &[
        FORMAT,
        Switch {
            default: "none",
            ..Switch::value("history", Kind::HistoryRange, "range of the past to display")
        },
        IMPORT,
        ISSUERS,
        Switch::flag("json", "print each record as a JSON object, one per line, for programs"),
        Switch::value(
            "limit",
            Kind::Integer("RECORDS"),
            "at most that many records of the past, the newest",
        ),
        PLATFORM,
        Switch::flag("realtime", "display new logs as they come, until ctrl-C"),
        SERVER,
        STREAMS,
        YES,
    ],
    topics: &["log-show", "log-history", "log-format", "log-regexp"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let realtime = args.flag("realtime");
    let history: HistoryRange = args
        .value("history")
        .unwrap_or("none")
        .parse()
        .map_err(|error: walt_model::HistoryError| Failure::plain(error.to_string()))?;
    let past = history != HistoryRange::None;
    if !realtime && !past {
        return Err(Failure::plain(
            "Nothing to display: use option --realtime, option --history, or both.\n\
             See 'walt help show log-realtime' and 'walt help show log-history' for more info.",
        ));
    }
    let line = Some(args.positional(0)).filter(|line| !line.is_empty());
    let mut query = query(args, line)?;
    query.realtime = realtime;
    query.history = past.then(|| history.to_string());
    query.limit = match args.integer("limit") {
        None => None,
        Some(limit) => match u64::try_from(limit) {
            Ok(limit) if limit > 0 => Some(limit),
            _ => return Err(Failure::plain("The value of --limit should be 1 or more.")),
        },
    };
    let json = args.flag("json");
    let server = server()?;
    let printer = if json { None } else { Some(Printer::new(args, &server)?) };
    if past && line.is_none() && query.limit.is_none() && terminal::is_interactive() {
        let LogCount { records } = server.post(route::LOGS_COUNT, &query)?;
        if records > MANY {
            output::line(&format!(
                "This will display approximately {records} log records from history."
            ));
            confirm(yes(args))?;
        }
    }
    let mut events = server.events(route::LOGS_QUERY, &query)?;
    events.silence();
    while let Some(event) = events.next_event()? {
        match event {
            Event::Record(record) => match &printer {
                Some(printer) => printer.print(&record),
                None => output::json_line(&record)?,
            },
            Event::Err { text } => output::error(&output::printable(text.trim_end())),
            _ => {}
        }
    }
    Ok(0)
}
