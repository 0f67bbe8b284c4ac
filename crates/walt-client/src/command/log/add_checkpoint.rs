//! `walt log add-checkpoint`

use crate::command::{date, server, server_zone};
use crate::failure::{Failure, Outcome};
use crate::grammar::{Args, Command, Kind, Positional, Switch};
use crate::output;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use walt_model::CheckpointName;
use walt_proto::api::log::{AddCheckpoint, Checkpoint, CheckpointDate};
use walt_proto::api::route;

/// The command.
pub const COMMAND: Command = Command {
    name: "add-checkpoint",
    about: "Records a checkpoint: a name for a point in time, to be used in history ranges.",
    example: "$ walt log add-checkpoint exp1-start\n$ walt log show --history exp1-start:",
    positionals: &[Positional::required("checkpoint_name", Kind::Text("CHECKPOINT_NAME"))],
    switches: &[Switch::value(
        "date",
        Kind::Text("LOG_CHECKPOINT_DATE"),
        "when: relative (-2h), or '<YYYY>-<MM>-<DD> <hh>:<mm>:<ss>' in your time zone; now if not given",
    )],
    topics: &["log-checkpoint"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let name: CheckpointName =
        args.positional(0).parse().map_err(|error: walt_model::names::CheckpointNameError| {
            Failure::plain(error.to_string())
        })?;
    let zone = TimeZone::system();
    let when = args.value("date").map(|text| parse_date(text, &zone)).transpose()?;
    let server = server()?;
    let request = AddCheckpoint { name: name.to_string(), date: when };
    let added: Checkpoint = server.post(route::CHECKPOINTS, &request)?;
    let timestamp = Timestamp::from_microsecond(added.timestamp_us).unwrap_or_default();
    let shown = date(timestamp, &server_zone(&server)?);
    output::line(&format!("New checkpoint {} recorded at server time: {shown}.", added.name));
    Ok(0)
}

fn parse_date(text: &str, zone: &TimeZone) -> Result<CheckpointDate, Failure> {
    let parsed: walt_model::CheckpointDate =
        text.parse().map_err(|error: walt_model::history::CheckpointDateError| {
            Failure::plain(error.to_string())
        })?;
    Ok(match parsed {
        walt_model::CheckpointDate::Relative(date) => {
            CheckpointDate::SecondsAgo(date.ago().as_secs().unsigned_abs())
        }
        walt_model::CheckpointDate::Absolute(_) => {
            let at = parsed
                .instant(Timestamp::now(), zone)
                .ok_or_else(|| Failure::plain(format!("'{text}' is out of range.")))?;
            CheckpointDate::AtUs(at.as_microsecond())
        }
    })
}
