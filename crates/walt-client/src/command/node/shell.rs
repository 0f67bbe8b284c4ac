//! `walt node shell`

use super::{booted_nodes, single};
use crate::command::{server, yes};
use crate::failure::Outcome;
use crate::grammar::{Args, Command, Kind, Positional, YES};
use crate::output;
use crate::session::{self, Input};
use walt_proto::api::{route, session as api};

/// The command.
pub const COMMAND: Command = Command {
    name: "shell",
    about: "Opens a shell on a node, as root.\nWhat you change there, except in /persist, is forgotten at the next \
        reboot.",
    example: "$ walt node shell n1\nroot@n1:~# exit",
    positionals: &[Positional::required("node_name", Kind::Node)],
    switches: &[YES],
    topics: &["shells"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let server = server()?;
    let node = single(booted_nodes(&server, args.positional(0), yes(args))?)?;
    output::line("Caution: changes outside /persist will be lost at next node reboot.");
    output::line("Run `walt help show shells` for more info.");
    output::line("");
    let path = route::fill(route::NODE_EXEC, &node.name);
    let start = session::start(api::Command::Shell, session::our_tty(), true);
    // In a terminal, ssh itself says at the end that its connection is closed.
    session::run(&server, &path, start, Input::Stdin)
}
