//! `walt image duplicate`

use crate::command::server;
use crate::failure::Outcome;
use crate::grammar::{Args, Command, Kind, Positional};
use walt_proto::api::image::history::NewImageName;
use walt_proto::api::{Empty, route};

/// The command.
pub const COMMAND: Command = Command {
    name: "duplicate",
    about: "Gives one of your images a second name.\n\
        From then on both are changed independently. Nothing is copied: this takes no time and no space.",
    example: "$ walt image duplicate pc-x86-64-default my-image",
    positionals: &[
        Positional::required("image_name", Kind::Image),
        Positional::required("new_image_name", Kind::Text("NEW_IMAGE_NAME")),
    ],
    topics: &["image"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let request = NewImageName { new_name: args.positional(1).to_owned() };
    let path = route::fill(route::IMAGE_DUPLICATE, args.positional(0));
    let Empty {} = server()?.post(&path, &request)?;
    Ok(0)
}
