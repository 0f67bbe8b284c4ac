//! File operations that cannot leave a directory, whatever its symlinks say.
//!
//! An image is written by its owner: any of its directories may be a symlink to anywhere. Every path
//! given here is resolved by the kernel with the directory as root (`openat2(2)`, `RESOLVE_IN_ROOT`),
//! so that absolute links and `..` stay inside; the last name of a path that is written, renamed or
//! removed is never followed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid,
};

/// A directory and everything below it.
#[derive(Debug)]
pub struct Inside {
    root: OwnedFd,
    /// Path of the directory as the kernel names it.
    base: PathBuf,
}

/// Where a file is: its directory, and its name in it.
struct Place {
    parent: OwnedFd,
    name: OsString,
}

impl Inside {
    /// Enters a directory.
    ///
    /// # Errors
    /// It is not a directory, or cannot be opened.
    pub fn enter(dir: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(dir, flags, Mode::empty())?;
        let base = path_of(&root)?;
        Ok(Self { root, base })
    }

    /// Opens a regular file for reading. Symlinks are followed, inside.
    ///
    /// # Errors
    /// It does not exist or is not a regular file (`InvalidInput`).
    pub fn open_file(&self, path: impl AsRef<Path>) -> io::Result<File> {
        // Never wait for the other end of a FIFO.
        let fd = self.open(path.as_ref(), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(File::from(fd))
    }

    /// Reads a regular file of at most `limit` bytes. Symlinks are followed, inside.
    ///
    /// # Errors
    /// It does not exist, is not a regular file, or is larger.
    pub fn read(&self, path: impl AsRef<Path>, limit: usize) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.open_file(path)?.take(limit as u64 + 1).read_to_end(&mut content)?;
        if content.len() > limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("larger than {limit} bytes"),
            ));
        }
        Ok(content)
    }

    /// What stands at a path, its last name not followed.
    ///
    /// # Errors
    /// Nothing is there.
    pub fn stat(&self, path: impl AsRef<Path>) -> io::Result<Stat> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        Ok(rustix::fs::fstat(self.open(path.as_ref(), flags)?)?)
    }

    /// Kind of what stands at a path, its last name not followed; None when nothing is there.
    pub fn kind(&self, path: impl AsRef<Path>) -> Option<FileType> {
        self.stat(path).ok().map(|stat| FileType::from_raw_mode(stat.st_mode))
    }

    /// Whether something (links followed, inside) is there.
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.open(path.as_ref(), OFlags::PATH).is_ok()
    }

    /// Target of a symlink, as written.
    ///
    /// # Errors
    /// It is not a symlink.
    pub fn read_link(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        let fd = self.open(path.as_ref(), OFlags::PATH | OFlags::NOFOLLOW)?;
        let target = rustix::fs::readlinkat(&fd, "", Vec::new())?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// The path without any symlink that leads to the same place: absolute, seen from inside.
    ///
    /// # Errors
    /// Nothing is there.
    pub fn physical(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        self.seen_from_inside(&self.open(path.as_ref(), OFlags::PATH)?)
    }

    /// Like [`Inside::physical`], but the last name is not followed.
    ///
    /// # Errors
    /// The directory it would be in does not exist.
    pub fn physical_place(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        let place = self.place(path.as_ref(), None)?;
        Ok(self.seen_from_inside(&place.parent)?.join(place.name))
    }

    /// Names in a directory, sorted.
    ///
    /// # Errors
    /// It is not a directory.
    pub fn list(&self, path: impl AsRef<Path>) -> io::Result<Vec<OsString>> {
        let fd = self.open(path.as_ref(), OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(fd)? {
            let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Makes a directory and its parents where missing (mode 0755, root's).
    ///
    /// # Errors
    /// Something else is in the way.
    pub fn make_dir_all(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.make_dirs(path.as_ref(), 0o755).map(drop)
    }

    /// Writes a file in one step: readers see the old one or the whole new one. Whatever stood there
    /// (a symlink too) is replaced; missing parents are made; the owner is root.
    ///
    /// # Errors
    /// A directory stands there; the disk is full.
    pub fn write(
        &self,
        path: impl AsRef<Path>,
        content: &[u8],
        mode: u32,
        mtime: i64,
    ) -> io::Result<()> {
        let place = self.place(path.as_ref(), Some(0o755))?;
        place.write(content, Mode::from_raw_mode(mode), None, mtime)
    }

    /// Changes the content of an existing regular file, symlinks followed inside; owner and
    /// permissions stay.
    ///
    /// # Errors
    /// There is no such file.
    pub fn rewrite(&self, path: impl AsRef<Path>, content: &[u8], mtime: i64) -> io::Result<()> {
        let physical = self.physical(path)?;
        let stat = self.stat(&physical)?;
        let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        self.place(&physical, None)?.write(content, mode, Some(owner), mtime)
    }

    /// Makes a symlink, replacing a file or symlink that stood there.
    ///
    /// # Errors
    /// A directory stands there.
    pub fn symlink(&self, target: impl AsRef<Path>, path: impl AsRef<Path>) -> io::Result<()> {
        let place = self.place(path.as_ref(), Some(0o755))?;
        let temporary = place.temporary();
        rustix::fs::symlinkat(target.as_ref(), &place.parent, &temporary)?;
        place.settle(&temporary)
    }

    /// Removes a file or a symlink (not a directory). Nothing there is no error: false.
    ///
    /// # Errors
    /// A directory stands there.
    pub fn remove(&self, path: impl AsRef<Path>) -> io::Result<bool> {
        let removed = self.place(path.as_ref(), None).and_then(|place| {
            Ok(rustix::fs::unlinkat(&place.parent, &place.name, AtFlags::empty())?)
        });
        match removed {
            Ok(()) => Ok(true),
            Err(error) if missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes a directory if nothing is in it.
    ///
    /// # Errors
    /// It is not a directory.
    pub fn remove_empty_dir(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let place = self.place(path.as_ref(), None)?;
        match rustix::fs::unlinkat(&place.parent, &place.name, AtFlags::REMOVEDIR) {
            Err(error) if error != rustix::io::Errno::NOTEMPTY => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Opens a directory, symlinks followed inside, as a place to work in.
    ///
    /// # Errors
    /// It is not a directory.
    pub fn open_dir(&self, path: impl AsRef<Path>) -> io::Result<OwnedFd> {
        self.open(path.as_ref(), OFlags::PATH | OFlags::DIRECTORY)
    }

    /// What stands at a path, links followed inside; None when nothing is there.
    pub fn target_kind(&self, path: impl AsRef<Path>) -> Option<FileType> {
        let fd = self.open(path.as_ref(), OFlags::PATH).ok()?;
        rustix::fs::fstat(fd).ok().map(|stat| FileType::from_raw_mode(stat.st_mode))
    }

    /// Gives a file or symlink another name in its directory. Nothing there is no error: false.
    ///
    /// # Errors
    /// The new name cannot be used.
    pub fn rename(&self, path: impl AsRef<Path>, name: impl AsRef<OsStr>) -> io::Result<bool> {
        let renamed = self.place(path.as_ref(), None).and_then(|place| {
            Ok(rustix::fs::renameat(&place.parent, &place.name, &place.parent, name.as_ref())?)
        });
        match renamed {
            Ok(()) => Ok(true),
            Err(error) if missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let path = if path.as_os_str().is_empty() { Path::new("/") } else { path };
        let mut tries = 0;
        loop {
            match rustix::fs::openat2(
                &self.root,
                path,
                flags | OFlags::CLOEXEC,
                Mode::empty(),
                resolve,
            ) {
                // A rename or mount anywhere on the machine met a `..` of ours: look again.
                Err(rustix::io::Errno::AGAIN) if tries < 1000 => tries += 1,
                other => return Ok(other?),
            }
        }
    }

    /// Parent and name of a path; with a mode, missing parents are made.
    fn place(&self, path: &Path, make_parents: Option<u32>) -> io::Result<Place> {
        let bad =
            || io::Error::new(io::ErrorKind::InvalidInput, "this path has no name at its end");
        let name = path.file_name().ok_or_else(bad)?.to_owned();
        let parent = path.parent().unwrap_or(Path::new("/"));
        let parent = match make_parents {
            Some(mode) => self.make_dirs(parent, mode)?,
            None => self.open(parent, OFlags::PATH | OFlags::DIRECTORY)?,
        };
        Ok(Place { parent, name })
    }

    fn make_dirs(&self, path: &Path, mode: u32) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let mut so_far = PathBuf::from("/");
        let mut parent = self.open(&so_far, flags)?;
        for component in path.components() {
            so_far.push(component);
            parent = match self.open(&so_far, flags) {
                Err(error) if missing(&error) => {
                    let (name, mode) = (component.as_os_str(), Mode::from_raw_mode(mode));
                    rustix::fs::mkdirat(&parent, name, mode)?;
                    // Whatever our umask; nobody else writes in here.
                    rustix::fs::chmodat(&parent, name, mode, AtFlags::empty())?;
                    self.open(&so_far, flags)?
                }
                other => other?,
            };
        }
        Ok(parent)
    }

    /// Path of a directory given by [`Inside::open_dir`], seen from inside.
    ///
    /// # Errors
    /// It was removed.
    pub fn seen(&self, dir: &OwnedFd) -> io::Result<PathBuf> {
        self.seen_from_inside(dir)
    }

    fn seen_from_inside(&self, fd: &OwnedFd) -> io::Result<PathBuf> {
        let path = path_of(fd)?;
        let relative = path.strip_prefix(&self.base).map_err(|_| {
            io::Error::new(io::ErrorKind::NotFound, format!("{} is elsewhere", path.display()))
        })?;
        Ok(Path::new("/").join(relative))
    }
}

impl Place {
    fn temporary(&self) -> OsString {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        format!(".walt-{}-{count}", std::process::id()).into()
    }

    fn write(
        &self,
        content: &[u8],
        mode: Mode,
        owner: Option<(Uid, Gid)>,
        mtime: i64,
    ) -> io::Result<()> {
        let temporary = self.temporary();
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.parent, &temporary, flags, Mode::from_raw_mode(0o600))?;
        let mut file = File::from(fd);
        let written = file.write_all(content).and_then(|()| {
            let (uid, gid) = owner.unwrap_or((Uid::ROOT, Gid::ROOT));
            // Changing the owner clears setuid bits: the mode comes after.
            rustix::fs::fchown(&file, Some(uid), Some(gid))?;
            rustix::fs::fchmod(&file, mode)?;
            let time = Timespec { tv_sec: mtime, tv_nsec: 0 };
            rustix::fs::futimens(
                &file,
                &Timestamps { last_access: time, last_modification: time },
            )?;
            Ok(())
        });
        if let Err(error) = written {
            let _ = rustix::fs::unlinkat(&self.parent, &temporary, AtFlags::empty());
            return Err(error);
        }
        self.settle(&temporary)
    }

    /// Renames what is complete to its final name.
    fn settle(&self, temporary: &OsStr) -> io::Result<()> {
        if let Err(error) = rustix::fs::renameat(&self.parent, temporary, &self.parent, &self.name)
        {
            let _ = rustix::fs::unlinkat(&self.parent, temporary, AtFlags::empty());
            return Err(error.into());
        }
        Ok(())
    }
}

fn missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn path_of(fd: &OwnedFd) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    struct Trap {
        _dir: tempfile::TempDir,
        root: PathBuf,
        outside: PathBuf,
    }

    /// A root with a treasure beside it, that links try to reach.
    fn trap() -> Trap {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        for path in [&root, &outside, &root.join("etc"), &root.join("usr/bin")] {
            std::fs::create_dir_all(path).unwrap();
        }
        std::fs::write(outside.join("treasure"), "gold").unwrap();
        Trap { _dir: dir, root, outside }
    }

    #[test]
    fn links_stay_inside() {
        let trap = trap();
        let outside = trap.outside.to_str().unwrap();
        symlink("/usr/bin", trap.root.join("bin")).unwrap();
        symlink(outside, trap.root.join("abs")).unwrap();
        symlink("../../../../../../..", trap.root.join("up")).unwrap();
        symlink("/proc/self/root", trap.root.join("magic")).unwrap();
        symlink(format!("{outside}/treasure"), trap.root.join("etc/resolv.conf")).unwrap();
        let inside = Inside::enter(&trap.root).unwrap();

        for path in
            ["abs/treasure", "../outside/treasure", "/up/../outside/treasure", "etc/resolv.conf"]
        {
            assert!(inside.read(path, 100).is_err(), "{path}");
        }
        assert!(inside.open_file("magic/etc/passwd").is_err());

        inside.write("/bin/x", b"new", 0o755, 7).unwrap();
        assert_eq!(std::fs::read(trap.root.join("usr/bin/x")).unwrap(), b"new");
        inside.write("/up/y", b"new", 0o644, 7).unwrap();
        assert_eq!(std::fs::read(trap.root.join("y")).unwrap(), b"new");
        inside.write("/etc/resolv.conf", b"new", 0o644, 7).unwrap();
        assert!(!trap.root.join("etc/resolv.conf").is_symlink());
        // A dangling parent is in the way: said, and nothing is made outside.
        assert!(inside.write("/abs/treasure", b"new", 0o644, 7).is_err());
        assert_eq!(std::fs::read(trap.outside.join("treasure")).unwrap(), b"gold");
        assert_eq!(std::fs::read_dir(&trap.outside).unwrap().count(), 1);
        assert_eq!(inside.physical("/bin/x").unwrap(), Path::new("/usr/bin/x"));
        assert_eq!(inside.physical("/up").unwrap(), Path::new("/"));
    }

    #[test]
    fn ordinary_work() {
        let trap = trap();
        let inside = Inside::enter(&trap.root).unwrap();
        inside.write("/a/b/c", b"1", 0o4755, 1_000).unwrap();
        let metadata = std::fs::metadata(trap.root.join("a/b/c")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o4755);
        assert_eq!(
            metadata.modified().unwrap(),
            std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000)
        );
        inside.symlink("c", "/a/b/link").unwrap();
        inside.symlink("c", "/a/b/link").unwrap();
        assert_eq!(inside.read_link("/a/b/link").unwrap(), Path::new("c"));
        assert_eq!(inside.physical_place("/a/b/link").unwrap(), Path::new("/a/b/link"));
        inside.rewrite("/a/b/link", b"22", 0).unwrap();
        assert_eq!(inside.stat("/a/b/c").unwrap().st_mode & 0o7777, 0o4755);
        assert_eq!(inside.read("/a/b/link", 2).unwrap(), b"22");
        assert!(inside.read("/a/b/link", 1).is_err());
        assert!(inside.rename("/a/b/c", "d").unwrap());
        assert!(!inside.rename("/a/b/c", "d").unwrap());
        assert_eq!(inside.list("/a/b").unwrap(), ["d", "link"]);
        assert!(inside.remove("/a/b/link").unwrap());
        assert!(!inside.remove("/a/none/link").unwrap());
        assert!(inside.kind("/a/b/link").is_none());
        assert!(inside.open_file("/a").is_err());
    }
}
