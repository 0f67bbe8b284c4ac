//! `walt node ping`

use crate::command::server;
use crate::failure::Outcome;
use crate::grammar::{Args, Command, Kind, Positional};
use crate::operation::follow;
use walt_proto::api::{Empty, route};

/// The command.
pub const COMMAND: Command = Command {
    name: "ping",
    about: "Pings a node from the server: 10 requests.\nThe exit status is 0 when it answers.",
    example: "$ walt node ping n1",
    positionals: &[Positional::required("node_name", Kind::Node)],
    run: |args: &Args| ping(args.positional(0)),
    ..Command::NEW
};

/// Pings a device; its status is that of the `ping` program of the server.
///
/// # Errors
/// Those of the server.
pub fn ping(device: &str) -> Outcome {
    let mut events = server()?.events(&route::fill(route::DEVICE_PING, device), &Empty {})?;
    events.silence();
    follow(events)
}
