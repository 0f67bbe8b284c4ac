//! `walt image search`

use super::show::compatibility;
use crate::account::{Missing, with_accounts};
use crate::command::server;
use crate::failure::{Failure, Outcome};
use crate::grammar::{Args, Command, JSON, Kind, Positional};
use crate::output;
use crate::server::stream::EventStream;
use crate::terminal::spinner;
use walt_proto::api::image::registry::{FoundImage, Place, SearchImages};
use walt_proto::api::{Event, route};

/// The command.
pub const COMMAND: Command = Command {
    name: "search",
    about: "Looks for images you can clone.\n\
        It looks at the images of other users of this server, at the docker daemon of the server and at all registries \
        of the platform, at the same time. With a keyword, only clonable links that hold it are shown. A place that \
        cannot be searched is named and left out.",
    example: "$ walt image search python\n\
        User  Image name  Location         Compatibility  Clonable link\n\
        ----  ----------  ---------------  -------------  -----------------\n\
        bob   pc-python   docker hub       pc-x86-64      hub:bob/pc-python",
    positionals: &[Positional::optional("keyword", Kind::Text("KEYWORD"), "None")],
    switches: &[JSON],
    topics: &["image-search", "registries"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    spinner::set_default_label("Searching");
    let server = server()?;
    let keyword = Some(args.positional(0).to_owned()).filter(|keyword| !keyword.is_empty());
    let found = with_accounts(Missing::LeaveOut, |given| {
        let request = SearchImages {
            keyword: keyword.clone(),
            accounts: given.accounts.clone(),
            without: given.without.clone(),
        };
        collect(server.events(route::IMAGES_SEARCH, &request)?)
    })?;
    if args.flag("json") {
        output::json(&found)?;
    } else if found.is_empty() {
        output::error("No image was found.");
    } else {
        let rows: Vec<Vec<String>> = found.iter().map(row).collect();
        let header = ["User", "Image name", "Location", "Compatibility", "Clonable link"];
        output::line(&walt_model::table::table(&header, &rows));
    }
    Ok(0)
}

/// All that is found, in the order of places, then of names.
fn collect(mut events: EventStream) -> Result<Vec<FoundImage>, Failure> {
    let mut found = Vec::new();
    while let Some(event) = events.next_event()? {
        match event {
            Event::Found(image) => {
                found.push(image);
                let matches = if found.len() == 1 { "match" } else { "matches" };
                events.set_label(&format!("{} {matches}", found.len()));
            }
            Event::Err { text } => {
                output::error(&output::printable(text.trim_end()));
            }
            _ => {}
        }
    }
    found.sort_by(|a, b| order(a).cmp(&order(b)));
    Ok(found)
}

fn order(image: &FoundImage) -> (u8, &str, &str, &str) {
    let place = match image.place {
        Place::Walt => 0,
        Place::DockerDaemon => 1,
        Place::DockerHub => 2,
        Place::Registry | Place::Other => 3,
    };
    (place, &image.location, &image.owner, &image.name)
}

fn row(image: &FoundImage) -> Vec<String> {
    let place = match image.place {
        Place::Walt => "walt (other user)",
        Place::DockerDaemon => "docker daemon",
        Place::DockerHub => "docker hub",
        Place::Registry | Place::Other => "custom registry",
    };
    let link = match image.needs_version {
        Some(version) => format!("[Need server upgrade, version>={version}]"),
        None => image.clone_link.clone(),
    };
    let cells = [&image.owner, &image.name, place, &compatibility(&image.models), &link];
    cells.into_iter().map(output::printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        let image = FoundImage {
            owner: "bob".into(),
            name: "x:v1".into(),
            place: Place::Registry,
            location: "lab".into(),
            models: vec!["pc-x86-32".into(), "pc-x86-64".into()],
            clone_link: "lab:bob/x:v1".into(),
            needs_version: None,
        };
        let expected = ["bob", "x:v1", "custom registry", "pc-x86-[32,64]", "lab:bob/x:v1"];
        assert_eq!(row(&image), expected);
        let newer = FoundImage { needs_version: Some(11), ..image };
        assert_eq!(row(&newer)[4], "[Need server upgrade, version>=11]");
    }
}
