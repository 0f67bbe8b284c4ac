//! `walt advanced fix-image-owner`

use crate::command::server;
use crate::failure::{Failure, Outcome};
use crate::grammar::{Args, Command, Kind, Positional, Switch};
use crate::output;
use walt_proto::api::image::history::{TakeOver, TakenOver};
use walt_proto::api::route;

const SURE: &str = "yes-i-know-do-it-please";

/// The command.
pub const COMMAND: Command = Command {
    name: "fix-image-owner",
    about: "Makes all images of another user yours, with their history.\n\
        For somebody who left, or who has another user name now. When the other user still has an account on the \
        server, only the administrator (root) may do this.",
    example: "$ walt advanced fix-image-owner --yes-i-know-do-it-please alice\n\
        Image my-image now belongs to you.",
    positionals: &[Positional::required("other_user", Kind::Text("USER"))],
    switches: &[Switch::flag(SURE, "do it")],
    topics: &["image"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let user = args.positional(0).to_owned();
    if !args.flag(SURE) {
        let shown = output::printable(&user);
        output::line(&format!(
            "This makes all images of user '{shown}' yours: '{shown}' no longer has them.\n\
             If that is what you want, type:\n\
             walt advanced fix-image-owner --{SURE} {shown}"
        ));
        return Err(Failure::Said(1));
    }
    let taken: TakenOver = server()?.post(route::IMAGES_TAKE_OVER, &TakeOver { user })?;
    taken.images.iter().for_each(|name| output::line(&format!("Image {name} now belongs to you.")));
    Ok(0)
}
