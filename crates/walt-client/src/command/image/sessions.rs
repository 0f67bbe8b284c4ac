//! `walt image sessions`

use crate::command::{date, server, server_zone};
use crate::failure::Outcome;
use crate::grammar::{Args, Command, JSON};
use crate::output;
use jiff::Timestamp;
use walt_proto::api::image::session::ImageShell;
use walt_proto::api::route;

/// The command.
pub const COMMAND: Command = Command {
    name: "sessions",
    about: "Lists your shells in images.\nA shell whose client was cut off is kept for a day: \
        `walt image shell --resume` goes back to it.",
    example: "$ walt image sessions\n\
        image     state    opened               kept until\n\
        --------  -------  -------------------  -------------------\n\
        my-image  running  2026-01-31 12:00:00  2026-02-01 12:34:56",
    switches: &[JSON],
    topics: &["image-shell-resume"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let server = server()?;
    let shells: Vec<ImageShell> = server.get(route::SHELLS)?;
    if args.flag("json") {
        output::json(&shells)?;
        return Ok(0);
    }
    if shells.is_empty() {
        output::line("You have no shell in an image.");
        return Ok(0);
    }
    let zone = server_zone(&server)?;
    let when =
        |ms: i64| Timestamp::from_millisecond(ms).map(|time| date(time, &zone)).unwrap_or_default();
    let rows: Vec<Vec<String>> = shells
        .iter()
        .map(|shell| {
            let until = if shell.attached { "its end".to_owned() } else { when(shell.expires_ms) };
            vec![shell.image.clone(), state(shell).to_owned(), when(shell.started_ms), until]
        })
        .collect();
    let header = ["image", "state", "opened", "kept until"];
    output::section("Your shells in images:", &header, &rows, None);
    Ok(0)
}

fn state(shell: &ImageShell) -> &'static str {
    match (shell.attached, shell.running) {
        (true, _) => "in use",
        (false, true) => "running",
        (false, false) => "ended, not saved",
    }
}
