//! What `node cp` and `image cp` have in common: looking at both ends, sending, receiving.

use super::plan::{Place, Plan, parent, plan, trimmed};
use super::receive::unpack;
use super::send::TarStream;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::server::{Server, query};
use crate::terminal::{self, signals, spinner::Spinner};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use walt_proto::api::route;
use walt_proto::api::transfer::{PathInfo, PathKind};

/// Bytes after which the progress is shown anew.
const STEP: u64 = 1 << 20;

/// A node or an image, as the other end of a copy.
pub struct Remote<'a> {
    /// The server.
    pub server: &'a Server,
    /// Route that tells what stands at a path.
    pub path: &'static str,
    /// Route of its files.
    pub files: &'static str,
    /// Its name.
    pub name: &'a str,
}

/// A file or directory of this machine, to be sent.
pub struct Source(PathBuf);

impl Remote<'_> {
    /// What stands at a path there.
    ///
    /// # Errors
    /// Those of the server.
    pub fn place(&self, path: &str) -> Result<Place, Failure> {
        let pairs = [("path", Some(path)), ("confirmed", Some("true"))];
        let path_route = route::fill(self.path, self.name);
        let info: PathInfo = self.server.get(&format!("{path_route}{}", query(&pairs)))?;
        Ok(Place { path: path.to_owned(), kind: info.kind, parent: info.parent })
    }

    /// The route of a transfer.
    pub fn files(&self, path: &str, name: Option<&str>) -> String {
        let pairs = [("path", Some(path)), ("name", name), ("confirmed", Some("true"))];
        format!("{}{}", route::fill(self.files, self.name), query(&pairs))
    }

    /// What is sent there, and under which name.
    ///
    /// # Errors
    /// Those of the server; a missing path, or a directory in the place of a file.
    pub fn to(&self, source: &Place, path: &str) -> Result<(Source, Plan), Failure> {
        let plan = plan(source, &self.place(path)?).map_err(Failure::Plain)?;
        let file = if source.path.is_empty() { "." } else { trimmed(&source.path) };
        Ok((Source(file.into()), plan))
    }

    /// Copies a path from there to a place of this machine.
    ///
    /// # Errors
    /// Those of the server, of the connection, of writing; nothing half-written is left where nothing was.
    pub fn fetch(&self, path: &str, destination: &Place) -> Outcome {
        let source = self.place(path)?;
        let plan = plan(&source, destination).map_err(Failure::Plain)?;
        let directory = Path::new(&plan.directory);
        if destination.kind == PathKind::Missing {
            signals::set_unfinished(Some(directory.join(&plan.name)));
        }
        let outcome = transferring(|spinner| {
            let stream = self.server.download(&self.files(path, Some(&plan.name)))?;
            let stream = Counted { inner: stream, done: 0, shown: 0, spinner };
            unpack(stream, directory, &plan.name).map_err(|error| failed(&error))
        });
        if outcome.is_ok() {
            signals::set_unfinished(None);
        } else {
            signals::remove_unfinished();
        }
        outcome.map(|()| 0)
    }
}

impl Source {
    /// Sends it under a name with `send`.
    ///
    /// # Errors
    /// Those of reading it, and of `send`.
    pub fn send<T>(
        &self,
        name: &str,
        send: impl FnOnce(&mut dyn Read) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let stream = TarStream::new(&self.0, name).map_err(|error| {
            Failure::plain(format!("Cannot read {}: {error}.", self.0.display()))
        })?;
        transferring(|spinner| send(&mut Counted { inner: stream, done: 0, shown: 0, spinner }))
    }
}

/// What stands at a path of this machine.
pub fn local_place(path: &str) -> Place {
    let kind = |path: &Path| match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => PathKind::Dir,
        Ok(metadata) if metadata.is_file() => PathKind::File,
        Ok(_) => PathKind::Other,
        Err(_) => PathKind::Missing,
    };
    let place = if path.is_empty() { "." } else { path };
    Place {
        path: path.to_owned(),
        kind: kind(Path::new(place)),
        parent: kind(Path::new(parent(place))),
    }
}

/// Shows that something goes on, on a terminal.
fn transferring<T>(work: impl FnOnce(&Spinner) -> Result<T, Failure>) -> Result<T, Failure> {
    let spinner = Spinner::start();
    spinner.set_label("Transferring");
    let result = work(&spinner);
    drop(spinner);
    let result = result?;
    if terminal::is_interactive() {
        output::line("Transferring... done");
    }
    Ok(result)
}

/// A stream of which the bytes that went through are shown.
struct Counted<'a, R> {
    inner: R,
    done: u64,
    shown: u64,
    spinner: &'a Spinner,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.done += count as u64;
        if self.done - self.shown >= STEP {
            self.shown = self.done;
            self.spinner.set_label(&format!("Transferring, {} MB", self.done / 1_000_000));
        }
        Ok(count)
    }
}

/// A stream that ends too early was cut by the server: it lost the node, or the files became unreadable there.
fn failed(error: &io::Error) -> Failure {
    let cut = error.get_ref().is_some_and(|inner| inner.is::<ureq::Error>())
        || error.kind() == io::ErrorKind::UnexpectedEof;
    Failure::plain(if cut {
        "The transfer was cut before its end: the other end stopped answering, or could not read a file."
            .to_owned()
    } else {
        format!("The transfer failed: {error}.")
    })
}
