//! `walt node remove`

use crate::command::{server, yes};
use crate::failure::Outcome;
use crate::gate::with_consent;
use crate::grammar::{Args, Command, Kind, Positional, YES};
use crate::server::query;
use walt_proto::api::{Empty, route};

/// The command.
pub const COMMAND: Command = Command {
    name: "remove",
    about: "Removes a virtual node, with its logs and its /persist.",
    example: "$ walt node remove n1",
    positionals: &[Positional::required("node_name", Kind::Node)],
    switches: &[YES],
    topics: &["node"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let server = server()?;
    let Empty {} = with_consent(yes(args), |confirmed| {
        let confirmed = confirmed.then_some("true");
        let path = route::fill(route::NODE, args.positional(0));
        server.delete(&format!("{path}{}", query(&[("confirmed", confirmed)])))
    })?;
    Ok(0)
}
