//! `walt node deploy`: another word for `walt node boot`.

use super::boot;
use crate::grammar::Command;

/// The command.
pub const COMMAND: Command = Command {
    name: "deploy",
    about: "Boots nodes on an image.\nThe same as 'walt node boot'.",
    example: "$ walt node deploy n1,n2 my-image\n\
        Nodes n1 and n2 will now boot my-image.\n\
        Nodes n1 and n2: rebooted ok.",
    ..boot::COMMAND
};
