//! `walt image diff`

use crate::command::server;
use crate::failure::{Failure, Outcome};
use crate::grammar::{Args, Command, JSON, Kind, Positional};
use crate::output::{self, printable, size};
use crate::terminal::spinner;
use walt_proto::api::image::diff::{Became, DiffImages, FileDifference, PackageDifference};
use walt_proto::api::{Event, route};

/// The command.
pub const COMMAND: Command = Command {
    name: "diff",
    about: "Displays what differs between two of your images.\n\
        Packages first (of Debian, Ubuntu and their like, and of RPM), then files, one per line: + added, ~ changed, \
        - removed. `<image>@<version>` stands for an earlier version of an image, as `walt image history` numbers \
        them. With --json, one object per line.",
    example: "$ walt image diff my-image@1 my-image\n\
        + package htop:amd64 3.2.2-2\n\
        ~ /etc/hosts  183 B -> 201 B (content)\n\
        + /usr/bin/htop  383.2 kB\n\
        1 package and 2 files differ: 383.4 kB added, 183 B removed.",
    positionals: &[
        Positional::required("image_a", Kind::Image),
        Positional::required("image_b", Kind::Image),
    ],
    switches: &[JSON],
    topics: &["image-history"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    spinner::set_default_label("Comparing");
    let request = DiffImages { a: args.positional(0).to_owned(), b: args.positional(1).to_owned() };
    let mut events = server()?.events(route::IMAGES_DIFF, &request)?;
    let json = args.flag("json");
    let mut sum = Sum::default();
    while let Some(event) = events.next_event()? {
        if json {
            print_json(&event)?;
            continue;
        }
        match event {
            Event::Package(package) => {
                sum.packages += 1;
                output::line(&package_line(&package));
            }
            Event::File(file) => {
                sum.add(&file);
                output::line(&file_line(&file));
            }
            _ => {}
        }
    }
    if !json {
        output::line(&sum.words());
    }
    Ok(0)
}

fn print_json(event: &Event) -> Result<(), Failure> {
    match event {
        Event::Package(_) | Event::File(_) => output::json_line(event),
        _ => Ok(()),
    }
}

#[derive(Default)]
struct Sum {
    packages: u64,
    files: u64,
    added: u64,
    removed: u64,
}

impl Sum {
    fn add(&mut self, file: &FileDifference) {
        self.files += 1;
        // Of a file that has other attributes only, no content came or went.
        if file.became != Became::Changed
            || file.what.iter().any(|what| what != "mode" && what != "owner")
        {
            self.added += file.after_bytes;
            self.removed += file.before_bytes;
        }
    }

    fn words(&self) -> String {
        let count = |count: u64, noun: &str| match count {
            1 => format!("1 {noun}"),
            many => format!("{many} {noun}s"),
        };
        if self.packages + self.files == 0 {
            return "Nothing differs.".to_owned();
        }
        let packages = match self.packages {
            0 => String::new(),
            some => format!("{} and ", count(some, "package")),
        };
        let differ = if self.packages + self.files == 1 { "differs" } else { "differ" };
        let (added, removed) = (size(self.added), size(self.removed));
        let files = count(self.files, "file");
        format!("{packages}{files} {differ}: {added} added, {removed} removed.")
    }
}

fn sign(became: Became) -> char {
    match became {
        Became::Added => '+',
        Became::Changed => '~',
        Became::Removed => '-',
    }
}

fn package_line(package: &PackageDifference) -> String {
    let versions: Vec<&str> =
        [&package.before, &package.after].into_iter().flatten().map(String::as_str).collect();
    printable(&format!(
        "{} package {} {}",
        sign(package.became),
        package.package,
        versions.join(" -> ")
    ))
}

fn file_line(file: &FileDifference) -> String {
    let sizes = match file.became {
        _ if file.kind != "file" => file.kind.clone(),
        Became::Added => size(file.after_bytes),
        Became::Removed => size(file.before_bytes),
        Became::Changed if file.before_bytes == file.after_bytes => size(file.after_bytes),
        Became::Changed => format!("{} -> {}", size(file.before_bytes), size(file.after_bytes)),
    };
    let what = match file.what.is_empty() {
        true => String::new(),
        false => format!(" ({})", file.what.join(", ")),
    };
    format!("{} {}  {sizes}{what}", sign(file.became), printable(&file.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let file = |became, kind: &str, what: &[&str], before_bytes, after_bytes| FileDifference {
            path: "/a\u{1b}b".into(),
            became,
            kind: kind.into(),
            what: what.iter().map(|what| (*what).to_owned()).collect(),
            before_bytes,
            after_bytes,
        };
        let changed = file(Became::Changed, "file", &["content", "mode"], 10, 1500);
        assert_eq!(file_line(&changed), "~ /a\\u{1b}b  10 B -> 1.5 kB (content, mode)");
        let mode = file(Became::Changed, "file", &["mode"], 10, 10);
        assert_eq!(file_line(&mode), "~ /a\\u{1b}b  10 B (mode)");
        let link = file(Became::Added, "symlink", &[], 0, 0);
        assert_eq!(file_line(&link), "+ /a\\u{1b}b  symlink");
        let package = PackageDifference {
            package: "bash".into(),
            became: Became::Changed,
            before: Some("1".into()),
            after: Some("2".into()),
        };
        assert_eq!(package_line(&package), "~ package bash 1 -> 2");
        let mut sum = Sum { packages: 1, ..Sum::default() };
        [&changed, &mode, &link].into_iter().for_each(|file| sum.add(file));
        assert_eq!(sum.words(), "1 package and 3 files differ: 1.5 kB added, 10 B removed.");
        assert_eq!(Sum::default().words(), "Nothing differs.");
    }
}
