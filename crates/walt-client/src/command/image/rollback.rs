//! `walt image rollback`

use crate::command::{server, yes};
use crate::failure::Outcome;
use crate::gate::with_consent;
use crate::grammar::{Args, Command, Kind, Positional, Switch, YES};
use crate::operation::follow;
use walt_proto::api::image::history::RollbackImage;
use walt_proto::api::route;

/// The command.
pub const COMMAND: Command = Command {
    name: "rollback",
    about: "Brings an earlier version of one of your images back.\n\
        What the image was until then stays in its history, so that a rollback can be undone too. Nodes that boot \
        the image are rebooted, after a confirmation.",
    example: "$ walt image rollback --version 3 my-image\n\
        Image my-image is again what it was as version 3.",
    positionals: &[Positional::required("image_name", Kind::Image)],
    switches: &[
        Switch::value(
            "version",
            Kind::Integer("N"),
            "number of the version, as `walt image history` shows it; the one before the current one if not given",
        ),
        YES,
    ],
    topics: &["image-history"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let version = match args.value("version") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| {
            crate::failure::Failure::plain(format!(
                "There is no version {text}: they are numbered from 1."
            ))
        })?),
    };
    let server = server()?;
    let path = route::fill(route::IMAGE_ROLLBACK, args.positional(0));
    follow(with_consent(yes(args), |confirmed| {
        server.events(&path, &RollbackImage { version, confirmed })
    })?)
}
