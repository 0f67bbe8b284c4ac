//! A tar stream written into the files of a working copy.
//!
//! Who made the stream may be hostile. Every name is looked up by the kernel with the image's root as its root
//! ([`Inside`]): whatever links stand there, or come with the stream, nothing outside is touched. Names and headers are
//! bounded; what would mean something else in a layer (`.wh.` names, attributes of the overlay) is refused.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use tar::{Archive, Entry, EntryType, Header};

use crate::build::context::{LOOK, room_of};
use crate::inside::Inside;

/// Longest name, link target or extended header, in bytes.
const LONGEST: u64 = 64 << 10;
/// Start of names that take files away in a layer (OCI image specification, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
/// Attributes that may be given: those a user may set, and file capabilities.
const ATTRIBUTES: &[&str] = &["user.", "security.capability"];

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Files, directories and links.
    pub members: u64,
    /// Content of files, in bytes.
    pub bytes: u64,
}

/// What extended headers say about the next member.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    attributes: BTreeMap<String, Vec<u8>>,
}

/// Unpacks a stream in `directory`, which exists. What stands at the place of a member is replaced; a directory, or a
/// link to one, is filled. `progress` is told the bytes written so far.
///
/// # Errors
/// Those of reading and writing; a stream that is no archive, is cut, is empty, or leads outside; the disk is nearly full.
pub fn unpack(
    stream: impl Read,
    files: &Inside,
    directory: &Path,
    mut progress: impl FnMut(u64),
) -> io::Result<Unpacked> {
    // The place itself, whatever the stream does to the links that lead to it.
    let place = files.physical(directory)?;
    let mut archive = Archive::new(stream);
    let mut unpacked = Unpacked::default();
    let mut extended = Extended::default();
    let mut directories = Vec::new();
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        if extended.take_in(&mut entry)? {
            continue;
        }
        let about = std::mem::take(&mut extended);
        let path = about.path.clone().unwrap_or_else(|| entry.path_bytes().into_owned());
        let named = |error: io::Error| {
            let path = String::from_utf8_lossy(&path);
            io::Error::new(error.kind(), format!("{path}: {error}"))
        };
        let (parent, name) = below(&place, &path).map_err(named)?;
        let Some(name) = name else {
            // `.`: the place itself keeps its attributes.
            unpacked.members += 1;
            continue;
        };
        files.make_dir_all(&parent).map_err(named)?;
        let dir = files.open_dir(&parent).map_err(named)?;
        let target = Member { files, place: &place, dir: &dir, name: &name, about: &about };
        let bytes = target.write(&mut entry, unpacked.bytes, &mut progress).map_err(named)?;
        unpacked.bytes += bytes;
        unpacked.members += 1;
        if entry.header().entry_type().is_dir() {
            directories.push((parent.join(&name), time_of(entry.header())?));
        }
    }
    if unpacked.members == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "nothing was received"));
    }
    for (path, time) in directories.iter().rev() {
        // Filling it changed its date. It may be gone: replaced by a later member.
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name())
            && let Ok(dir) = files.open_dir(parent)
        {
            let _ = rustix::fs::utimensat(&dir, name, time, AtFlags::SYMLINK_NOFOLLOW);
        }
    }
    Ok(unpacked)
}

impl Extended {
    /// True when the entry is about the next one.
    fn take_in<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> io::Result<bool> {
        let kind = entry.header().entry_type();
        if !matches!(
            kind,
            EntryType::GNULongName
                | EntryType::GNULongLink
                | EntryType::XHeader
                | EntryType::XGlobalHeader
        ) {
            return Ok(false);
        }
        if entry.size() > LONGEST {
            return Err(io::Error::other("an extended header is too long"));
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        match kind {
            EntryType::GNULongName => self.path = Some(without_zero(content)),
            EntryType::GNULongLink => self.target = Some(without_zero(content)),
            EntryType::XHeader => self.records(&content)?,
            _ => {}
        }
        Ok(true)
    }

    fn records(&mut self, content: &[u8]) -> io::Result<()> {
        for record in tar::PaxExtensions::new(content) {
            let record = record?;
            let (Ok(key), value) = (record.key(), record.value_bytes()) else { continue };
            match key {
                "path" => self.path = Some(value.to_vec()),
                "linkpath" => self.target = Some(value.to_vec()),
                "size" => return Err(io::Error::other("a file of more than 8 GiB in this format")),
                key => {
                    if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                        self.attributes.insert(name.to_owned(), value.to_vec());
                    }
                }
            }
        }
        Ok(())
    }
}

fn without_zero(mut text: Vec<u8>) -> Vec<u8> {
    while text.last() == Some(&0) {
        text.pop();
    }
    text
}

/// Parent and name of a member, `place` being what it is relative to; no name: it is the place.
fn below(place: &Path, path: &[u8]) -> io::Result<(PathBuf, Option<OsString>)> {
    let refused = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why.to_owned()));
    let mut names: Vec<&OsStr> = Vec::new();
    for component in Path::new(OsStr::from_bytes(path)).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) if name.as_bytes().starts_with(WHITEOUT) => {
                return refused("names that start with .wh. cannot be kept in an image");
            }
            Component::Normal(name) => names.push(name),
            _ => return refused("a member that leads elsewhere is refused"),
        }
    }
    let name = names.pop().map(OsStr::to_owned);
    Ok((names.iter().fold(place.to_owned(), |path, name| path.join(name)), name))
}

fn time_of(header: &Header) -> io::Result<Timestamps> {
    let time = Timespec { tv_sec: i64::try_from(header.mtime()?).unwrap_or_default(), tv_nsec: 0 };
    Ok(Timestamps { last_access: time, last_modification: time })
}

struct Member<'a> {
    files: &'a Inside,
    place: &'a Path,
    dir: &'a OwnedFd,
    name: &'a OsStr,
    about: &'a Extended,
}

impl Member<'_> {
    fn write<R: Read>(
        &self,
        entry: &mut Entry<'_, R>,
        before: u64,
        progress: &mut impl FnMut(u64),
    ) -> io::Result<u64> {
        let header = entry.header().clone();
        let mode = Mode::from_raw_mode(header.mode()? & 0o7777);
        match header.entry_type() {
            EntryType::Directory => {
                if self.make_dir()? {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
                    let flags = flags | OFlags::CLOEXEC;
                    let dir = rustix::fs::openat(self.dir, self.name, flags, Mode::empty())?;
                    self.attributes(&dir, &header, mode)?;
                }
                Ok(0)
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                if header.entry_type() == EntryType::GNUSparse {
                    return Err(io::Error::other("sparse members are not understood"));
                }
                self.clear()?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let private = Mode::from_raw_mode(0o600);
                let fd = rustix::fs::openat(self.dir, self.name, flags, private)?;
                let mut file = File::from(fd);
                let bytes = copy(entry, &mut file, before, progress)?;
                if bytes != entry.size() {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "cut"));
                }
                self.attributes(&file, &header, mode)?;
                Ok(bytes)
            }
            EntryType::Symlink => {
                self.clear()?;
                let target = self.target(&header)?;
                rustix::fs::symlinkat(target.as_os_str(), self.dir, self.name)?;
                self.owner_and_date(&header)
            }
            EntryType::Link => {
                let (parent, name) = below(self.place, self.target(&header)?.as_bytes())?;
                let name = name.ok_or_else(|| io::Error::other("a link to nothing"))?;
                let parent = self.files.open_dir(parent)?;
                self.clear()?;
                rustix::fs::linkat(&parent, &name, self.dir, self.name, AtFlags::empty())?;
                Ok(0)
            }
            EntryType::Fifo | EntryType::Char | EntryType::Block => {
                let kind = match header.entry_type() {
                    EntryType::Fifo => FileType::Fifo,
                    EntryType::Char => FileType::CharacterDevice,
                    _ => FileType::BlockDevice,
                };
                let major = header.device_major()?.unwrap_or_default();
                let minor = header.device_minor()?.unwrap_or_default();
                if kind == FileType::CharacterDevice && (major, minor) == (0, 0) {
                    return Err(io::Error::other("this device would take a file away"));
                }
                self.clear()?;
                let device = rustix::fs::makedev(major, minor);
                rustix::fs::mknodat(self.dir, self.name, kind, mode, device)?;
                rustix::fs::chmodat(self.dir, self.name, mode, AtFlags::empty())?;
                self.owner_and_date(&header)
            }
            _ => Err(io::Error::other("a member of a kind that is not known")),
        }
    }

    /// True: it is a directory of its own (just made, or there), not a link to one.
    fn make_dir(&self) -> io::Result<bool> {
        let stat = rustix::fs::statat(self.dir, self.name, AtFlags::SYMLINK_NOFOLLOW);
        match stat.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Ok(FileType::Directory) => return Ok(true),
            Ok(FileType::Symlink) if self.leads_to_dir() => return Ok(false),
            Ok(_) => rustix::fs::unlinkat(self.dir, self.name, AtFlags::empty())?,
            Err(_) => {}
        }
        rustix::fs::mkdirat(self.dir, self.name, Mode::from_raw_mode(0o755))?;
        Ok(true)
    }

    fn leads_to_dir(&self) -> bool {
        let here = self.files.seen(self.dir);
        here.is_ok_and(|here| {
            self.files.target_kind(here.join(self.name)) == Some(FileType::Directory)
        })
    }

    /// Nothing stands there any more.
    fn clear(&self) -> io::Result<()> {
        match rustix::fs::unlinkat(self.dir, self.name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(rustix::io::Errno::ISDIR) => {
                Err(io::Error::other("a directory stands there: it is not replaced"))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn target(&self, header: &Header) -> io::Result<OsString> {
        let target = match &self.about.target {
            Some(target) => target.clone(),
            None => header.link_name_bytes().map(|name| name.into_owned()).unwrap_or_default(),
        };
        if target.is_empty() || target.len() >= 4096 {
            return Err(io::Error::other("a link without a proper target"));
        }
        Ok(OsString::from_vec(target))
    }

    fn attributes(&self, file: &impl AsFd, header: &Header, mode: Mode) -> io::Result<()> {
        let (uid, gid) = owner(header)?;
        rustix::fs::fchown(file, Some(uid), Some(gid))?;
        // After the owner, whose change takes such bits and attributes away.
        rustix::fs::fchmod(file, mode)?;
        for (name, value) in &self.about.attributes {
            if ATTRIBUTES.iter().any(|allowed| name.starts_with(allowed)) {
                rustix::fs::fsetxattr(file, name.as_str(), value, XattrFlags::empty())?;
            }
        }
        Ok(rustix::fs::futimens(file, &time_of(header)?)?)
    }

    fn owner_and_date(&self, header: &Header) -> io::Result<u64> {
        let (uid, gid) = owner(header)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(self.dir, self.name, Some(uid), Some(gid), flags)?;
        rustix::fs::utimensat(self.dir, self.name, &time_of(header)?, flags)?;
        Ok(0)
    }
}

fn owner(header: &Header) -> io::Result<(Uid, Gid)> {
    let number = |value: u64| u32::try_from(value).ok().filter(|&value| value != u32::MAX);
    let (uid, gid) = (number(header.uid()?), number(header.gid()?));
    let wrong = || io::Error::other("an owner that cannot be");
    Ok((Uid::from_raw(uid.ok_or_else(wrong)?), Gid::from_raw(gid.ok_or_else(wrong)?)))
}

fn copy(
    from: &mut impl Read,
    to: &mut File,
    before: u64,
    progress: &mut impl FnMut(u64),
) -> io::Result<u64> {
    use std::io::Write;
    let mut chunk = vec![0; 256 << 10];
    let mut done = 0;
    loop {
        let count = from.read(&mut chunk)?;
        if count == 0 {
            progress(before + done);
            return Ok(done);
        }
        let total = before + done;
        if done == 0 || total / LOOK < (total + count as u64) / LOOK {
            room_of(&*to, 0)?;
        }
        to.write_all(&chunk[..count])?;
        done += count as u64;
        progress(before + done);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};
    use tar::Builder;

    struct Place {
        _dir: tempfile::TempDir,
        root: PathBuf,
        files: Inside,
    }

    /// The files of an image, and a treasure beside them.
    fn place() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("srv")).unwrap();
        std::fs::create_dir_all(root.join("usr/lib")).unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
        std::fs::write(dir.path().join("treasure"), "gold").unwrap();
        let files = Inside::enter(&root).unwrap();
        Place { _dir: dir, root, files }
    }

    fn archive(members: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, kind, target) in members {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o4750);
            header.set_mtime(1_000);
            let content: &[u8] = if kind.is_file() { b"content" } else { b"" };
            header.set_size(content.len() as u64);
            // As no proper program would write it: any name.
            let text = header.as_old_mut();
            text.name[..name.len()].copy_from_slice(name.as_bytes());
            text.linkname[..target.len()].copy_from_slice(target.as_bytes());
            header.set_uid(7);
            header.set_gid(8);
            header.set_cksum();
            builder.append(&header, content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn put(place: &Place, members: &[(&str, EntryType, &str)]) -> io::Result<Unpacked> {
        unpack(archive(members).as_slice(), &place.files, Path::new("/srv"), |_| {})
    }

    #[test]
    fn what_is_kept_of_a_member() {
        let place = place();
        let members = [
            ("d", EntryType::Directory, ""),
            ("d/f", EntryType::Regular, ""),
            ("d/hard", EntryType::Link, "d/f"),
            ("d/soft", EntryType::Symlink, "/etc/passwd"),
            ("d/f", EntryType::Regular, ""),
        ];
        let unpacked = put(&place, &members).unwrap();
        assert_eq!(unpacked, Unpacked { members: 5, bytes: 14 });
        let file = std::fs::metadata(place.root.join("srv/d/f")).unwrap();
        assert_eq!((file.mode() & 0o7777, file.mtime()), (0o4750, 1_000));
        assert_eq!((file.uid(), file.gid()), (7, 8));
        let dir = std::fs::metadata(place.root.join("srv/d")).unwrap();
        assert_eq!(dir.mtime(), 1_000);
        // Replaced, not written through: the other name keeps what it had.
        assert_eq!(std::fs::metadata(place.root.join("srv/d/hard")).unwrap().nlink(), 1);
        let target = std::fs::read_link(place.root.join("srv/d/soft")).unwrap();
        assert_eq!(target, Path::new("/etc/passwd"));
    }

    #[test]
    fn links_to_directories_stay() {
        let place = place();
        let members = [("lib", EntryType::Directory, ""), ("lib/f", EntryType::Regular, "")];
        unpack(archive(&members).as_slice(), &place.files, Path::new("/"), |_| {}).unwrap();
        assert!(place.root.join("lib").is_symlink());
        assert!(place.root.join("usr/lib/f").exists());
        assert!(put(&place, &[("../lib", EntryType::Regular, "")]).is_err());
        // A directory is not replaced by a file.
        std::fs::create_dir(place.root.join("srv/dir")).unwrap();
        assert!(put(&place, &[("dir", EntryType::Regular, "")]).is_err());
    }

    #[test]
    fn nothing_outside_is_touched() {
        let place = place();
        let (file, link, hard) = (EntryType::Regular, EntryType::Symlink, EntryType::Link);
        for members in [
            vec![("../treasure", file, "")],
            vec![("/treasure", file, "")],
            vec![("a/../../treasure", file, "")],
            vec![("x", hard, "../treasure")],
            vec![("x", hard, "/etc/passwd")],
            vec![(".wh.x", file, "")],
            vec![("a/.wh..wh..opq", file, "")],
            vec![("x", EntryType::Char, "")],
            vec![],
        ] {
            assert!(put(&place, &members).is_err(), "{members:?}");
        }
        let outside = place.root.parent().unwrap().to_str().unwrap().to_owned();
        for target in [outside.as_str(), "../..", "/", "/proc/self/root"] {
            let _ = put(&place, &[("a", link, target), ("a/treasure", file, "")]);
        }
        let treasure = std::fs::read(place.root.parent().unwrap().join("treasure")).unwrap();
        assert_eq!(treasure, b"gold");
        assert_eq!(std::fs::read_dir(place.root.parent().unwrap()).unwrap().count(), 2);
    }

    #[test]
    fn cut_and_endless_streams() {
        let place = place();
        let whole = archive(&[("f", EntryType::Regular, "")]);
        assert!(unpack(&whole[..515], &place.files, Path::new("/srv"), |_| {}).is_err());
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(1 << 40);
        header.set_cksum();
        let stream = header.as_bytes().chain(io::repeat(b'x'));
        let error = unpack(stream, &place.files, Path::new("/srv"), |_| {}).unwrap_err();
        assert!(error.to_string().contains("too long"), "{error}");
    }

    #[test]
    fn a_disk_is_not_filled() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let on_disk = |verb: &str| {
            let mut command = std::process::Command::new(verb);
            if verb == "mount" {
                command.args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]);
            }
            assert!(command.arg(dir.path()).status().unwrap().success());
        };
        on_disk("mount");
        let files = Inside::enter(dir.path()).unwrap();
        let stream = archive(&[("f", EntryType::Regular, "")]);
        let unpacked = unpack(stream.as_slice(), &files, Path::new("/"), |_| {});
        let written = std::fs::read(dir.path().join("f")).unwrap();
        drop(files);
        on_disk("umount");
        assert_eq!(unpacked.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(written.is_empty());
    }

    #[test]
    fn there_and_back() {
        let place = place();
        let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
        std::fs::create_dir_all(place.root.join("srv").join("d".repeat(120))).unwrap();
        std::fs::write(place.root.join("srv").join(&long), "content").unwrap();
        let packed = super::super::pack::pack(
            &place.files,
            Path::new("/srv"),
            OsStr::new("copy"),
            Vec::new(),
        )
        .unwrap();
        unpack(packed.as_slice(), &place.files, Path::new("/usr"), |_| {}).unwrap();
        let copy = place.root.join("usr/copy").join(&long);
        assert_eq!(std::fs::read_to_string(copy).unwrap(), "content");
    }
}
