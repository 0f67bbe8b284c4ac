//! `walt node release`

use crate::command::{server, yes};
use crate::failure::Outcome;
use crate::gate::with_consent;
use crate::grammar::{Args, Command, Kind, Positional, YES};
use crate::operation::follow;
use crate::terminal::spinner;
use walt_proto::api::node::NodesRequest;
use walt_proto::api::route;

/// The command.
pub const COMMAND: Command = Command {
    name: "release",
    about: "Gives nodes back.\nThey boot the default image of their model again: others see them as free.",
    example: "$ walt node release my-nodes",
    positionals: &[Positional::required("node_set", Kind::NodeSet)],
    switches: &[YES],
    topics: &["node-ownership"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    spinner::set_default_label("Rebooting");
    let server = server()?;
    follow(with_consent(yes(args), |confirmed| {
        let request = NodesRequest { set: args.positional(0).to_owned(), confirmed };
        server.events(route::NODES_RELEASE, &request)
    })?)
}
