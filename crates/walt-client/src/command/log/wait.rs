//! `walt log wait`

use super::query::{FORMAT, ISSUERS, PLATFORM, Printer, SERVER, STREAMS, query};
use crate::command::server;
use crate::failure::{Failure, Outcome};
use crate::grammar::{Args, Command, Kind, Positional, Switch};
use crate::{output, terminal};
use std::collections::BTreeSet;
use std::time::Duration;
use walt_proto::api::node::{Node, SelectNodes};
use walt_proto::api::{Event, route};

/// The command.
pub const COMMAND: Command = Command {
    name: "wait",
    about: "Waits for a log line.\nMatching lines are displayed as they come; the command ends at the first one \
        (--mode ANY), or once each issuer has logged one (--mode ALL).",
    example: "$ walt log wait --nodes n1,n2 --mode ALL --timeout 60 'experiment is ready'",
    positionals: &[Positional::required("logline_regexp", Kind::Text("LOGLINE_REGEXP"))],
    switches: &[
        FORMAT,
        ISSUERS,
        Switch {
            default: "ANY",
            ..Switch::value(
                "mode",
                Kind::Choice("LOG_WAIT_MODE", &["ALL", "ANY"]),
                "when to stop: ALL or ANY",
            )
        },
        PLATFORM,
        SERVER,
        STREAMS,
        Switch::value(
            "time-margin",
            Kind::Integer("SECONDS"),
            "also look that many seconds into the past",
        ),
        Switch::value("timeout", Kind::Integer("SECONDS"), "give up after that many seconds"),
    ],
    topics: &["log-wait"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let mut query = query(args, Some(args.positional(0)))?;
    query.realtime = true;
    let margin = args.integer("time-margin").unwrap_or(0);
    if margin > 0 {
        query.history = Some(format!("-{margin}s:"));
    }
    // Before anything that may take long: the server may not answer.
    if let Some(timeout) = args.integer("timeout").and_then(|seconds| u64::try_from(seconds).ok())
        && timeout > 0
    {
        give_up_after(Duration::from_secs(timeout));
    }
    let server = server()?;
    let all = args.value("mode").is_some_and(|mode| mode.eq_ignore_ascii_case("all"));
    let mut awaited: BTreeSet<String> = BTreeSet::new();
    if all {
        let set = query.issuers.clone().unwrap_or_default();
        awaited = issuers(&server, &set)?;
    }
    let printer = Printer::new(args, &server)?;
    let mut events = server.events(route::LOGS_QUERY, &query)?;
    events.silence();
    while let Some(event) = events.next_event()? {
        match event {
            Event::Record(record) => {
                printer.print(&record);
                awaited.remove(&record.issuer);
                if awaited.is_empty() {
                    return Ok(0);
                }
            }
            Event::Err { text } => output::error(&output::printable(text.trim_end())),
            _ => {}
        }
    }
    Err(Failure::Connection("The server ended the log stream before the awaited line.".into()))
}

/// Names of the devices of a set: `server` stands for the server whatever its name.
fn issuers(server: &crate::server::Server, set: &str) -> Result<BTreeSet<String>, Failure> {
    let (servers, nodes): (Vec<&str>, Vec<&str>) =
        set.split(',').partition(|name| matches!(*name, "server" | "walt-server"));
    let mut names = BTreeSet::new();
    if !servers.is_empty() {
        names.insert("walt-server".to_owned());
    }
    if !nodes.is_empty() {
        let request = SelectNodes { set: nodes.join(","), ..SelectNodes::default() };
        let nodes: Vec<Node> = server.post(route::NODES_SELECT, &request)?;
        names.extend(nodes.into_iter().map(|node| node.name));
    }
    Ok(names)
}

/// Ends the whole process: nothing is held that would have to be given back.
fn give_up_after(delay: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(delay);
        terminal::spinner::erase();
        output::line("Timeout was reached.");
        std::process::exit(1);
    });
}
