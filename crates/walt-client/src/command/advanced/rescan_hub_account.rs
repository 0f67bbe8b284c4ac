//! `walt advanced rescan-hub-account`: an older name of `update-hub-meta`.

use super::update_hub_meta;
use crate::grammar::Command;

/// The command.
pub const COMMAND: Command = Command {
    name: "rescan-hub-account",
    about: "Does the same as update-hub-meta.",
    example: "$ walt advanced rescan-hub-account",
    switches: update_hub_meta::SWITCHES,
    topics: &["registries"],
    run: update_hub_meta::run,
    ..Command::NEW
};
