//! `walt advanced update-hub-meta`

use crate::account::{Missing, with_accounts};
use crate::command::server;
use crate::failure::{Failure, Outcome};
use crate::grammar::{Args, Command, Switch};
use crate::operation::follow;
use crate::output;
use crate::terminal::spinner;
use walt_proto::api::image::registry::{RegistryInfo, UpdateHubMeta};
use walt_proto::api::route;

/// The command.
pub const COMMAND: Command = Command {
    name: "update-hub-meta",
    about: "Makes images you pushed on the Docker Hub without WalT known to searches.\nIt reads the labels of all \
        images of your account there, and rebuilds the image walt_metadata that lists them.",
    example: "$ walt advanced update-hub-meta",
    switches: SWITCHES,
    topics: &["registries"],
    run,
    ..Command::NEW
};

/// Its options.
pub const SWITCHES: &[Switch] = &[Switch::flag(
    "waltplatform-user",
    "the account waltplatform instead of yours (for developers)",
)];

/// Carries it out.
///
/// # Errors
/// Those of the server; the hub is not a registry of this platform.
pub fn run(args: &Args) -> Outcome {
    spinner::set_default_label("Searching");
    let server = server()?;
    let registries: Vec<RegistryInfo> = server.get(route::REGISTRIES)?;
    if !registries.iter().any(|registry| registry.label == "hub") {
        output::line("The Docker Hub is not a registry of this platform.");
        return Err(Failure::Said(1));
    }
    with_accounts(Missing::Ask, |given| {
        let request = UpdateHubMeta {
            platform: args.flag("waltplatform-user"),
            accounts: given.accounts.clone(),
        };
        follow(server.events(route::IMAGES_UPDATE_HUB_META, &request)?)
    })
}
