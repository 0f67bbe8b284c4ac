//! `walt image clone`

use crate::account::{Missing, with_accounts};
use crate::command::server;
use crate::failure::Outcome;
use crate::grammar::{Args, Command, Kind, Positional, Switch};
use crate::operation::follow;
use crate::terminal::spinner;
use walt_proto::api::image::registry::CloneImage;
use walt_proto::api::route;

/// The command.
pub const COMMAND: Command = Command {
    name: "clone",
    about: "Clones an image into your working set.\n\
        The link tells where it is: with other users or among the default images (walt:), in the docker daemon of the \
        server (docker:), or in a registry. `walt image search` finds links. Without a name, the clone is called as the \
        original. An image of yours of that name is replaced only with --force; nodes that boot it are rebooted then. \
        An interrupted download goes on where it stopped when the command is given again.",
    example: "$ walt image clone walt:waltplatform/pc-x86-64-default my-image\n\
        Image \"my-image\" was cloned successfully (cf. walt image show).",
    positionals: &[
        Positional::required("clonable_image_link", Kind::CloneLink),
        Positional::optional("image_name", Kind::Text("TARGET_IMAGE_NAME"), "None"),
    ],
    switches: &[Switch::flag("force", "replace the image of that name, if there is one")],
    topics: &["image-clone", "registries"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    spinner::set_default_label("Validating / Cloning");
    let server = server()?;
    let name = Some(args.positional(1).to_owned()).filter(|name| !name.is_empty());
    with_accounts(Missing::Ask, |given| {
        let request = CloneImage {
            link: args.positional(0).to_owned(),
            name: name.clone(),
            force: args.flag("force"),
            accounts: given.accounts.clone(),
        };
        follow(server.events(route::IMAGES_CLONE, &request)?)
    })
}
