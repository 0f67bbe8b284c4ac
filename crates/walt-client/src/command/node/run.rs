//! `walt node run`

use super::booted_nodes;
use crate::command::{server, yes};
use crate::failure::Outcome;
use crate::grammar::{Args, Command, Kind, Positional, Switch, YES};
use crate::session::{self, Input};
use crate::{output, terminal};
use walt_proto::api::route;
use walt_proto::api::session as api;

/// The command.
pub const COMMAND: Command = Command {
    name: "run",
    about: "Runs a command on nodes.\n\
        On one node, the exit status is that of the command, and it reads your standard input. On several nodes, it \
        runs on one after the other, and the exit status is 1 if it failed somewhere.\n\
        Options of walt come before the command: those after it are its own.",
    example: "$ walt node run n1 hostname\nn1\n$ walt node run my-nodes ls -l /persist",
    positionals: &[
        Positional::required("node_set", Kind::NodeSet),
        Positional::variable("cmdargs", Kind::Text("COMMAND")),
    ],
    switches: &[Switch::flag("term", "run the command in a terminal"), YES],
    topics: &["shells"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let server = server()?;
    let nodes = booted_nodes(&server, args.positional(0), yes(args))?;
    let several = nodes.len() > 1;
    let words = args.rest(1);
    let command =
        if words.is_empty() { api::Command::Shell } else { api::Command::Line(words.join(" ")) };
    let tty = || args.flag("term").then(session::our_tty).flatten();
    let mut failed = 0;
    for node in &nodes {
        if several {
            output::error(&title(&node.name));
        }
        let path = route::fill(route::NODE_EXEC, &node.name);
        let start = session::start(command.clone(), tty(), true);
        let input = if several { Input::Empty } else { Input::Stdin };
        let outcome = session::run(&server, &path, start, input);
        if !several {
            return outcome;
        }
        match outcome {
            Ok(0) => {}
            Ok(status) => {
                output::error(&format!(
                    "Node {}: the command ended with status {status}.",
                    node.name
                ));
                failed += 1;
            }
            Err(failure) => {
                output::error(&format!("Node {}: {failure}", node.name));
                failed += 1;
            }
        }
    }
    if failed > 0 {
        output::error(&format!("The command failed on {failed} of {} nodes.", nodes.len()));
        return Ok(1);
    }
    Ok(0)
}

/// Says whose output follows, without mixing with it: on standard error.
fn title(name: &str) -> String {
    if terminal::has_styles() { format!("\x1b[1m--- {name}\x1b[0m") } else { format!("--- {name}") }
}
