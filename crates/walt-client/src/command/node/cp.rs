//! `walt node cp`

use super::booted_nodes;
use crate::command::{server, yes};
use crate::failure::{Failure, Outcome};
use crate::gate::with_consent;
use crate::grammar::{Args, Command, Kind, Positional, YES};
use crate::operation::follow;
use crate::server::Server;
use crate::transfer::copy::{Remote, local_place};
use crate::transfer::plan::Operand;
use walt_proto::api::image::files::FilesToImage;
use walt_proto::api::route;
use walt_proto::api::transfer::PathKind;

/// The command.
pub const COMMAND: Command = Command {
    name: "cp",
    about: "Copies files and directories from or to a node.\nPaths of the node start at /root unless they are \
        absolute.\nTo `booted-image`, a path of the node is copied to the same place in the image it boots.",
    example: "$ walt node cp config.txt n1:/persist/\n$ walt node cp n1:/var/log ./logs-of-n1\n$ walt node cp n1:/etc/motd booted-image",
    usage: &[
        "[SWITCHES] <local-path> <node>:<path>",
        "[SWITCHES] <node>:<path> <local-path>",
        "[SWITCHES] <node>:<path> booted-image",
    ],
    positionals: &[
        Positional::required("src", Kind::NodeCpSource),
        Positional::required("dst", Kind::NodeCpDestination),
    ],
    switches: &[YES],
    topics: &["node-cp"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let (source, destination) =
        (Operand::parse(args.positional(0)), Operand::parse(args.positional(1)));
    match (source, destination) {
        (Operand::Local(local), Operand::Remote { node, path }) => {
            let server = server()?;
            let source = local_place(&local);
            if source.kind == PathKind::Missing {
                return Err(Failure::plain(format!("No such file or directory: {local}")));
            }
            let node = one_node(&server, &node, yes(args))?;
            let (source, plan) = remote(&server, &node).to(&source, &path)?;
            source.send(&plan.name, |data| {
                server.upload(&remote(&server, &node).files(plan.upload_directory(), None), data)
            })?;
            Ok(0)
        }
        (Operand::Remote { node, path }, Operand::Local(local)) => {
            let server = server()?;
            let node = one_node(&server, &node, yes(args))?;
            remote(&server, &node).fetch(&path, &local_place(&local))
        }
        (Operand::BootedImage, _) => {
            Err(Failure::plain("'booted-image' can only be the destination of a copy from a node."))
        }
        (Operand::Remote { node, path }, Operand::BootedImage) => {
            let server = server()?;
            let node = one_node(&server, &node, yes(args))?;
            let route = route::fill(route::NODE_FILES_TO_IMAGE, &node);
            follow(with_consent(yes(args), |confirmed| {
                server.events(&route, &FilesToImage { path: path.clone(), confirmed })
            })?)
        }
        _ => Err(Failure::plain(
            "One operand must be on a node, the other one local.\n\
             Usage: walt node cp <local-path> <node>:<path>\n\
             \x20   or: walt node cp <node>:<path> <local-path>\n\
             \x20   or: walt node cp <node>:<path> booted-image",
        )),
    }
}

fn one_node(server: &Server, name: &str, yes: bool) -> Result<String, Failure> {
    Ok(super::single(booted_nodes(server, name, yes)?)?.name)
}

fn remote<'a>(server: &'a Server, node: &'a str) -> Remote<'a> {
    Remote { server, path: route::NODE_PATH, files: route::NODE_FILES, name: node }
}
