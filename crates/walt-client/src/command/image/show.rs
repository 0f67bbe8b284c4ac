//! `walt image show`

use crate::command::{date, server, server_zone};
use crate::failure::{Failure, Outcome};
use crate::grammar::{Args, Command, JSON, Switch};
use crate::operation::cloned;
use crate::output;
use crate::server::{Server, query};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use walt_proto::api::image::{Cloned, Image, ImageSet};
use walt_proto::api::{Empty, route};

/// The command.
pub const COMMAND: Command = Command {
    name: "show",
    about: "Displays your images.\n\
        An image holds the operating system of nodes. Yours are your working set; with --all, those of \
        other users and the default images are listed too.",
    example: "$ walt image show\n\
        name                in-use  created              compatibility\n\
        ------------------  ------  -------------------  -------------\n\
        pc-x86-64-default   True    2026-01-31 12:00:00  pc-x86-64",
    switches: &[
        Switch::flag("all", "also show images of other users and default images"),
        JSON,
        Switch::flag(
            "names-only",
            "print the names of your images, one per line, and nothing else",
        ),
        Switch::flag("refresh", "make the server read its image storage again first"),
    ],
    topics: &["image"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let (all, names_only) = (args.flag("all"), args.flag("names-only"));
    if all && names_only {
        output::line("Options --all and --names-only cannot be used together.");
        return Err(Failure::Said(1));
    }
    let server = server()?;
    let refresh = args.flag("refresh").then_some("true");
    let path = format!("{}{}", route::IMAGES, query(&[("refresh", refresh)]));
    let mut images: Vec<Image> = server.get(&path)?;
    let quiet = args.flag("json") || names_only;
    if !images.iter().any(is_own) && clone_defaults(&server, quiet)? {
        images = server.get(route::IMAGES)?;
    }
    if args.flag("json") {
        images.retain(|image| all || is_own(image));
        output::json(&images)?;
    } else if names_only {
        images.iter().filter(|image| is_own(image)).for_each(|image| output::line(&image.name));
    } else {
        show(&images, all, &server_zone(&server)?);
    }
    Ok(0)
}

fn is_own(image: &Image) -> bool {
    image.set == ImageSet::Own
}

/// A user without image gets those that boot the nodes of the platform. True: there are new images.
fn clone_defaults(server: &Server, quiet: bool) -> Result<bool, Failure> {
    let new: Vec<Cloned> = server.post(route::IMAGES_CLONE_DEFAULTS, &Empty {})?;
    if !quiet {
        new.iter().for_each(|new| output::line(&cloned(&new.image, &new.models)));
    }
    Ok(!new.is_empty())
}

fn show(images: &[Image], all: bool, zone: &TimeZone) {
    let created = |image: &Image| {
        Timestamp::from_millisecond(image.created_ms)
            .map(|timestamp| date(timestamp, zone))
            .unwrap_or_default()
    };
    let of = |set: ImageSet| images.iter().filter(move |image| image.set == set);
    let rows = |set: ImageSet, row: &dyn Fn(&Image) -> Vec<String>| -> Vec<Vec<String>> {
        of(set).map(row).collect()
    };
    let own = rows(ImageSet::Own, &|image| {
        let in_use = if image.in_use { "True" } else { "False" };
        vec![image.name.clone(), in_use.into(), created(image), compatibility(&image.models)]
    });
    if own.is_empty() {
        output::line("You own no images yet: the images of your nodes will appear here.");
    } else {
        let header = ["name", "in-use", "created", "compatibility"];
        output::section("The following images are part of your working set:", &header, &own, None);
    }
    if !all {
        if of(ImageSet::Other).next().is_some() || of(ImageSet::Default).next().is_some() {
            output::line("Use --all to also see images of other users and default images.");
        }
        return;
    }
    let others = rows(ImageSet::Other, &|image| {
        let link = image.clone_link.clone();
        vec![image.owner.clone(), image.name.clone(), created(image), link]
    });
    if !others.is_empty() {
        let header = ["user", "name", "created", "clonable-link"];
        output::section("The following images belong to other users:", &header, &others, None);
    }
    let defaults = rows(ImageSet::Default, &|image| {
        vec![image.name.clone(), created(image), image.clone_link.clone()]
    });
    if !defaults.is_empty() {
        let header = ["name", "created", "clonable-link"];
        output::section("The following images are default images:", &header, &defaults, None);
    }
    if others.is_empty() && defaults.is_empty() {
        output::line("There is no image of other users, and no default image.");
    } else {
        output::line("Use `walt image clone <clonable-link>` to make one of these yours.");
    }
    output::line("Use `walt image search [<keyword>]` to also look in registries.");
}

/// Models in short: `pc-x86-[32,64]`, or `N/A`.
pub fn compatibility(models: &[String]) -> String {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for model in models {
        let (start, end) = match model.rfind('-') {
            Some(dash) => model.split_at(dash + 1),
            None => ("", model.as_str()),
        };
        match groups.iter_mut().find(|(known, _)| *known == start && !start.is_empty()) {
            Some((_, ends)) => ends.push(end),
            None => groups.push((start, vec![end])),
        }
    }
    if groups.is_empty() {
        return "N/A".to_owned();
    }
    let words = groups.iter().map(|(start, ends)| match ends.as_slice() {
        [one] => format!("{start}{one}"),
        many => format!("{start}[{}]", many.join(",")),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_models() {
        let models = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        assert_eq!(compatibility(&[]), "N/A");
        assert_eq!(compatibility(&models(&["pc-x86-64"])), "pc-x86-64");
        assert_eq!(compatibility(&models(&["pc-x86-32", "pc-x86-64"])), "pc-x86-[32,64]");
        assert_eq!(
            compatibility(&models(&["pc-x86-64", "rpi-3-b", "rpi-4-b"])),
            "pc-x86-64, rpi-3-b, rpi-4-b"
        );
    }
}
