//! `walt device config`

use crate::command::node::config::configure;
use crate::failure::Outcome;
use crate::grammar::{Args, Command, JSON, Kind, Positional, YES};

/// The command.
pub const COMMAND: Command = Command {
    name: "config",
    about: "Shows or changes settings of devices.\nWithout settings, shows those of the devices. With settings, \
        changes them on all devices of the set, or on none if one does not fit.",
    example: "$ walt device config all-switches,n1",
    positionals: &[
        Positional::required("device_set", Kind::DeviceSet),
        Positional::variable("configuration", Kind::DeviceSetting),
    ],
    switches: &[JSON, YES],
    topics: &["node-config", "device-sets"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    configure(args, false)
}
