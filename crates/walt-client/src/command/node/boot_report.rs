//! `walt node show --boot`: the stages of a boot as bars.

use crate::command::{date, server_zone};
use crate::failure::{Failure, Outcome};
use crate::output::{self, printable, size};
use crate::server::Server;
use crate::terminal;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use walt_proto::api::boot::{BootReport, BootStage, BootState, Stage, StageState};
use walt_proto::api::route;

/// Width of the bars, in columns.
const BAR: usize = 40;

/// Boots told in one line each, below the last one.
const PREVIOUS: usize = 5;

/// The JSON form: the last boot, and those before.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    last: &'a BootReport,
    previous: &'a [BootReport],
}

/// Tells how the boots of a node went.
///
/// # Errors
/// Those of the server; a node that never booted.
pub fn show(server: &Server, node: &str, json: bool) -> Outcome {
    let boots: Vec<BootReport> = server.get(&route::fill(route::NODE_BOOTS, node))?;
    let Some((last, previous)) = boots.split_first() else {
        return Err(Failure::plain(format!("No boot of {node} was seen yet.")));
    };
    if json {
        output::json(&Json { last, previous })?;
    } else {
        let zone = server_zone(server)?;
        let columns = usize::from(terminal::size().0);
        output::print(&report(last, previous, &zone, columns));
    }
    Ok(0)
}

fn report(last: &BootReport, previous: &[BootReport], zone: &TimeZone, columns: usize) -> String {
    let mut out = format!(
        "Boot of {} on {}, started {} ({})\n\n",
        last.node,
        last.image,
        shown_date(last.started_ms, zone),
        printable(&last.cause)
    );
    let end = last
        .ended_ms
        .into_iter()
        .chain(last.stages.iter().flat_map(|stage| [Some(stage.start_ms), stage.end_ms]).flatten())
        .max()
        .unwrap_or(0)
        .max(1);
    for stage in &last.stages {
        out.push_str(&clipped(&line(stage, end), columns));
        out.push('\n');
    }
    out.push('\n');
    out.push_str(&conclusion(last, zone));
    if !previous.is_empty() {
        out.push_str("\nPrevious boots:\n");
        for boot in previous.iter().take(PREVIOUS) {
            let result = match boot.state {
                BootState::Stopped => {
                    let stage = boot.stopped.as_ref().map_or("?", |stopped| stopped.stage.title());
                    format!("stopped at {stage}")
                }
                state => format!("{} after {}", word(state), duration(boot.ended_ms.unwrap_or(0))),
            };
            let date = shown_date(boot.started_ms, zone);
            out.push_str(&format!("  {date}  {result} ({})\n", printable(&boot.cause)));
        }
    }
    out
}

/// `kernel       2.310 s   +0.420 s  ░░░███░░░  8.1 MB by http`
fn line(stage: &BootStage, end: u64) -> String {
    let state = match stage.state {
        StageState::Running => " (running)",
        StageState::Failed => " FAILED",
        StageState::Done | StageState::Other => "",
    };
    let length = stage.end_ms.map(|end| end.saturating_sub(stage.start_ms));
    let took = match length {
        Some(0) => String::new(),
        Some(length) => format!("+{}", duration(length)),
        None => "...".to_owned(),
    };
    let mut facts: Vec<String> = Vec::new();
    if let Some(bytes) = stage.bytes {
        facts.push(size(bytes));
    }
    if let Some(via) = &stage.via {
        facts.push(format!("by {}", printable(via)));
    }
    facts.extend(stage.detail.iter().chain(&stage.problem).map(|text| printable(text)));
    format!(
        "{:<9} {:>10} {:>10}  {}  {}{state}",
        stage.stage.title(),
        duration(stage.start_ms),
        took,
        bar(stage.start_ms, stage.end_ms.unwrap_or(end), end),
        facts.join(" ")
    )
}

fn bar(start: u64, stop: u64, end: u64) -> String {
    let column = |at: u64| {
        let position = u128::from(at.min(end)) * BAR as u128 / u128::from(end.max(1));
        usize::try_from(position).unwrap_or(BAR)
    };
    let from = column(start).min(BAR - 1);
    let to = column(stop).clamp(from + 1, BAR);
    format!("{}{}{}", "·".repeat(from), "█".repeat(to - from), "·".repeat(BAR - to))
}

fn conclusion(boot: &BootReport, zone: &TimeZone) -> String {
    let total = duration(boot.ended_ms.unwrap_or(0));
    match (boot.state, &boot.stopped) {
        (BootState::Stopped, Some(stopped)) => {
            let mut text = format!(
                "Stopped at stage '{}'. Nothing more was seen since {}.\nLikely cause: {}\n",
                stopped.stage.title(),
                shown_date(stopped.since_ms, zone),
                printable(&stopped.cause)
            );
            if let Some(tip) = &stopped.tip {
                text.push_str(&format!("(tip: {})\n", printable(tip)));
            }
            text
        }
        (BootState::Booted, _) => format!("Booted in {total}.\n"),
        (BootState::Running, _) => {
            let stage = boot.stages.last().map_or(Stage::Requested, |stage| stage.stage);
            format!("Booting: at stage '{}'.\n", stage.title())
        }
        (state, _) => format!("{}.\n", walt_model::sentence::capitalised(word(state))),
    }
}

fn word(state: BootState) -> &'static str {
    match state {
        BootState::Running => "running",
        BootState::Booted => "booted",
        BootState::Stopped => "stopped",
        BootState::Replaced => "given up",
        BootState::Down => "booted, then down",
        BootState::Other => "ended",
    }
}

fn shown_date(ms: i64, zone: &TimeZone) -> String {
    Timestamp::from_millisecond(ms).map(|timestamp| date(timestamp, zone)).unwrap_or_default()
}

/// `2.310 s`
fn duration(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

fn clipped(line: &str, columns: usize) -> String {
    let line = line.trim_end();
    if terminal::is_interactive() { line.chars().take(columns).collect() } else { line.to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn boot(text: &str) -> BootReport {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_complete_boot() {
        let boot = boot(
            r#"{"id":1,"node":"n1","image":"u/pc:latest","cause":"created","started_ms":0,
            "state":"booted","ended_ms":2000,"stages":[
            {"stage":"dhcp","start_ms":0,"end_ms":500,"state":"done","detail":"192.168.152.2"},
            {"stage":"kernel","start_ms":500,"end_ms":2000,"state":"done","bytes":8123456,"via":"http"}]}"#,
        );
        let text = report(&boot, &[], &TimeZone::UTC, 200);
        let expected = "Boot of n1 on u/pc:latest, started 1970-01-01 00:00:00 (created)\n\n\
            dhcp         0.000 s   +0.500 s  ██████████······························  192.168.152.2\n\
            kernel       0.500 s   +1.500 s  ··········██████████████████████████████  8.1 MB by http\n\n\
            Booted in 2.000 s.\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_boot_that_stopped() {
        let boot = boot(
            r#"{"id":2,"node":"n1","image":"u/pc:latest","cause":"created","started_ms":0,
            "state":"stopped","stages":[
            {"stage":"loader","start_ms":0,"end_ms":null,"state":"failed","problem":"no such file"}],
            "stopped":{"stage":"loader","since_ms":1000,"cause":"The image has no start.ipxe.","tip":"x"}}"#,
        );
        let text = report(&boot, std::slice::from_ref(&boot), &TimeZone::UTC, 200);
        assert!(text.contains("no such file FAILED\n"), "{text}");
        assert!(text.contains(
            "Stopped at stage 'loader'. Nothing more was seen since 1970-01-01 00:00:01.\n"
        ));
        assert!(text.contains("Likely cause: The image has no start.ipxe.\n(tip: x)\n"), "{text}");
        assert!(text.contains("  1970-01-01 00:00:00  stopped at loader (created)\n"), "{text}");
    }

    #[test]
    fn bars_have_one_width() {
        for (start, stop, end) in [(0, 0, 1), (0, 10, 10), (10, 10, 10), (9, 10, 10), (5, 50, 10)] {
            assert_eq!(bar(start, stop, end).chars().count(), BAR);
        }
    }
}
