//! `walt node wait`

use crate::command::server;
use crate::failure::{Failure, Outcome};
use crate::grammar::{Args, Command, Kind, Positional, Switch};
use crate::operation::follow;
use crate::output;
use crate::terminal::spinner;
use walt_proto::api::node::WaitNodes;
use walt_proto::api::{ErrorKind, route};

/// The command.
pub const COMMAND: Command = Command {
    name: "wait",
    about: "Waits until nodes are booted.\nReturns at once if they are.",
    example: "$ walt node wait --timeout 120 n1,n2 && echo ready",
    positionals: &[Positional::required("node_set", Kind::NodeSet)],
    switches: &[Switch {
        default: "-1",
        ..Switch::value(
            "timeout",
            Kind::Integer("SECONDS"),
            "give up after that many seconds; never if negative",
        )
    }],
    topics: &["boot-report"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    spinner::set_default_label("Node bootup notification pending");
    let timeout_s = args
        .integer("timeout")
        .and_then(|seconds| u64::try_from(seconds).ok())
        .filter(|seconds| *seconds > 0);
    let request = WaitNodes { set: args.positional(0).to_owned(), timeout_s };
    match server()?.events(route::NODES_WAIT, &request).and_then(follow) {
        Err(Failure::Server(error)) if error.kind == ErrorKind::Timeout => {
            output::line("Timeout was reached.");
            Err(Failure::Said(1))
        }
        outcome => outcome,
    }
}
