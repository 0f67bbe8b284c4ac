//! `walt image cp`

use super::find;
use crate::command::{server, yes};
use crate::failure::{Failure, Outcome};
use crate::grammar::{Args, Command, Kind, Positional, YES};
use crate::operation::follow;
use crate::output;
use crate::server::Server;
use crate::terminal::confirm::confirm;
use crate::terminal::spinner::Spinner;
use crate::transfer::copy::{Remote, local_place};
use crate::transfer::plan::{Operand, Place};
use ureq::http::Method;
use walt_proto::api::route;
use walt_proto::api::transfer::PathKind;

/// The command.
pub const COMMAND: Command = Command {
    name: "cp",
    about: "Copies files and directories from or to an image.\nPaths of the image start at /root unless they are \
        absolute. Nodes that boot the image are rebooted.",
    example: "$ walt image cp my-image:/etc/hosts .\n$ walt image cp sensors.py my-image:/usr/local/bin/\n\
        Image my-image updated.",
    usage: &["[SWITCHES] <local-path> <image>:<path>", "[SWITCHES] <image>:<path> <local-path>"],
    positionals: &[
        Positional::required("src", Kind::ImageCpSource),
        Positional::required("dst", Kind::ImageCpDestination),
    ],
    switches: &[YES],
    topics: &["image-cp"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let (source, destination) =
        (Operand::parse(args.positional(0)), Operand::parse(args.positional(1)));
    match (source, destination) {
        (Operand::Local(local), Operand::Remote { node: image, path }) => {
            let source = local_place(&local);
            if source.kind == PathKind::Missing {
                return Err(Failure::plain(format!("No such file or directory: {local}")));
            }
            upload(&server()?, &image, &source, &path, yes(args))
        }
        (Operand::Remote { node: image, path }, Operand::Local(local)) => {
            let server = server()?;
            remote(&server, &image).fetch(&path, &local_place(&local))
        }
        (Operand::BootedImage, _) | (_, Operand::BootedImage) => Err(Failure::plain(
            "'booted-image' is for `walt node cp`: here images are given by name. \
             (tip: walt image show)",
        )),
        _ => Err(Failure::plain(
            "One operand must be in an image, the other one local.\n\
             Usage: walt image cp <local-path> <image>:<path>\n\
             \x20   or: walt image cp <image>:<path> <local-path>",
        )),
    }
}

fn remote<'a>(server: &'a Server, image: &'a str) -> Remote<'a> {
    Remote { server, path: route::IMAGE_PATH, files: route::IMAGE_FILES, name: image }
}

fn upload(server: &Server, image: &str, source: &Place, path: &str, yes: bool) -> Outcome {
    let remote = remote(server, image);
    let (source, plan) = remote.to(source, path)?;
    let nodes = find(server, image)?.used_by.len();
    if nodes > 0 {
        let boot = if nodes == 1 { "node boots" } else { "nodes boot" };
        output::error(&format!("Warning: {nodes} {boot} this image and will be rebooted."));
        confirm(yes)?;
    }
    let route = remote.files(plan.upload_directory(), None);
    follow(source.send(&plan.name, |data| {
        server.upload_events(Method::PUT, &route, data, Spinner::start())
    })?)
}
