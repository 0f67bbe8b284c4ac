//! `walt image publish`

use crate::account::{Missing, with_accounts};
use crate::command::server;
use crate::failure::{Failure, Outcome};
use crate::grammar::{Args, Command, Kind, Positional, Switch};
use crate::operation::follow;
use crate::output;
use crate::terminal::spinner;
use walt_proto::api::image::registry::{PublishImage, RegistryInfo};
use walt_proto::api::route;

/// The command.
pub const COMMAND: Command = Command {
    name: "publish",
    about: "Publishes one of your images on a registry.\nOthers find it there with `walt image search` and take it with \
        `walt image clone`. When the platform has several registries, --registry tells which one.",
    example: "$ walt image publish my-image\n\
        OK, image was published at:\n\
        hub:me/my-image",
    positionals: &[Positional::required("image_name", Kind::Image)],
    switches: &[Switch {
        default: AUTO,
        ..Switch::value(
            "registry",
            Kind::Registry,
            "where to publish it; auto: the only one there is",
        )
    }],
    topics: &["image-publish", "registries"],
    run,
    ..Command::NEW
};

const AUTO: &str = "auto";

fn run(args: &Args) -> Outcome {
    spinner::set_default_label("Validating / Publishing");
    let server = server()?;
    let registries: Vec<RegistryInfo> = server.get(route::REGISTRIES)?;
    let registry = chosen(args.value("registry").unwrap_or(AUTO), &registries)?;
    with_accounts(Missing::Ask, |given| {
        let request = PublishImage {
            image: args.positional(0).to_owned(),
            registry: registry.clone(),
            accounts: given.accounts.clone(),
        };
        follow(server.events(route::IMAGES_PUBLISH, &request)?)
    })
}

/// The label of the registry meant.
fn chosen(word: &str, registries: &[RegistryInfo]) -> Result<String, Failure> {
    if registries.is_empty() {
        output::line("There is no registry in the configuration of the server.");
        return Err(Failure::Said(1));
    }
    if let Some(known) = registries.iter().find(|registry| registry.label == word) {
        return Ok(known.label.clone());
    }
    match registries {
        [only] if word == AUTO => return Ok(only.label.clone()),
        _ if word == AUTO => output::line("There are several registries:"),
        _ => output::line(&format!("Invalid registry '{}'.", output::printable(word))),
    }
    let rows: Vec<Vec<String>> = registries
        .iter()
        .map(|registry| vec![registry.label.clone(), registry.description.clone()])
        .collect();
    output::line(&walt_model::table::table(&["Registry", "Description"], &rows));
    output::line("Use option --registry to choose one.");
    Err(Failure::Said(1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn which_registry() {
        let registry = |label: &str| RegistryInfo {
            label: label.into(),
            description: "d".into(),
            api: "docker-hub".into(),
            address: String::new(),
            needs_account: true,
        };
        let (one, two) = ([registry("hub")], [registry("hub"), registry("lab")]);
        assert_eq!(chosen("auto", &one).unwrap(), "hub");
        assert_eq!(chosen("lab", &two).unwrap(), "lab");
        for (word, registries) in [("auto", &two[..]), ("nope", &one[..]), ("auto", &[])] {
            assert_eq!(chosen(word, registries).unwrap_err().status(), 1, "{word}");
        }
    }
}
