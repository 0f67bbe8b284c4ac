//! Which members of the tar of a node go into the layer, and as what.

use std::collections::{HashMap, HashSet};
use std::io::Read;

use super::ChangesError;
use super::entry::{Entry, Moment, hard_link_target, next, padding, skip};
use super::filter::never_saved;
use super::writer::LayerWriter;

/// Most members of one tar.
const MAX_MEMBERS: u64 = 4_000_000;
/// Most bytes of all their paths, which are kept in memory.
const MAX_PATHS: usize = 256 << 20;
/// Skipped names that are kept to be told.
const TOLD: usize = 20;
/// Attributes a layer can hold, besides `user.*`. Those of the overlay itself mean nothing elsewhere.
const ATTRIBUTES: &[&[u8]] =
    &[b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default"];
/// Of a directory that hides what the image has at its place.
const OPAQUE: &[u8] = b"trusted.overlay.opaque";
/// Of files whose content, or directories whose other names, stand elsewhere in the overlay.
const INDIRECT: &[&[u8]] = &[b"trusted.overlay.redirect", b"trusted.overlay.metacopy"];

/// What to take of a tar.
#[derive(Debug, Default)]
pub struct Selection {
    /// Only what changed at or after this moment; all of it without.
    pub since: Option<Moment>,
    /// Times of last change by path, for a tar that does not tell them. What is not in there is taken.
    pub changed: HashMap<Vec<u8>, i64>,
    /// Files that the boot of the node removed: paths.
    pub removed_by_boot: HashSet<Vec<u8>>,
    /// Names to remove in a directory, by its path, for a tar that does not tell them.
    pub hidden: HashMap<Vec<u8>, Vec<Vec<u8>>>,
    /// Where the root of the tar is in the image (empty, or `local`).
    pub below: &'static str,
}

/// What a layer got.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Files, links and directories that were made or changed.
    pub changed: u64,
    /// Files and directories that were removed or replaced.
    pub removed: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Number of devices, FIFOs and other things that were left out.
    pub skipped: u64,
    /// Some of them: what, and why.
    pub told: Vec<String>,
}

impl Summary {
    /// Whether there is nothing to save.
    pub fn is_empty(&self) -> bool {
        self.changed == 0 && self.removed == 0
    }

    fn skip(&mut self, path: &[u8], why: &str) {
        self.skipped += 1;
        if self.told.len() < TOLD {
            self.told.push(format!("{:?} ({why})", String::from_utf8_lossy(path)));
        }
    }
}

/// A directory that is written when something below it is, or when it changed itself.
struct Folder {
    path: Vec<u8>,
    entry: Option<Entry>,
    /// Everything below is taken: what the image has there is hidden.
    whole: bool,
}

/// Adds to a layer what a node changed. Blocks.
///
/// # Errors
/// The tar ends early or is not one; a file system feature layers do not know; the disk is full.
pub fn layer_of(
    from: &mut impl Read,
    selection: &Selection,
    layer: &mut LayerWriter,
    summary: &mut Summary,
) -> Result<(), ChangesError> {
    layer_within(MAX_PATHS, from, selection, layer, summary)
}

/// With another limit on the bytes of all paths.
pub(super) fn layer_within(
    most: usize,
    from: &mut impl Read,
    selection: &Selection,
    layer: &mut LayerWriter,
    summary: &mut Summary,
) -> Result<(), ChangesError> {
    let mut picker = Picker {
        selection,
        layer,
        summary,
        folders: Vec::new(),
        files: HashSet::new(),
        whiteouts: HashSet::new(),
        removed: HashSet::new(),
    };
    let (mut members, mut paths) = (0, 0_usize);
    while let Some(entry) = next(from)? {
        members += 1;
        paths = paths.saturating_add(entry.path.len());
        if paths > most {
            return Err(ChangesError::TooLarge(format!("paths of more than {most} bytes")));
        }
        if members > MAX_MEMBERS {
            return Err(ChangesError::TooLarge(format!("more than {MAX_MEMBERS} files")));
        }
        let mut content = from.take(entry.size);
        let after = padding(entry.size);
        picker.pick(entry, &mut content)?;
        let rest = content.limit() + after;
        skip(from, rest)?;
    }
    Ok(())
}

struct Picker<'a> {
    selection: &'a Selection,
    layer: &'a mut LayerWriter,
    summary: &'a mut Summary,
    /// The directories above the current member.
    folders: Vec<Folder>,
    /// Files that are in the layer: hard links may name them.
    files: HashSet<Vec<u8>>,
    /// Removed files of the tar: hard links may name them too.
    whiteouts: HashSet<Vec<u8>>,
    /// Removed names the layer has already.
    removed: HashSet<Vec<u8>>,
}

impl Picker<'_> {
    fn pick(&mut self, mut entry: Entry, content: &mut impl Read) -> Result<(), ChangesError> {
        while let Some(folder) = self.folders.last() {
            let inside = entry.path.strip_prefix(folder.path.as_slice());
            if folder.path.is_empty() || inside.is_some_and(|rest| rest.starts_with(b"/")) {
                break;
            }
            self.folders.pop();
        }
        if entry.path.is_empty() {
            return Ok(());
        }
        let own_path = entry.path.clone();
        if !self.selection.below.is_empty() {
            entry.path = [self.selection.below.as_bytes(), b"/", own_path.as_slice()].concat();
        }
        let is_directory = entry.kind == b'5';
        let name = own_path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        if name.starts_with(b".wh.") {
            self.summary.skip(&own_path, "this name has a meaning of its own in layers");
            return Ok(());
        }
        if INDIRECT.iter().any(|name| entry.xattr(name).is_some()) {
            let path = String::from_utf8_lossy(&own_path).into_owned();
            return Err(ChangesError::Unfit(format!(
                "the kernel of the node keeps {path:?} as a reference to another name (redirect_dir or metacopy)"
            )));
        }
        let never = never_saved(&entry.path, is_directory);
        let taken = !never && (self.changed(&own_path, &entry) || self.below_whole());
        if is_directory {
            return self.directory(own_path, entry, taken, never);
        }
        match entry.kind {
            b'3' if entry.device == (0, 0) => {
                self.whiteouts.insert(own_path.clone());
                if !never { self.removed(&own_path, &entry.path) } else { Ok(()) }
            }
            b'1' => {
                let target = hard_link_target(&entry)?;
                if self.whiteouts.contains(&target) {
                    return if never { Ok(()) } else { self.removed(&own_path, &entry.path) };
                }
                if !taken {
                    return Ok(());
                }
                if !self.files.contains(&target) {
                    self.summary.skip(&own_path, "another name of a file that is not saved");
                    return Ok(());
                }
                if !self.selection.below.is_empty() {
                    entry.link = [self.selection.below.as_bytes(), b"/", &target].concat();
                } else {
                    entry.link = target;
                }
                entry.xattrs.clear();
                self.add(&entry, content)
            }
            b'0' | b'7' | b'2' => {
                let is_lock = entry.size == 0 && entry.kind == b'0' && name.ends_with(b".lock");
                if !taken || is_lock {
                    return Ok(());
                }
                if entry.kind != b'2' {
                    entry.kind = b'0';
                    self.files.insert(own_path);
                }
                self.add(&entry, content)
            }
            b'3' | b'4' | b'6' => {
                if taken {
                    let what = if entry.kind == b'6' { "a FIFO" } else { "a device" };
                    self.summary.skip(&own_path, what);
                }
                Ok(())
            }
            kind => {
                Err(ChangesError::Malformed(format!("a member of type {:?}", char::from(kind))))
            }
        }
    }

    /// Whether this changed since the moment that counts.
    fn changed(&self, path: &[u8], entry: &Entry) -> bool {
        let Some(since) = self.selection.since else { return true };
        if entry.mtime >= since {
            return true;
        }
        match (entry.ctime, self.selection.changed.get(path)) {
            (Some(ctime), _) => ctime >= since,
            (None, Some(seconds)) => *seconds >= since.0,
            (None, None) => true,
        }
    }

    fn below_whole(&self) -> bool {
        self.folders.iter().any(|folder| folder.whole)
    }

    fn directory(
        &mut self,
        path: Vec<u8>,
        entry: Entry,
        taken: bool,
        never: bool,
    ) -> Result<(), ChangesError> {
        let opaque = entry.xattr(OPAQUE) == Some(b"y");
        let whole = taken && opaque;
        let hidden = self.selection.hidden.get(&path).filter(|_| !never);
        let below = entry.path.clone();
        self.folders.push(Folder { path: path.clone(), entry: Some(entry), whole });
        if !taken && hidden.is_none() {
            return Ok(());
        }
        self.write_folders()?;
        if whole {
            self.whiteout(&below, b".wh.", b".opq")?;
        }
        for name in hidden.into_iter().flatten() {
            let own = [path.as_slice(), b"/", name].concat();
            let target = [below.as_slice(), b"/", name].concat();
            if !never_saved(&target, false) {
                self.removed(&own, &target)?;
            }
        }
        Ok(())
    }

    /// Something of the image is gone.
    fn removed(&mut self, own_path: &[u8], path: &[u8]) -> Result<(), ChangesError> {
        let by_boot = self.selection.removed_by_boot.contains(own_path);
        if by_boot || !self.removed.insert(path.to_vec()) {
            return Ok(());
        }
        let slash = path.iter().rposition(|&byte| byte == b'/');
        let (folder, name) = match slash {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&b""[..], path),
        };
        self.whiteout(folder, b"", name)
    }

    /// Writes `<folder>/.wh.<kind><name>`.
    fn whiteout(&mut self, folder: &[u8], kind: &[u8], name: &[u8]) -> Result<(), ChangesError> {
        let slash: &[u8] = if folder.is_empty() { b"" } else { b"/" };
        let path = [folder, slash, b".wh.", kind, name].concat();
        if kind.is_empty() && name.len() > 251 {
            return Err(ChangesError::Unfit(format!(
                "{:?} was removed, and its name is too long to be noted in a layer",
                String::from_utf8_lossy(name)
            )));
        }
        let entry = Entry { path, kind: b'0', mode: 0o600, ..Entry::default() };
        self.write_folders()?;
        self.summary.removed += 1;
        self.layer.add(&entry, &mut std::io::empty())
    }

    /// Writes a file or a link, its directories first.
    fn add(&mut self, entry: &Entry, content: &mut impl Read) -> Result<(), ChangesError> {
        self.write_folders()?;
        self.summary.changed += 1;
        self.summary.bytes += entry.size;
        self.layer.add(&kept(entry), content)
    }

    fn write_folders(&mut self) -> Result<(), ChangesError> {
        for folder in &mut self.folders {
            if let Some(entry) = folder.entry.take() {
                self.summary.changed += 1;
                self.layer.add(&kept(&entry), &mut std::io::empty())?;
            }
        }
        Ok(())
    }
}

/// A member with the attributes a layer can hold.
fn kept(entry: &Entry) -> Entry {
    let mut kept = entry.clone();
    kept.xattrs
        .retain(|(name, _)| name.starts_with(b"user.") || ATTRIBUTES.contains(&name.as_slice()));
    kept
}

#[cfg(test)]
#[path = "pick_tests.rs"]
mod tests;
