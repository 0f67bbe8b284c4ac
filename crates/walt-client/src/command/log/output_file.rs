//! A file a command writes: complete, or not there.

use crate::failure::Failure;
use crate::grammar::{Kind, Switch};
use crate::terminal::signals::set_unfinished;
use crate::terminal::spinner::Spinner;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where to write.
pub const OUTPUT: Switch = Switch {
    aliases: &["o"],
    ..Switch::value("output", Kind::File("FILE"), "the file to write; - for the standard output")
};

/// Overwrite.
pub const FORCE: Switch = Switch::flag("force", "replace the file if it exists");

/// Bytes copied at a time.
const CHUNK: usize = 256 * 1024;
/// Time between two changes of what the spinner says.
const PERIOD: Duration = Duration::from_millis(200);

/// Refuses a file that is there.
///
/// # Errors
/// It exists and may not be replaced.
pub fn check(path: &str, force: bool) -> Result<(), Failure> {
    if path != "-" && !force && fs::symlink_metadata(path).is_ok() {
        return Err(exists(path));
    }
    Ok(())
}

fn exists(path: &str) -> Failure {
    Failure::plain(format!("'{path}' exists already; --force replaces it."))
}

fn failed(path: &str, error: &std::io::Error) -> Failure {
    Failure::plain(format!("Cannot write '{path}': {error}."))
}

/// Writes what is received to a file, under another name until it is complete. Tells how many bytes.
///
/// # Errors
/// An answer that was cut; a file that cannot be written, or that exists and may not be replaced.
pub fn save(
    mut source: impl Read,
    path: &str,
    force: bool,
    what: &'static str,
) -> Result<u64, Failure> {
    if path == "-" {
        let spinner = Spinner::none();
        return copy(&mut source, &mut std::io::stdout().lock(), path, &spinner, what);
    }
    let spinner = Spinner::start();
    spinner.set_label(what);
    let (part, mut file) = begin(path)?;
    let done = copy(&mut source, &mut file, path, &spinner, what)
        .and_then(|bytes| file.sync_all().map(|()| bytes).map_err(|error| failed(path, &error)))
        .and_then(|bytes| finish(&part, path, force).map(|()| bytes));
    drop(spinner);
    if done.is_err() {
        let _ = fs::remove_file(&part);
    }
    set_unfinished(None);
    done
}

fn begin(path: &str) -> Result<(PathBuf, File), Failure> {
    let target = Path::new(path);
    let Some(name) = target.file_name() else {
        return Err(Failure::plain(format!("'{path}' is not the name of a file.")));
    };
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.part", std::process::id()));
    let part = target.with_file_name(hidden);
    let file = OpenOptions::new().write(true).create_new(true).open(&part);
    let file = file.map_err(|error| failed(path, &error))?;
    set_unfinished(Some(part.clone()));
    Ok((part, file))
}

fn finish(part: &Path, path: &str, force: bool) -> Result<(), Failure> {
    if force {
        return fs::rename(part, path).map_err(|error| failed(path, &error));
    }
    // Unlike a rename, a link never replaces a file that has come meanwhile.
    match fs::hard_link(part, path) {
        Ok(()) => fs::remove_file(part).map_err(|error| failed(path, &error)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(exists(path)),
        // A file system without links.
        Err(_) => fs::rename(part, path).map_err(|error| failed(path, &error)),
    }
}

fn copy(
    source: &mut impl Read,
    target: &mut impl Write,
    path: &str,
    spinner: &Spinner,
    what: &str,
) -> Result<u64, Failure> {
    let mut buffer = vec![0; CHUNK];
    let (mut total, mut told) = (0, Instant::now());
    loop {
        let count = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(Failure::Connection(format!(
                    "The answer of the server was cut: {error}. (tip: its journal says why)"
                )));
            }
        };
        target.write_all(&buffer[..count]).map_err(|error| failed(path, &error))?;
        total += count as u64;
        if told.elapsed() > PERIOD {
            told = Instant::now();
            spinner.set_label(&format!("{what} {}", size(total)));
        }
    }
    target.flush().map_err(|error| failed(path, &error))?;
    Ok(total)
}

/// A size in words: `812 bytes`, `1.3 MB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    struct Cut(bool);

    impl Read for Cut {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(std::io::Error::other("cut"));
            }
            buffer[0] = b'x';
            Ok(1)
        }
    }

    #[test]
    fn a_file_is_complete_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out").to_str().unwrap().to_owned();
        assert!(save(Cut(false), &path, false, "Test").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(save(&b"abc"[..], &path, false, "Test").unwrap(), 3);
        assert!(check(&path, false).is_err());
        assert!(check(&path, true).is_ok());
        assert!(save(&b"def"[..], &path, false, "Test").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"abc");
        assert_eq!(save(&b"defg"[..], &path, true, "Test").unwrap(), 4);
        assert_eq!(fs::read(&path).unwrap(), b"defg");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(save(&b""[..], "/nonexistent/x", false, "Test").is_err());
        assert!(save(&b""[..], "..", false, "Test").is_err());
    }

    #[test]
    fn sizes() {
        assert_eq!([size(12), size(1_300), size(2_500_000)], ["12 bytes", "1.3 kB", "2.5 MB"]);
    }
}
