//! `walt advanced update-default-images`

use crate::account::{Missing, with_accounts};
use crate::command::server;
use crate::failure::Outcome;
use crate::grammar::{Args, Command};
use crate::operation::follow;
use crate::output;
use crate::terminal::spinner;
use walt_proto::api::image::registry::UpdateDefaults;
use walt_proto::api::route;

/// The command.
pub const COMMAND: Command = Command {
    name: "update-default-images",
    about: "Replaces default images by newer ones found on registries.\nNodes that boot an updated image are rebooted.",
    example: "$ walt advanced update-default-images\n\
        Checking remote registries...\n\
        No updates available.",
    topics: &["registries", "image"],
    run,
    ..Command::NEW
};

fn run(_args: &Args) -> Outcome {
    spinner::set_default_label("Searching");
    let server = server()?;
    output::line("Checking remote registries...");
    with_accounts(Missing::LeaveOut, |given| {
        let request =
            UpdateDefaults { accounts: given.accounts.clone(), without: given.without.clone() };
        follow(server.events(route::IMAGES_UPDATE_DEFAULTS, &request)?)
    })
}
