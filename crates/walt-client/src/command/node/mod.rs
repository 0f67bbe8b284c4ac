//! `walt node ...`

pub mod acquire;
pub mod boot;
mod boot_report;
pub mod config;
pub mod console;
pub mod cp;
pub mod create;
pub mod deploy;
pub mod ping;
pub mod reboot;
pub mod release;
pub mod remove;
pub mod rename;
pub mod run;
pub mod save;
pub mod shell;
pub mod show;
pub mod wait;

use crate::failure::Failure;
use crate::gate::with_consent;
use crate::operation::wait_for_boot;
use crate::server::Server;
use walt_proto::api::error::GateMode;
use walt_proto::api::node::{Node, SelectNodes};
use walt_proto::api::route;

/// Nodes of a set the caller may use, after the ownership gate, all booted.
///
/// # Errors
/// Those of the set and of the gate, [`Failure::Aborted`].
fn booted_nodes(server: &Server, set: &str, yes: bool) -> Result<Vec<Node>, Failure> {
    let nodes = selected_nodes(server, set, yes)?;
    let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    if nodes.iter().any(|node| !node.booted) {
        wait_for_boot(server, &names.join(","))?;
    }
    Ok(nodes)
}

/// Nodes of a set the caller may use, after the ownership gate.
fn selected_nodes(server: &Server, set: &str, yes: bool) -> Result<Vec<Node>, Failure> {
    with_consent(yes, |confirmed| {
        let request = SelectNodes { set: set.to_owned(), gate: GateMode::OwnedOrFree, confirmed };
        server.post(route::NODES_SELECT, &request)
    })
}

/// The single node of a set, for commands that work on one node.
fn single(mut nodes: Vec<Node>) -> Result<Node, Failure> {
    match (nodes.pop(), nodes.is_empty()) {
        (Some(node), true) => Ok(node),
        _ => Err(Failure::plain("Error: this command must target 1 node only.")),
    }
}
