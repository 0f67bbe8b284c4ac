//! `walt image history`

use crate::command::{date, server, server_zone};
use crate::failure::Outcome;
use crate::grammar::{Args, Command, JSON, Kind, Positional};
use crate::output;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use walt_model::sentence::list;
use walt_proto::api::image::history::ImageVersion;
use walt_proto::api::route;

/// The command.
pub const COMMAND: Command = Command {
    name: "history",
    about: "Displays the versions of one of your images, newest first.\n\
        Each change of an image keeps what it was before; the last 5 versions stay. The first line is what the \
        image is now; `walt image rollback` brings another one back.",
    example: "$ walt image history my-image\n\
        version  since                created              size      cause          by     in-use\n\
        -------  -------------------  -------------------  --------  -------------  -----  --------\n\
        2        2026-02-01 10:30:00  2026-02-01 10:29:58  412.7 MB  shell session  alice  node n1\n\
        1        2026-01-31 12:00:00  2026-01-12 09:00:00  411.2 MB  clone          alice",
    positionals: &[Positional::required("image_name", Kind::Image)],
    switches: &[JSON],
    topics: &["image-history"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let server = server()?;
    let path = route::fill(route::IMAGE_VERSIONS, args.positional(0));
    let versions: Vec<ImageVersion> = server.get(&path)?;
    if args.flag("json") {
        output::json(&versions)?;
    } else {
        let zone = server_zone(&server)?;
        let header = ["version", "since", "created", "size", "cause", "by", "in-use"];
        let rows: Vec<_> = versions.iter().map(|version| row(version, &zone)).collect();
        let title =
            format!("Versions of image {}, newest first:", output::printable(args.positional(0)));
        let footnote = "The first one is what the image is now. `walt image rollback` brings another one back; \
            `<image>@<version>` stands for it in `walt image diff`.";
        output::section(&title, &header, &rows, Some(footnote));
    }
    Ok(0)
}

fn row(version: &ImageVersion, zone: &TimeZone) -> Vec<String> {
    let shown =
        |ms| Timestamp::from_millisecond(ms).map(|time| date(time, zone)).unwrap_or_default();
    let cause = match version.detail.as_str() {
        "" => version.cause.clone(),
        detail => format!("{} ({detail})", version.cause),
    };
    let users = match version.used_by.is_empty() {
        true => String::new(),
        false => list("node", &version.used_by),
    };
    vec![
        version.version.to_string(),
        shown(version.since_ms),
        shown(version.created_ms),
        output::size(version.size_bytes),
        output::printable(&cause),
        version.by.clone(),
        users,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row() {
        let version = ImageVersion {
            version: 3,
            id: "0".repeat(64),
            since_ms: 0,
            created_ms: 1000,
            size_bytes: 1500,
            cause: "clone".into(),
            by: "alice".into(),
            detail: "hub:x/y\u{1b}[2J".into(),
            current: true,
            used_by: vec!["n2".into(), "n1".into()],
        };
        assert_eq!(
            row(&version, &TimeZone::UTC),
            [
                "3",
                "1970-01-01 00:00:00",
                "1970-01-01 00:00:01",
                "1.5 kB",
                "clone (hub:x/y\\u{1b}[2J)",
                "alice",
                "nodes n1 and n2"
            ]
        );
    }
}
