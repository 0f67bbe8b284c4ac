//! `walt node show`

use super::boot_report;
use crate::command::image::short_name;
use crate::command::server;
use crate::failure::{Failure, Outcome};
use crate::grammar::{Args, Command, JSON, Kind, Switch};
use crate::output;
use walt_proto::api::node::{Node, NodeKind, Ownership};
use walt_proto::api::route;

/// The command.
pub const COMMAND: Command = Command {
    name: "show",
    about: "Displays nodes: yours, or all of them with --all.\n\
        With --boot, tells how the last boot of one node went, stage by stage.",
    example: "$ walt node show\n\
        name  type     model      image              ip             netsetup  booted\n\
        ----  -------  ---------  -----------------  -------------  --------  ------\n\
        n1    virtual  pc-x86-64  pc-x86-64-default  192.168.152.2  LAN       yes",
    switches: &[
        Switch::flag("all", "also show free nodes and nodes of other users"),
        Switch {
            excludes: &["all", "names-only"],
            ..Switch::value("boot", Kind::Node, "tell how the last boot of this node went")
        },
        JSON,
        Switch::flag("names-only", "print names, one per line, and nothing else"),
    ],
    topics: &["node", "node-ownership", "boot-report"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let server = server()?;
    if let Some(node) = args.value("boot") {
        return boot_report::show(&server, node, args.flag("json"));
    }
    let (all, names_only) = (args.flag("all"), args.flag("names-only"));
    if names_only && args.flag("json") {
        return Err(Failure::plain("Options --json and --names-only cannot be used together."));
    }
    let mut nodes: Vec<Node> = server.get(route::NODES)?;
    nodes.sort_by(|a, b| (&a.owner, &a.name).cmp(&(&b.owner, &b.name)));
    let total = nodes.len();
    nodes.retain(|node| all || node.ownership == Ownership::Own);
    if args.flag("json") {
        output::json(&nodes)?;
    } else if names_only {
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes.iter().for_each(|node| output::line(&node.name));
    } else {
        show(&nodes, all, total);
    }
    Ok(0)
}

fn show(nodes: &[Node], all: bool, total: usize) {
    let section =
        |title: &str, header: &[&str], set: Ownership, row: &dyn Fn(&Node) -> Vec<String>| {
            let rows: Vec<Vec<String>> =
                nodes.iter().filter(|node| node.ownership == set).map(row).collect();
            if !rows.is_empty() {
                output::section(title, header, &rows, None);
            }
            rows.len()
        };
    let own = section(
        "The following nodes are yours:",
        &["name", "type", "model", "image", "ip", "netsetup", "booted"],
        Ownership::Own,
        &|node| row(node, vec![short_name(&node.image).to_owned()]),
    );
    let free = section(
        "The following nodes are free:",
        &["name", "type", "model", "ip", "netsetup", "booted"],
        Ownership::Free,
        &|node| row(node, vec![]),
    );
    let foreign = section(
        "The following nodes are used by other users:",
        &[
            "name",
            "type",
            "model",
            "image-owner",
            "clonable-image-link",
            "ip",
            "netsetup",
            "booted",
        ],
        Ownership::Foreign,
        &|node| {
            let name = short_name(&node.image);
            row(node, vec![node.owner.clone(), format!("walt:{}/{name}", node.owner)])
        },
    );
    if total == 0 {
        output::line("There is no node yet: create a virtual one with `walt node create <name>`.");
    } else if !all {
        if own == 0 {
            output::line("You own no node yet.");
        }
        output::line("Use --all to see all nodes of the platform.");
    } else if free + foreign == 0 {
        output::line("There are no other nodes.");
    }
    output::line("See 'walt help show node-ownership' for help about node ownership.");
}

fn row(node: &Node, image: Vec<String>) -> Vec<String> {
    let kind = match node.kind {
        NodeKind::Physical => "physical",
        NodeKind::Virtual => "virtual",
        NodeKind::Vpn => "vpn",
        NodeKind::Other => "other",
    };
    let booted = match (node.booted, node.powersave) {
        (true, _) => "yes",
        (false, true) => "no (powersave)",
        (false, false) => "NO",
    };
    let mut cells = vec![node.name.clone(), kind.to_owned(), node.model.clone()];
    cells.extend(image);
    cells.push(node.ip.clone().unwrap_or_default());
    cells.push(node.netsetup.to_string());
    cells.push(booted.to_owned());
    cells
}
