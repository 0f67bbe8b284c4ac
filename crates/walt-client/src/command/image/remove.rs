//! `walt image remove`

use crate::command::server;
use crate::failure::Outcome;
use crate::grammar::{Args, Command, Kind, Positional};
use walt_proto::api::{Empty, route};

/// The command.
pub const COMMAND: Command = Command {
    name: "remove",
    about: "Removes one of your images, with its history.\n\
        An image that nodes boot cannot be removed. Other images that share its content stay as they are.",
    example: "$ walt image remove my-image",
    positionals: &[Positional::required("image_name", Kind::Image)],
    topics: &["image", "image-history"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let Empty {} = server()?.delete(&route::fill(route::IMAGE, args.positional(0)))?;
    Ok(0)
}
