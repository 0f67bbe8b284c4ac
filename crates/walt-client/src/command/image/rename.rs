//! `walt image rename`

use crate::command::server;
use crate::failure::Outcome;
use crate::grammar::{Args, Command, Kind, Positional};
use walt_proto::api::image::history::NewImageName;
use walt_proto::api::{Empty, route};

/// The command.
pub const COMMAND: Command = Command {
    name: "rename",
    about: "Renames one of your images.\nIts history follows. An image that nodes boot cannot be renamed.",
    example: "$ walt image rename my-image experiment-2:v1",
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
    let path = route::fill(route::IMAGE_RENAME, args.positional(0));
    let Empty {} = server()?.post(&path, &request)?;
    Ok(0)
}
