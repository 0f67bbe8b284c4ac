//! `walt node reboot`

use crate::command::{server, yes};
use crate::failure::Outcome;
use crate::gate::with_consent;
use crate::grammar::{Args, Command, Kind, Positional, Switch, YES};
use crate::operation::follow;
use crate::terminal::spinner;
use walt_proto::api::node::RebootNodes;
use walt_proto::api::route;

/// The command.
pub const COMMAND: Command = Command {
    name: "reboot",
    about: "Reboots nodes.\nThe operating system of the node is asked first; if it does not answer, a virtual node is \
        killed and started again. What was changed on a node is forgotten, except in /persist.",
    example: "$ walt node reboot n1\nNode n1: rebooted ok.",
    positionals: &[Positional::required("node_set", Kind::NodeSet)],
    switches: &[Switch::flag("hard", "do not ask the operating system first"), YES],
    topics: &["node-reboot"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    spinner::set_default_label("Rebooting");
    let server = server()?;
    follow(with_consent(yes(args), |confirmed| {
        let set = args.positional(0).to_owned();
        server.events(route::NODES_REBOOT, &RebootNodes { set, hard: args.flag("hard"), confirmed })
    })?)
}
