//! `walt node boot`

use crate::command::{server, yes};
use crate::failure::Outcome;
use crate::gate::with_consent;
use crate::grammar::{Args, Command, Kind, Positional, YES};
use crate::operation::follow;
use crate::terminal::spinner;
use walt_proto::api::node::BootNodes;
use walt_proto::api::route;

/// The command.
pub const COMMAND: Command = Command {
    name: "boot",
    about: "Boots nodes on an image.\nThe image is one of yours, or the word 'default' for the default image of the \
        model of each node. All nodes of the set are rebooted.",
    example: "$ walt node boot n1,n2 my-image\n\
        Nodes n1 and n2 will now boot my-image.\n\
        Nodes n1 and n2: rebooted ok.",
    positionals: &[
        Positional::required("node_set", Kind::NodeSet),
        Positional::required("image_name_or_default", Kind::ImageOrDefault),
    ],
    switches: &[YES],
    topics: &["image", "node-ownership"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    spinner::set_default_label("Rebooting");
    let server = server()?;
    follow(with_consent(yes(args), |confirmed| {
        let request = BootNodes {
            set: args.positional(0).to_owned(),
            image: args.positional(1).to_owned(),
            confirmed,
        };
        server.events(route::NODES_BOOT, &request)
    })?)
}
