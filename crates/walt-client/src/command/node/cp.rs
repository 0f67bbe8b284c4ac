//! `walt node cp`

use super::booted_nodes;
use crate::command::{server, yes};
use crate::failure::{Failure, Outcome};
use crate::grammar::{Args, Command, Kind, Positional, YES};
use crate::server::{Server, query};
use crate::terminal::{self, signals, spinner::Spinner};
use crate::transfer::plan::{Operand, Place, Plan, parent, plan, trimmed};
use crate::transfer::receive::unpack;
use crate::transfer::send::TarStream;
use crate::{output, server as connection};
use std::fs;
use std::path::Path;
use walt_proto::api::route;
use walt_proto::api::transfer::{PathInfo, PathKind};

/// The command.
pub const COMMAND: Command = Command {
    name: "cp",
    about: "Copies files and directories from or to a node.\nPaths of the node start at /root unless they are \
        absolute.",
    example: "$ walt node cp config.txt n1:/persist/\n$ walt node cp n1:/var/log ./logs-of-n1",
    usage: &["[SWITCHES] <local-path> <node>:<path>", "[SWITCHES] <node>:<path> <local-path>"],
    positionals: &[
        Positional::required("src", Kind::NodeCpSource),
        Positional::required("dst", Kind::NodeCpDestination),
    ],
    switches: &[YES],
    topics: &["node-cp"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let (source, destination) =
        (Operand::parse(args.positional(0)), Operand::parse(args.positional(1)));
    match (source, destination) {
        (Operand::Local(local), Operand::Remote { node, path }) => {
            let server = server()?;
            let source = local_place(&local);
            if source.kind == PathKind::Missing {
                return Err(Failure::plain(format!("No such file or directory: {local}")));
            }
            upload(&server, &one_node(&server, &node, yes(args))?, &source, &path)
        }
        (Operand::Remote { node, path }, Operand::Local(local)) => {
            let server = server()?;
            download(&server, &one_node(&server, &node, yes(args))?, &path, &local_place(&local))
        }
        (Operand::BootedImage, _) => {
            Err(Failure::plain("'booted-image' can only be the destination of a copy from a node."))
        }
        (Operand::Remote { .. }, Operand::BootedImage) => Err(Failure::plain(
            "Copying to 'booted-image' is not available in this version. \
             (tip: walt help show known-gaps)",
        )),
        _ => Err(Failure::plain(
            "One operand must be on a node, the other one local.\n\
             Usage: walt node cp <local-path> <node>:<path>\n\
             \x20   or: walt node cp <node>:<path> <local-path>",
        )),
    }
}

fn one_node(server: &Server, name: &str, yes: bool) -> Result<String, Failure> {
    Ok(super::single(booted_nodes(server, name, yes)?)?.name)
}

fn upload(server: &Server, node: &str, source: &Place, path: &str) -> Outcome {
    let plan = checked(source, &remote_place(server, node, path)?)?;
    let file = Path::new(trimmed(&source.path)).to_owned();
    let file = if source.path.is_empty() { Path::new(".").to_owned() } else { file };
    let mut stream = TarStream::new(&file, &plan.name)
        .map_err(|error| Failure::plain(format!("Cannot read {}: {error}.", source.path)))?;
    let directory = if plan.directory == "." { "" } else { &plan.directory };
    transferring(|| server.upload(&files_route(node, directory, None), &mut stream))
}

fn download(server: &Server, node: &str, path: &str, destination: &Place) -> Outcome {
    let source = remote_place(server, node, path)?;
    let plan = checked(&source, destination)?;
    let directory = Path::new(&plan.directory);
    let target = directory.join(&plan.name);
    if destination.kind == PathKind::Missing {
        signals::set_unfinished(Some(target));
    }
    let outcome = transferring(|| {
        let path = if source.path.is_empty() { path } else { &source.path };
        let stream = server.download(&files_route(node, path, Some(&plan.name)))?;
        unpack(stream, directory, &plan.name).map_err(|error| failed(&error))
    });
    if outcome.is_ok() {
        signals::set_unfinished(None);
    } else {
        signals::remove_unfinished();
    }
    outcome
}

/// A stream that ends too early was cut by the server: it lost the node, or the files became unreadable there.
fn failed(error: &std::io::Error) -> Failure {
    let cut = error.get_ref().is_some_and(|inner| inner.is::<ureq::Error>())
        || error.kind() == std::io::ErrorKind::UnexpectedEof;
    Failure::plain(if cut {
        "The transfer was cut before its end: the node stopped answering, or could not read a file. \
         (tip: walt node show)"
            .to_owned()
    } else {
        format!("The transfer failed: {error}.")
    })
}

fn files_route(node: &str, path: &str, name: Option<&str>) -> String {
    let pairs = [("path", Some(path)), ("name", name), ("confirmed", Some("true"))];
    format!("{}{}", route::fill(route::NODE_FILES, node), query(&pairs))
}

fn checked(source: &Place, destination: &Place) -> Result<Plan, Failure> {
    plan(source, destination).map_err(Failure::Plain)
}

/// Shows that something goes on, on a terminal.
fn transferring(work: impl FnOnce() -> Result<(), Failure>) -> Outcome {
    let spinner = Spinner::start();
    spinner.set_label("Transferring");
    let result = work();
    drop(spinner);
    result?;
    if terminal::is_interactive() {
        output::line("Transferring... done");
    }
    Ok(0)
}

fn remote_place(server: &connection::Server, node: &str, path: &str) -> Result<Place, Failure> {
    let pairs = [("path", Some(path)), ("confirmed", Some("true"))];
    let info: PathInfo =
        server.get(&format!("{}{}", route::fill(route::NODE_PATH, node), query(&pairs)))?;
    Ok(Place { path: path.to_owned(), kind: info.kind, parent: info.parent })
}

fn local_place(path: &str) -> Place {
    let kind = |path: &Path| match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => PathKind::Dir,
        Ok(metadata) if metadata.is_file() => PathKind::File,
        Ok(_) => PathKind::Other,
        Err(_) => PathKind::Missing,
    };
    let place = if path.is_empty() { "." } else { path };
    Place {
        path: path.to_owned(),
        kind: kind(Path::new(place)),
        parent: kind(Path::new(parent(place))),
    }
}
