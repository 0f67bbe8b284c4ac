//! The packages an image says it has.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::stack::Directory;

/// Name of a package (with its architecture where the database tells) and its version.
pub type Packages = BTreeMap<String, String>;

/// dpkg's database (dpkg(1), deb-control(5)).
const DPKG: &str = "var/lib/dpkg/status";
/// One file for each package, in images without dpkg itself.
const DPKG_FOLDER: &str = "var/lib/dpkg/status.d";
/// Most bytes read of a database.
const MAX_DATABASE: u64 = 256 << 20;
/// Longest line kept, in bytes; the fields we want are short.
const MAX_LINE: u64 = 4096;
/// Most packages kept.
pub(crate) const MAX_PACKAGES: usize = 200_000;

/// Packages of dpkg and of RPM; `None` when the image has neither database.
///
/// # Errors
/// A layer cannot be read, or holds something else than a database.
pub fn of(image: &Directory) -> io::Result<Option<Packages>> {
    let mut found = dpkg(image)?;
    for place in crate::rpm::DATABASES {
        if let Some(file) = image.find(Path::new(place))?.filter(|file| file.metadata.is_file()) {
            found.get_or_insert_default().extend(crate::rpm::read(&file.path)?);
            break;
        }
    }
    Ok(found)
}

/// Packages of dpkg; `None` when the image has none of its databases.
///
/// # Errors
/// A layer cannot be read.
pub fn dpkg(image: &Directory) -> io::Result<Option<Packages>> {
    let mut packages = Packages::new();
    let mut any = false;
    if let Some(file) = image.open(Path::new(DPKG))? {
        any = true;
        read_dpkg(&mut BufReader::new(file.take(MAX_DATABASE)), &mut packages)?;
    }
    if let Some(folder) = image.find(Path::new(DPKG_FOLDER))?.and_then(|found| found.directory) {
        any = true;
        for (name, found) in folder.list()? {
            if found.metadata.is_file() && !name.to_string_lossy().ends_with(".md5sums") {
                let file = crate::stack::open(&found.path)?.take(1 << 20);
                read_dpkg(&mut BufReader::new(file), &mut packages)?;
            }
        }
    }
    Ok(any.then_some(packages))
}

/// Paragraphs of `Field: value` lines, separated by empty ones. Of `status`, only what is installed counts.
fn read_dpkg(text: &mut impl BufRead, packages: &mut Packages) -> io::Result<()> {
    let mut current = Paragraph::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let count = text.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        if count as u64 == MAX_LINE && line.last() != Some(&b'\n') {
            skip_line(text)?;
        }
        let field = String::from_utf8_lossy(&line);
        let field = field.trim_end();
        if field.is_empty() {
            current.end(packages);
            if count == 0 || packages.len() >= MAX_PACKAGES {
                return Ok(());
            }
        } else if let Some((name, value)) = field.split_once(": ") {
            match name {
                "Package" => current.name = value.to_owned(),
                "Version" => current.version = value.to_owned(),
                "Architecture" => current.architecture = value.to_owned(),
                "Status" => current.installed = value.ends_with(" installed"),
                _ => {}
            }
        }
    }
}

fn skip_line(text: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = text.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let count = end.map_or(buffer.len(), |at| at + 1);
        text.consume(count);
        if end.is_some() {
            return Ok(());
        }
    }
}

struct Paragraph {
    name: String,
    version: String,
    architecture: String,
    installed: bool,
}

impl Default for Paragraph {
    fn default() -> Self {
        let (name, version, architecture) = Default::default();
        // Files of `status.d` do not say it.
        Self { name, version, architecture, installed: true }
    }
}

impl Paragraph {
    fn end(&mut self, packages: &mut Packages) {
        let done = std::mem::take(self);
        if done.name.is_empty() || !done.installed {
            return;
        }
        let name = match done.architecture.as_str() {
            "" | "all" => done.name,
            architecture => format!("{}:{architecture}", done.name),
        };
        packages.insert(name, done.version);
    }
}

/// A package that differs: its name, its version in the first image, its version in the second one.
pub type Changed = (String, Option<String>, Option<String>);

/// What differs, by name.
pub fn compare(a: &Packages, b: &Packages) -> Vec<Changed> {
    let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let pairs = names.into_iter().map(|name| (name, a.get(name), b.get(name)));
    pairs
        .filter(|(_, before, after)| before != after)
        .map(|(name, before, after)| (name.clone(), before.cloned(), after.cloned()))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_database_of_dpkg() {
        let long = "x".repeat(10_000);
        let text = format!(
            "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2-1\nDescription: shell\n \
             Version: 9 is not a field\nDepends: {long}\n\nPackage: old\nStatus: deinstall ok config-files\n\
             Version: 1\n\nPackage: tzdata\nStatus: install ok installed\nArchitecture: all\nVersion: 2026a\n"
        );
        let mut packages = Packages::new();
        read_dpkg(&mut text.as_bytes(), &mut packages).unwrap();
        let found: Vec<_> = packages.iter().map(|(n, v)| format!("{n} {v}")).collect();
        assert_eq!(found, ["bash:amd64 5.2-1", "tzdata 2026a"]);
        read_dpkg(&mut [0xff, b'\n', 0, b':', b' '].as_slice(), &mut packages).unwrap();
    }

    #[test]
    fn differences() {
        let of = |list: &[(&str, &str)]| -> Packages {
            list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
        };
        let changed = compare(
            &of(&[("a", "1"), ("b", "1"), ("c", "1")]),
            &of(&[("b", "1"), ("c", "2"), ("d", "1")]),
        );
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            changed,
            [
                ("a".to_owned(), some("1"), None),
                ("c".to_owned(), some("1"), some("2")),
                ("d".to_owned(), None, some("1")),
            ]
        );
    }
}
