//! `walt image build`

use crate::command::{server, yes};
use crate::failure::{Failure, Outcome};
use crate::gate::with_consent;
use crate::grammar::{Args, Command, Kind, Positional, Switch, YES};
use crate::operation::follow;
use crate::output;
use crate::server::query;
use crate::server::stream::EventStream;
use crate::terminal::spinner::Spinner;
use crate::transfer::ignore::Ignored;
use crate::transfer::send::TarStream;
use std::io::{self, Read};
use std::path::Path;
use ureq::http::Method;
use walt_proto::api::route;

/// Largest `.dockerignore`, in bytes.
const LARGEST: u64 = 1 << 20;

/// The command.
pub const COMMAND: Command = Command {
    name: "build",
    about: "Builds an image from a Dockerfile.\n\
        The Dockerfile is in a directory of this machine (--from-dir) or in a git repository (--from-url). \
        A name without '/' after FROM is one of your images.",
    example: "$ walt image build my-image --from-dir ./my-image/\n\
        $ walt image build my-image --from-url https://example.org/images.git --sub-dir debian",
    positionals: &[Positional::required("image_name", Kind::Image)],
    switches: &[
        Switch {
            excludes: &["from-url", "sub-dir"],
            ..Switch::value("from-dir", Kind::Directory, "build from a directory of this machine")
        },
        Switch::value("from-url", Kind::Text("GIT_URL"), "build from a git repository"),
        Switch::value(
            "sub-dir",
            Kind::Text("PATH"),
            "folder of the repository that holds the Dockerfile",
        ),
        YES,
    ],
    topics: &["image-build", "image-check"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let name = args.positional(0);
    let (directory, url) = (args.value("from-dir"), args.value("from-url"));
    let sub_dir = args.value("sub-dir");
    if sub_dir.is_some() && url.is_none() {
        return Err(Failure::plain("Option --sub-dir goes with --from-url."));
    }
    let server = server()?;
    let path = |confirmed: bool| {
        let confirmed = confirmed.then_some("true");
        let pairs = [("url", url), ("sub_dir", sub_dir), ("confirmed", confirmed)];
        format!("{}{}", route::fill(route::IMAGE_BUILD, name), query(&pairs))
    };
    let attempt = |confirmed: bool| -> Result<EventStream, Failure> {
        match (directory, url) {
            (Some(directory), None) => {
                let mut sent = Sent::new(Path::new(directory))?;
                let spinner = Spinner::start();
                let result = server.upload_events(
                    Method::POST,
                    &path(confirmed),
                    &mut sent.told(&spinner),
                    Spinner::none(),
                );
                drop(spinner);
                match sent.problem.take() {
                    Some(problem) => {
                        Err(Failure::plain(format!("The directory cannot be sent: {problem}.")))
                    }
                    None => result.map(|mut events| {
                        events.busy();
                        events
                    }),
                }
            }
            (None, Some(_)) => server.upload_events(
                Method::POST,
                &path(confirmed),
                &mut io::empty(),
                Spinner::start(),
            ),
            _ => Err(Failure::plain(
                "Tell what to build from: --from-dir <directory> or --from-url <git-url>.\n\
                 See 'walt help show image-build' for more info.",
            )),
        }
    };
    let events = with_consent(yes(args), attempt)?;
    events.set_label("Building");
    follow(events).inspect_err(|failure| {
        if matches!(failure, Failure::Server(_)) {
            output::line("See 'walt help show image-build' for more info.");
        }
    })
}

/// A directory on its way.
struct Sent {
    stream: TarStream,
    bytes: u64,
    /// Why it could not be read to its end.
    problem: Option<io::Error>,
}

impl Sent {
    fn new(directory: &Path) -> Result<Self, Failure> {
        let shown = directory.display();
        if !directory.is_dir() {
            return Err(Failure::plain(format!("There is no directory {shown}.")));
        }
        let ignored = ignored(directory).map_err(|why| {
            Failure::plain(format!("{shown}/.dockerignore cannot be used: {why}."))
        })?;
        let stream = TarStream::without(directory, ".", ignored)
            .map_err(|error| Failure::plain(format!("Cannot read {shown}: {error}.")))?;
        Ok(Self { stream, bytes: 0, problem: None })
    }

    /// The stream, with its progress shown.
    fn told<'a>(&'a mut self, spinner: &'a Spinner) -> Told<'a> {
        spinner.set_label("Sending the directory");
        Told { sent: self, spinner }
    }
}

/// What stays here. Only without such a file it is nothing: what it names may be secret.
fn ignored(directory: &Path) -> Result<Ignored, String> {
    let file = match std::fs::File::open(directory.join(".dockerignore")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ignored::default()),
        Err(error) => return Err(error.to_string()),
    };
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > LARGEST {
        return Err(format!("it is larger than {} kB", LARGEST / 1000));
    }
    Ignored::parse(&text)
}

struct Told<'a> {
    sent: &'a mut Sent,
    spinner: &'a Spinner,
}

impl Read for Told<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let sent = &mut *self.sent;
        match sent.stream.read(buffer) {
            Ok(count) => {
                let before = sent.bytes >> 20;
                sent.bytes += count as u64;
                if sent.bytes >> 20 > before {
                    let label = format!("Sending the directory: {} MB", sent.bytes / 1_000_000);
                    self.spinner.set_label(&label);
                }
                Ok(count)
            }
            Err(error) => {
                sent.problem = Some(io::Error::new(error.kind(), error.to_string()));
                Err(error)
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_cannot_be_read_is_not_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join(".dockerignore");
        assert!(ignored(dir.path()).is_ok());
        let long = "secret\n".repeat(usize::try_from(LARGEST).unwrap() / 7 + 1);
        std::fs::write(&list, long).unwrap();
        assert!(ignored(dir.path()).unwrap_err().contains("larger than"));
        std::fs::write(&list, [0xff]).unwrap();
        ignored(dir.path()).unwrap_err();
        std::fs::remove_file(&list).unwrap();
        std::fs::create_dir(&list).unwrap();
        ignored(dir.path()).unwrap_err();
        std::fs::remove_dir(&list).unwrap();
        std::os::unix::fs::symlink(".dockerignore", &list).unwrap();
        ignored(dir.path()).unwrap_err();
    }
}
