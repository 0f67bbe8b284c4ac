//! `walt device ping`

use crate::command::node::ping::ping;
use crate::failure::Outcome;
use crate::grammar::{Args, Command, Kind, Positional};

/// The command.
pub const COMMAND: Command = Command {
    name: "ping",
    about: "Pings a device from the server.",
    example: "$ walt device ping switch-1",
    positionals: &[Positional::required("device_name", Kind::Device)],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    ping(args.positional(0))
}
