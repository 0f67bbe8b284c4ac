//! `walt node save`

use crate::command::node::{selected_nodes, single};
use crate::command::{server, yes};
use crate::failure::{Failure, Outcome};
use crate::gate::with_consent;
use crate::grammar::{Args, Command, Kind, Positional, YES};
use crate::operation::follow;
use crate::output;
use crate::terminal::spinner;
use walt_proto::api::node::SaveNode;
use walt_proto::api::route;

/// The command.
pub const COMMAND: Command = Command {
    name: "save",
    about: "Saves what changed on a node as an image.\nThe image is the one the node booted, and one layer more: files \
        made, changed and removed since the node is booted. The node goes on running. If the image exists it is \
        replaced, and the nodes that boot it are rebooted.",
    example: "$ walt node save n1 my-image\n\
        ** Reading what changed on node n1\n\
        42 files and directories changed (1048576 bytes), 2 removed.\n\
        ** Verifying the image\n\
        OK",
    positionals: &[
        Positional::required("node_name", Kind::Node),
        Positional::required("image_name", Kind::Image),
    ],
    switches: &[YES],
    topics: &["node-save", "image", "node-ownership"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    spinner::set_default_label("Saving");
    let server = server()?;
    let node = single(selected_nodes(&server, args.positional(0), yes(args))?)?;
    let path = route::fill(route::NODE_SAVE, &node.name);
    let events = with_consent(yes(args), |overwrite| {
        let image = args.positional(1).to_owned();
        // The gate was passed above.
        server.events(&path, &SaveNode { image, confirmed: true, overwrite })
    })?;
    follow(events).inspect_err(|failure| {
        if matches!(failure, Failure::Server(_)) {
            output::error("Sorry, image build FAILED.");
            output::print("See 'walt help show node-save' for more info.\n");
        }
    })
}
