//! Long operations on nodes: their events, worded.

use crate::failure::{Failure, Outcome};
use crate::output;
use crate::server::stream::EventStream;
use walt_model::sentence::{list, sentence};
use walt_proto::api::Event;
use walt_proto::api::event::RebootAttempt;

/// Reads a stream to its end and says what happens. Status 1 when some node could not be rebooted.
///
/// # Errors
/// The error the server ended with, or a stream that was cut.
pub fn follow(mut events: EventStream) -> Outcome {
    let mut status = 0;
    while let Some(event) = events.next_event()? {
        if let Event::Waiting { nodes } = &event {
            events.set_label(&format!("Waiting for bootup of {}", list("node", nodes)));
        }
        let worded = words(&event);
        match &worded {
            Worded::Out(text) => output::print(text),
            Worded::Err(text) => output::error_bytes(text.as_bytes()),
            Worded::Failed(text) => {
                output::error_bytes(text.as_bytes());
                status = 1;
            }
            Worded::Nothing => {}
        }
    }
    Ok(status)
}

/// Where the words about an event go.
#[derive(Debug, PartialEq, Eq)]
enum Worded {
    Out(String),
    Err(String),
    /// Standard error, and the command fails.
    Failed(String),
    Nothing,
}

fn words(event: &Event) -> Worded {
    match event {
        Event::Out { text } => Worded::Out(text.clone()),
        Event::Err { text } => Worded::Err(text.clone()),
        Event::Cloned { image, models } => Worded::Out(cloned(image, models) + "\n"),
        Event::CloneComplete { image } => Worded::Out(format!(
            "Image \"{image}\" was cloned successfully (cf. walt image show).\n"
        )),
        Event::Published { clone_link } => {
            Worded::Out(format!("OK, image was published at:\n{clone_link}\n"))
        }
        Event::NodeCreated { node } => {
            let image = crate::command::image::short_name(&node.image);
            let name = &node.name;
            Worded::Out(format!(
                "Node {name} is now booting your image \"{image}\".\n\
                 Use `walt node boot {name} <other-image>` if needed.\n"
            ))
        }
        Event::WillBoot { nodes, image, default: false } => {
            Worded::Out(format!("{}\n", about("{} will now boot ", nodes) + image + "."))
        }
        Event::WillBoot { nodes, image, default: true } => {
            let start = about("{} will now boot {its|their} default image", nodes);
            Worded::Out(format!(
                "{start} ({image}).\n{}\n",
                about("Other users will see {} as free.", nodes)
            ))
        }
        Event::Ignored { nodes } => Worded::Out(
            about("{}: ignored, {it is|they are} already using this image.", nodes) + "\n",
        ),
        Event::Rebooted { nodes } => Worded::Out(about("{}: rebooted OK.", nodes) + "\n"),
        Event::RebootFailed { nodes, attempts } => {
            Worded::Failed(about("{}: failed ", nodes) + &failures(attempts) + "\n")
        }
        _ => Worded::Nothing,
    }
}

fn about(template: &str, nodes: &[String]) -> String {
    sentence(template, "node", nodes)
}

fn failures(attempts: &[RebootAttempt]) -> String {
    let one = |attempt: &RebootAttempt| format!("{} ({})", attempt.method, attempt.cause);
    match attempts {
        [] => "for an unknown cause".to_owned(),
        attempts => output::printable(&attempts.iter().map(one).collect::<Vec<_>>().join(" and ")),
    }
}

/// What is said about an image given to the user without being asked for by name.
pub fn cloned(image: &str, models: &[String]) -> String {
    format!("Cloned {image}, compatible with {}.", list("node model", models))
}

/// Waits until all nodes of a set are booted, as `shell`, `run` and `cp` do before they start.
///
/// # Errors
/// Those of the server.
pub fn wait_for_boot(server: &crate::server::Server, set: &str) -> Result<(), Failure> {
    let request = walt_proto::api::node::WaitNodes { set: set.to_owned(), timeout_s: None };
    let events = server.events(walt_proto::api::route::NODES_WAIT, &request)?;
    events.set_label("Node bootup is still pending, ctrl-C to abort");
    follow(events)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn reboots() {
        let event = Event::Rebooted { nodes: names(&["n1"]) };
        assert_eq!(words(&event), Worded::Out("Node n1: rebooted ok.\n".into()));
        let attempt = |method: &str, cause: &str| RebootAttempt {
            method: method.to_owned(),
            cause: cause.to_owned(),
        };
        let attempts = vec![
            attempt("soft-reboot", "connection timed out"),
            attempt("poe-reboot", "unknown LLDP network position"),
        ];
        let event = Event::RebootFailed { nodes: names(&["N2", "n1"]), attempts };
        assert_eq!(
            words(&event),
            Worded::Failed(
                "Nodes N2 and n1: failed soft-reboot (connection timed out) and poe-reboot \
                 (unknown LLDP network position)\n"
                    .into()
            )
        );
    }

    #[test]
    fn images() {
        let nodes = names(&["n1"]);
        let event =
            Event::WillBoot { nodes: nodes.clone(), image: "MyImage".into(), default: false };
        assert_eq!(words(&event), Worded::Out("Node n1 will now boot MyImage.\n".into()));
        let event = Event::Ignored { nodes };
        assert_eq!(
            words(&event),
            Worded::Out("Node n1: ignored, it is already using this image.\n".into())
        );
        assert_eq!(
            cloned("pc", &names(&["pc-x86-64"])),
            "Cloned pc, compatible with node model pc-x86-64."
        );
    }
}
