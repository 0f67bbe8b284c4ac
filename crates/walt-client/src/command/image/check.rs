//! `walt image check`

use crate::command::server;
use crate::failure::Outcome;
use crate::grammar::{Args, Command, JSON, Kind, Positional, Switch};
use crate::output;
use crate::server::query;
use walt_proto::api::image::build::{Finding, ImageCheck, Level};
use walt_proto::api::route;

/// The command.
pub const COMMAND: Command = Command {
    name: "check",
    about: "Tells what an image lacks to boot nodes.\n\
        Labels and files are looked at, nothing of the image is run. The status is 1 when nodes do not boot it.",
    example: "$ walt image check my-image\n\
        Vital: /boot/pc-x86-64/kernel is missing (pc-x86-64).\n\
        \x20 why: start.ipxe loads it\n\
        \x20 mend: put the file there\n\
        Nodes do not boot my-image: 1 vital problem.",
    positionals: &[Positional::required("image_name", Kind::Image)],
    switches: &[
        JSON,
        Switch::value("model", Kind::Text("MODEL"), "look at it for nodes of this model only"),
    ],
    topics: &["image-check"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let path = route::fill(route::IMAGE_CHECK, args.positional(0));
    let path = format!("{path}{}", query(&[("model", args.value("model"))]));
    let check: ImageCheck = server()?.get(&path)?;
    if args.flag("json") {
        output::json(&check)?;
    } else {
        check.findings.iter().for_each(|finding| output::print(&worded(finding)));
        output::line(&end(&check));
    }
    Ok(u8::from(!check.boots))
}

fn worded(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Vital => "Vital",
        Level::Warning => "Warning",
        Level::Note => "Note",
    };
    let model = finding.model.as_deref().map(|model| format!(" ({model})")).unwrap_or_default();
    // Names of files of the image are in there.
    let [what, why, mend] =
        [&finding.what, &finding.why, &finding.mend].map(|text| output::printable(text));
    format!("{level}: {what}{model}.\n  why: {why}\n  mend: {mend}\n")
}

fn end(check: &ImageCheck) -> String {
    let (image, models) = (&check.image, check.models.join(", "));
    let count = |level: Level| check.findings.iter().filter(|one| one.level == level).count();
    let many = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    if !check.boots {
        return format!(
            "Nodes do not boot {image}: {}.",
            many(count(Level::Vital), "vital problem")
        );
    }
    match count(Level::Warning) {
        0 => format!("OK: {image} has what nodes of model {models} need to boot."),
        warnings => format!(
            "{image} has what nodes of model {models} need to boot; {}.",
            many(warnings, "warning")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let mut check = ImageCheck {
            image: "i".into(),
            models: vec!["m".into()],
            boots: true,
            findings: vec![],
        };
        assert_eq!(end(&check), "OK: i has what nodes of model m need to boot.");
        let finding = |level| Finding {
            level,
            model: Some("m".into()),
            what: "a".into(),
            why: "b".into(),
            mend: "c".into(),
        };
        check.findings = vec![finding(Level::Warning)];
        assert!(end(&check).ends_with("; 1 warning."));
        check.findings = vec![finding(Level::Vital), finding(Level::Vital)];
        check.boots = false;
        assert_eq!(end(&check), "Nodes do not boot i: 2 vital problems.");
        assert_eq!(worded(&check.findings[0]), "Vital: a (m).\n  why: b\n  mend: c\n");
    }
}
