//! `walt log import`

use crate::command::server;
use crate::failure::{Failure, Outcome};
use crate::grammar::{Args, Command, Kind, Positional, Switch};
use crate::output;
use crate::terminal::spinner::Spinner;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use walt_proto::api::log::LogImport;
use walt_proto::api::route;

/// The command.
pub const COMMAND: Command = Command {
    name: "import",
    about: "Reads a bundle back: its logs can be shown with --import LABEL.\n\
        They are kept apart from the logs of the platform, and cannot be changed.",
    example: "$ walt log import exp1.tar.zst\n\
        $ walt log show --import exp1 --history full",
    positionals: &[Positional::required("bundle", Kind::File("FILE"))],
    switches: &[Switch::value(
        "label",
        Kind::Text("LABEL"),
        "name it is looked up by; default: that of the file",
    )],
    topics: &["log-bundle"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let path = args.positional(0);
    let label = match args.value("label") {
        Some(label) => label.to_owned(),
        None => label_of(path),
    };
    let unreadable =
        |error: std::io::Error| Failure::plain(format!("Cannot read '{path}': {error}."));
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(Failure::plain(format!("'{path}' is a folder, not a bundle.")));
    }
    let mut source =
        Progress { file, done: 0, total: metadata.len(), told: 0, spinner: Spinner::start() };
    let import: LogImport =
        server()?.send_file(&route::fill(route::LOGS_IMPORT, &label), &mut source)?;
    drop(source);
    output::line(&format!(
        "{} lines are there: walt log show --import {label} --history full",
        import.lines
    ));
    Ok(0)
}

/// A label made from the name of a file.
fn label_of(path: &str) -> String {
    let name = Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let stem = name.split('.').find(|part| !part.is_empty()).unwrap_or("bundle");
    let word: String =
        stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    word.trim_matches('-').to_owned()
}

/// A file that tells how much of it was read.
struct Progress {
    file: File,
    done: u64,
    total: u64,
    told: u64,
    spinner: Spinner,
}

impl Read for Progress {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.done += count as u64;
        let percent = self.done.min(self.total) * 100 / self.total.max(1);
        if percent != self.told {
            self.told = percent;
            self.spinner.set_label(&format!("Importing {percent}%"));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        assert_eq!(label_of("/tmp/exp1.tar.zst"), "exp1");
        assert_eq!(label_of("my exp_2.tar.zst"), "my-exp-2");
        assert_eq!(label_of(".hidden.tar"), "hidden");
    }
}
