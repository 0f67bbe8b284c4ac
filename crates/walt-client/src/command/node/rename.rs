//! `walt node rename`

use crate::command::{server, yes};
use crate::failure::{Failure, Outcome};
use crate::gate::with_consent;
use crate::grammar::{Args, Command, Kind, Positional, YES};
use walt_model::DeviceName;
use walt_proto::api::node::RenameNode;
use walt_proto::api::{Empty, route};

/// The command.
pub const COMMAND: Command = Command {
    name: "rename",
    about: "Renames a node.\nIts logs follow.",
    example: "$ walt node rename n1 gateway",
    positionals: &[
        Positional::required("old_node_name", Kind::Node),
        Positional::required("new_node_name", Kind::Text("NEW_NODE_NAME")),
    ],
    switches: &[YES],
    topics: &["node"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let new: DeviceName = args
        .positional(1)
        .parse()
        .map_err(|error: walt_model::names::DeviceNameError| Failure::plain(error.to_string()))?;
    let server = server()?;
    let Empty {} = with_consent(yes(args), |confirmed| {
        let request = RenameNode { new_name: new.to_string(), confirmed };
        server.post(&route::fill(route::NODE_RENAME, args.positional(0)), &request)
    })?;
    Ok(0)
}
