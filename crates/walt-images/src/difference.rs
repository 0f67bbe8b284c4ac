//! What differs between two images: a walk over the layers of both, in the order of paths. What both have from the
//! same layers is not looked into; only the names of the directories on the way are kept in memory.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::stack::{self, Directory, Found};

/// Deepest directory that is looked into.
const MAX_DEPTH: usize = 1000;
/// Compared at a time, in bytes.
const CHUNK: usize = 128 << 10;
/// Most bytes of the extended attributes of a file that are compared.
const MAX_ATTRIBUTES: usize = 64 << 10;

/// What became of a file from one image to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    /// Only the second image has it.
    Added,
    /// Both have it, and it differs.
    Changed,
    /// Only the first image has it.
    Removed,
}

/// A file (or directory, symlink...) that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where it is in the image, without first `/`.
    pub path: PathBuf,
    /// What became of it.
    pub became: Became,
    /// Kind of file in the second image (in the first one for what is removed).
    pub kind: &'static str,
    /// What differs of what is changed: `type`, `content`, `target`, `mode`, `owner`, `attributes`.
    pub what: Vec<&'static str>,
    /// Bytes in the first image, 0 for anything but a regular file.
    pub before: u64,
    /// Bytes in the second image.
    pub after: u64,
}

/// Tells each difference, in the order of paths (a directory before what is in it). Blocks.
///
/// # Errors
/// A layer cannot be read, a directory is too deep; what `tell` answers ends the walk.
pub fn compare(
    a: &Directory,
    b: &Directory,
    tell: &mut dyn FnMut(Difference) -> io::Result<()>,
) -> io::Result<()> {
    if a == b {
        return Ok(());
    }
    both(a, b, Path::new(""), 0, tell)
}

type Tell<'a> = &'a mut dyn FnMut(Difference) -> io::Result<()>;

fn both(a: &Directory, b: &Directory, at: &Path, depth: usize, tell: Tell<'_>) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other(format!("{} is too deep", at.display())));
    }
    let (left, right) = (a.list()?, b.list()?);
    for (name, a, b) in Pairs::new(left, right) {
        let path = at.join(&name);
        match (a, b) {
            (Some(a), Some(b)) if a.same(&b) => {}
            (Some(a), Some(b)) => {
                let what = differing(&a, &b)?;
                if !what.is_empty() {
                    tell(Difference {
                        path: path.clone(),
                        became: Became::Changed,
                        kind: kind(&b.metadata),
                        what,
                        before: size(&a.metadata),
                        after: size(&b.metadata),
                    })?;
                }
                match (&a.directory, &b.directory) {
                    (Some(a), Some(b)) => both(a, b, &path, depth + 1, tell)?,
                    (Some(a), None) => alone(a, &path, depth + 1, Became::Removed, tell)?,
                    (None, Some(b)) => alone(b, &path, depth + 1, Became::Added, tell)?,
                    (None, None) => {}
                }
            }
            (Some(a), None) => one(&a, path, depth, Became::Removed, tell)?,
            (None, Some(b)) => one(&b, path, depth, Became::Added, tell)?,
            (None, None) => {}
        }
    }
    Ok(())
}

/// What only one image has, and what is in it.
fn one(
    found: &Found,
    path: PathBuf,
    depth: usize,
    became: Became,
    tell: Tell<'_>,
) -> io::Result<()> {
    let bytes = size(&found.metadata);
    let (before, after) = if became == Became::Added { (0, bytes) } else { (bytes, 0) };
    let kind = kind(&found.metadata);
    tell(Difference { path: path.clone(), became, kind, what: Vec::new(), before, after })?;
    match &found.directory {
        Some(directory) => alone(directory, &path, depth + 1, became, tell),
        None => Ok(()),
    }
}

fn alone(
    dir: &Directory,
    at: &Path,
    depth: usize,
    became: Became,
    tell: Tell<'_>,
) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other(format!("{} is too deep", at.display())));
    }
    for (name, found) in dir.list()? {
        one(&found, at.join(name), depth, became, tell)?;
    }
    Ok(())
}

/// Two listings side by side, in the order of names.
struct Pairs {
    left: std::iter::Peekable<std::collections::btree_map::IntoIter<OsString, Found>>,
    right: std::iter::Peekable<std::collections::btree_map::IntoIter<OsString, Found>>,
}

impl Pairs {
    fn new(left: BTreeMap<OsString, Found>, right: BTreeMap<OsString, Found>) -> Self {
        Self { left: left.into_iter().peekable(), right: right.into_iter().peekable() }
    }
}

impl Iterator for Pairs {
    type Item = (OsString, Option<Found>, Option<Found>);

    fn next(&mut self) -> Option<Self::Item> {
        let order = match (self.left.peek(), self.right.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let left = if order.is_le() { self.left.next() } else { None };
        let right = if order.is_ge() { self.right.next() } else { None };
        let (left, right) = match (left, right) {
            (Some((name, a)), Some((_, b))) => return Some((name, Some(a), Some(b))),
            others => others,
        };
        let only_left = left.is_some();
        let (name, found) = left.or(right)?;
        Some(if only_left { (name, Some(found), None) } else { (name, None, Some(found)) })
    }
}

/// What differs between two files of the same name. When a file was last written is no difference.
fn differing(a: &Found, b: &Found) -> io::Result<Vec<&'static str>> {
    let (x, y) = (&a.metadata, &b.metadata);
    let mut what = Vec::new();
    if kind(x) != kind(y) {
        what.push("type");
    } else if x.is_file() {
        if a.path != b.path && (x.len() != y.len() || !same_bytes(&a.path, &b.path)?) {
            what.push("content");
        }
    } else if x.is_symlink() {
        if std::fs::read_link(&a.path)? != std::fs::read_link(&b.path)? {
            what.push("target");
        }
    } else if !x.is_dir() && x.rdev() != y.rdev() {
        what.push("content");
    }
    // The mode of a symlink means nothing.
    if !y.is_symlink() && x.mode() & 0o7777 != y.mode() & 0o7777 {
        what.push("mode");
    }
    if (x.uid(), x.gid()) != (y.uid(), y.gid()) {
        what.push("owner");
    }
    if attributes(&a.path)? != attributes(&b.path)? {
        what.push("attributes");
    }
    Ok(what)
}

fn same_bytes(a: &Path, b: &Path) -> io::Result<bool> {
    let (mut a, mut b) = (stack::open(a)?, stack::open(b)?);
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let count = fill(&mut a, &mut left)?;
        if fill(&mut b, &mut right)? != count || left[..count] != right[..count] {
            return Ok(false);
        }
        if count == 0 {
            return Ok(true);
        }
    }
}

fn fill(from: &mut std::fs::File, into: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < into.len() {
        match from.read(&mut into[done..])? {
            0 => break,
            count => done += count,
        }
    }
    Ok(done)
}

/// Extended attributes, those of overlayfs itself left out.
fn attributes(path: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    use rustix::io::Errno;
    let mut names = vec![0; MAX_ATTRIBUTES];
    let count = match rustix::fs::llistxattr(path, &mut names[..]) {
        Ok(count) => count,
        Err(Errno::OPNOTSUPP | Errno::NODATA) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut all = BTreeMap::new();
    let names = names[..count].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    for name in names.filter(|name| !name.starts_with(b"trusted.overlay.")) {
        let mut value = vec![0; MAX_ATTRIBUTES];
        let size =
            match rustix::fs::lgetxattr(path, std::ffi::OsStr::from_bytes(name), &mut value[..]) {
                Ok(size) => size,
                Err(Errno::NODATA) => continue,
                Err(error) => return Err(error.into()),
            };
        value.truncate(size);
        all.insert(name.to_vec(), value);
    }
    Ok(all)
}

fn size(metadata: &Metadata) -> u64 {
    if metadata.is_file() { metadata.len() } else { 0 }
}

fn kind(metadata: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    if kind.is_file() {
        "file"
    } else if kind.is_dir() {
        "directory"
    } else if kind.is_symlink() {
        "symlink"
    } else if kind.is_char_device() {
        "character device"
    } else if kind.is_block_device() {
        "block device"
    } else if kind.is_fifo() {
        "pipe"
    } else {
        "socket"
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Needs root for whiteouts, as overlayfs keeps them.
    fn whiteout(path: PathBuf) -> bool {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let none = rustix::fs::makedev(0, 0);
        let mode = rustix::fs::Mode::empty();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::CharacterDevice,
            mode,
            none,
        )
        .is_ok()
    }

    fn opaque(path: &Path) {
        fs::create_dir_all(path).unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(path, "trusted.overlay.opaque", b"y", flags).unwrap();
    }

    fn told(a: &[&Path], b: &[&Path]) -> Vec<String> {
        let root =
            |layers: &[&Path]| Directory::root(layers.iter().map(|p| p.to_path_buf()).collect());
        let mut told = Vec::new();
        let mut tell = |d: Difference| {
            let sign = match d.became {
                Became::Added => '+',
                Became::Changed => '~',
                Became::Removed => '-',
            };
            told.push(format!(
                "{sign} {} {} {} {}>{}",
                d.path.display(),
                d.kind,
                d.what.join(","),
                d.before,
                d.after
            ));
            Ok(())
        };
        compare(&root(a), &root(b), &mut tell).unwrap();
        told
    }

    #[test]
    fn layers_are_merged_as_overlayfs_does() {
        let dir = tempfile::tempdir().unwrap();
        let (base, top) = (dir.path().join("base"), dir.path().join("top"));
        write(base.join("etc/kept"), "kept");
        write(base.join("etc/changed"), "one");
        write(base.join("etc/gone"), "gone!");
        write(base.join("etc/touched"), "same");
        write(base.join("opt/old/file"), "old");
        write(base.join("var/log/a"), "a");
        write(base.join("was-directory/x"), "x");
        symlink("etc/kept", base.join("link")).unwrap();
        write(top.join("etc/changed"), "three");
        write(top.join("etc/touched"), "same");
        fs::set_permissions(top.join("etc/touched"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(base.join("etc/touched"), fs::Permissions::from_mode(0o644)).unwrap();
        write(top.join("was-directory"), "file now");
        write(top.join("new/deep/file"), "12345678");
        symlink("etc/changed", top.join("link")).unwrap();
        if !whiteout(top.join("etc/gone")) {
            eprintln!("skipped: needs root");
            return;
        }
        opaque(&top.join("opt/old"));
        write(top.join("opt/old/other"), "other");

        let (base, top) = (base.as_path(), top.as_path());
        assert_eq!(
            told(&[base], &[top, base]),
            [
                "~ etc/changed file content 3>5",
                "- etc/gone file  5>0",
                "~ etc/touched file mode 4>4",
                "~ link symlink target 0>0",
                "+ new directory  0>0",
                "+ new/deep directory  0>0",
                "+ new/deep/file file  0>8",
                "- opt/old/file file  3>0",
                "+ opt/old/other file  0>5",
                "~ was-directory file type,mode 0>8",
                "- was-directory/x file  1>0",
            ]
        );
        assert_eq!(told(&[top, base], &[top, base]), Vec::<String>::new());
        // The other way round.
        let back = told(&[top, base], &[base]);
        assert!(back.contains(&"+ etc/gone file  0>5".to_owned()), "{back:?}");
        assert!(back.contains(&"+ was-directory/x file  0>1".to_owned()), "{back:?}");
    }

    #[test]
    fn paths_stay_in_the_image() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        write(base.join("usr/lib/os-release"), "name");
        fs::create_dir_all(base.join("etc")).unwrap();
        symlink("../usr/lib/os-release", base.join("etc/os-release")).unwrap();
        symlink("/../../usr/lib", base.join("lib")).unwrap();
        symlink("loop", base.join("loop")).unwrap();
        let root = Directory::root(vec![base]);
        let read = |path: &str| {
            let mut text = String::new();
            root.open(Path::new(path)).unwrap().map(|mut file| {
                file.read_to_string(&mut text).unwrap();
                text
            })
        };
        assert_eq!(read("/etc/os-release").as_deref(), Some("name"));
        assert_eq!(read("lib/os-release").as_deref(), Some("name"));
        assert_eq!(read("etc/none"), None);
        assert!(root.open(Path::new("loop/x")).is_err());
    }
}
