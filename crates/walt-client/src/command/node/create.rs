//! `walt node create`

use crate::command::server;
use crate::failure::{Failure, Outcome};
use crate::grammar::{Args, Command, Kind, Positional, Switch};
use crate::operation::follow;
use walt_model::DeviceName;
use walt_proto::api::node::{CreateNode, Firmware};
use walt_proto::api::route;

/// The command.
pub const COMMAND: Command = Command {
    name: "create",
    about: "Creates a virtual node, which starts at once.\nIt boots your clone of the default image, unless you give \
        another one.",
    example: "$ walt node create n1\n\
        Node n1 is now booting your image \"pc-x86-64-default\".\n\
        $ walt node wait n1",
    positionals: &[Positional::required("node_name", Kind::Text("NODE_NAME"))],
    switches: &[
        Switch::value("cpu-cores", Kind::Integer("CORES"), "number of CPU cores"),
        Switch {
            default: "none",
            ..Switch::value("disks", Kind::Text("DISKS"), "local disks, as 8G[template=ext4],20G")
        },
        Switch {
            default: "bios",
            ..Switch::value("firmware", Kind::Choice("FIRMWARE", &["bios", "uefi"]), "bios or uefi")
        },
        Switch::value(
            "image",
            Kind::Image,
            "one of your images, instead of your clone of the default one",
        ),
        Switch::value("ram", Kind::Text("RAM"), "memory, as 512M or 1G"),
    ],
    topics: &["node", "node-config", "boot-report"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let name: DeviceName = args
        .positional(0)
        .parse()
        .map_err(|error: walt_model::names::DeviceNameError| Failure::plain(error.to_string()))?;
    let firmware = match args.value("firmware") {
        None => Firmware::default(),
        Some(word) => word.parse().map_err(Failure::plain)?,
    };
    let cpu_cores = match args.integer("cpu-cores") {
        None => None,
        Some(cores) => Some(
            u32::try_from(cores)
                .ok()
                .filter(|cores| *cores > 0)
                .ok_or_else(|| Failure::plain(format!("A node cannot have {cores} CPU cores.")))?,
        ),
    };
    let request = CreateNode {
        name: name.to_string(),
        firmware,
        image: args.value("image").map(str::to_owned),
        ram: args.value("ram").map(str::to_owned),
        cpu_cores,
        disks: args.value("disks").map(str::to_owned),
    };
    let events = server()?.events(route::NODES, &request)?;
    events.set_label("Registering virtual node");
    follow(events)
}
