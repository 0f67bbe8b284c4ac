//! `walt device show`

use crate::command::server;
use crate::failure::Outcome;
use crate::grammar::{Args, Command, JSON};
use crate::output;
use walt_proto::api::device::{Device, DeviceKind};
use walt_proto::api::node::NodeKind;
use walt_proto::api::route;

/// The command.
pub const COMMAND: Command = Command {
    name: "show",
    about: "Displays all devices of the platform network.\nNodes, switches, the server, and anything else that asked \
        for an address.",
    example: "$ walt device show",
    switches: &[JSON],
    topics: &["networks"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let mut devices: Vec<Device> = server()?.get(route::DEVICES)?;
    if args.flag("json") {
        output::json(&devices)?;
        return Ok(0);
    }
    devices.sort_by(|a, b| (kind(a), &a.name).cmp(&(kind(b), &b.name)));
    let (unknown, known): (Vec<&Device>, Vec<&Device>) =
        devices.iter().partition(|device| device.kind == DeviceKind::Unknown);
    let (header, rows) = table(&known);
    output::section(
        "The following devices are part of the platform network:",
        &header,
        &rows,
        None,
    );
    if !unknown.is_empty() {
        let (header, rows) = table(&unknown);
        output::section("The type of these devices is not known:", &header, &rows, None);
    }
    Ok(0)
}

fn kind(device: &Device) -> &'static str {
    match (device.kind, device.node_type) {
        (DeviceKind::Server, _) => "server",
        (DeviceKind::Switch, _) => "switch",
        (DeviceKind::Unknown | DeviceKind::Other, _) => "unknown",
        (DeviceKind::Node, Some(NodeKind::Physical)) => "node (physical)",
        (DeviceKind::Node, Some(NodeKind::Virtual)) => "node (virtual)",
        (DeviceKind::Node, Some(NodeKind::Vpn)) => "node (vpn)",
        (DeviceKind::Node, _) => "node",
    }
}

/// Columns that would be empty are left out.
fn table(devices: &[&Device]) -> (Vec<&'static str>, Vec<Vec<String>>) {
    let header = ["name", "ip", "mac", "type", "netsetup"];
    let cells = |device: &&Device| -> Vec<String> {
        vec![
            device.name.clone(),
            device.ip.clone().unwrap_or_default(),
            device.mac.clone().unwrap_or_default(),
            kind(device).to_owned(),
            device.netsetup.map(|setup| setup.to_string()).unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = devices.iter().map(cells).collect();
    let used: Vec<usize> = (0..header.len())
        .filter(|&column| rows.iter().any(|row| !row[column].is_empty()))
        .collect();
    let keep = |row: &Vec<String>| used.iter().map(|&column| row[column].clone()).collect();
    (used.iter().map(|&column| header[column]).collect(), rows.iter().map(keep).collect())
}
