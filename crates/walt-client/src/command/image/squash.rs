//! `walt image squash`

use crate::command::{server, yes};
use crate::failure::Outcome;
use crate::gate::with_consent;
use crate::grammar::{Args, Command, Kind, Positional, YES};
use crate::operation::follow;
use walt_proto::api::image::build::Squash;
use walt_proto::api::route;

/// The command.
pub const COMMAND: Command = Command {
    name: "squash",
    about: "Squashes all layers of an image into one.\n\
        Files, labels and configuration stay. Images of 128 layers or more have to be squashed before they can be \
        changed again.",
    example: "$ walt image squash my-image\nImage was squashed successfully.",
    positionals: &[Positional::required("image_name", Kind::Image)],
    switches: &[YES],
    topics: &["image"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let server = server()?;
    let path = route::fill(route::IMAGE_SQUASH, args.positional(0));
    let events = with_consent(yes(args), |confirmed| server.events(&path, &Squash { confirmed }))?;
    follow(events)
}
