//! Finding files by inode number, where the kernel gives no handles.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

/// Places remembered and entries looked at in one search.
const PLACES_MAX: usize = 500_000;
/// Deepest directory.
const DEPTH_MAX: usize = 1000;
/// Pause between two searches that found nothing: handles of removed files must not cost much.
const SEARCH_PAUSE: Duration = Duration::from_secs(2);

/// Where inodes were last seen, by number. A wrong or missing place only costs a search.
#[derive(Default)]
pub(super) struct KnownPlaces {
    places: Mutex<HashMap<u64, Place>>,
    failed: Mutex<Option<Instant>>,
}

/// A directory, by number, and a name there.
struct Place {
    directory: u64,
    name: Box<[u8]>,
}

impl KnownPlaces {
    pub(super) fn note(&self, number: u64, directory: u64, name: &[u8]) {
        let mut places = self.places.lock();
        if places.len() >= PLACES_MAX {
            places.clear();
        }
        let name = name.into();
        places.insert(number, Place { directory, name });
    }

    /// Holds the object with that inode number, if it is still the same one.
    pub(super) fn open(
        &self,
        root: BorrowedFd<'_>,
        root_number: u64,
        number: u64,
        birth: u64,
    ) -> Result<OwnedFd, Errno> {
        if let Some(path) = self.path(root_number, number)
            && let Some(fd) = open_if_same(root, &path, number, birth)
        {
            return Ok(fd);
        }
        let paused = |failed: Instant| failed.elapsed() < SEARCH_PAUSE;
        if self.failed.lock().is_some_and(paused) {
            return Err(Errno::STALE);
        }
        self.search(root, root_number, number)?;
        let found = self
            .path(root_number, number)
            .and_then(|path| open_if_same(root, &path, number, birth));
        if found.is_none() {
            *self.failed.lock() = Some(Instant::now());
        }
        found.ok_or(Errno::STALE)
    }

    fn path(&self, root_number: u64, number: u64) -> Option<Vec<u8>> {
        let places = self.places.lock();
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut at = number;
        while at != root_number {
            let place = places.get(&at)?;
            parts.push(&place.name);
            at = place.directory;
            if parts.len() > DEPTH_MAX {
                return None;
            }
        }
        parts.reverse();
        Some(parts.join(&b'/'))
    }

    /// Walks the tree until the number is seen.
    fn search(&self, root: BorrowedFd<'_>, root_number: u64, wanted: u64) -> Result<(), Errno> {
        let mut todo = vec![(Vec::new(), root_number)];
        let mut seen = 0;
        while let Some((path, number)) = todo.pop() {
            let Ok(directory) = open_below(root, &path, OFlags::RDONLY | OFlags::DIRECTORY) else {
                continue;
            };
            for entry in Dir::read_from(&directory)? {
                let entry = entry?;
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                let Ok(stat) = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)
                else {
                    continue;
                };
                self.note(stat.st_ino, number, name.to_bytes());
                seen += 1;
                if stat.st_ino == wanted || seen >= PLACES_MAX {
                    return Ok(());
                }
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    let mut below = path.clone();
                    if !below.is_empty() {
                        below.push(b'/');
                    }
                    below.extend(name.to_bytes());
                    todo.push((below, stat.st_ino));
                }
            }
        }
        Ok(())
    }
}

fn open_if_same(root: BorrowedFd<'_>, path: &[u8], number: u64, birth: u64) -> Option<OwnedFd> {
    let fd = open_below(root, path, OFlags::PATH | OFlags::NOFOLLOW).ok()?;
    let stat = rustix::fs::fstat(&fd).ok()?;
    (stat.st_ino == number && self::birth(fd.as_fd()) == Ok(birth)).then_some(fd)
}

fn open_below(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(
        root,
        if path.is_empty() { b"." } else { path },
        flags | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
}

/// When a file was made, in nanoseconds, 0 where the file system does not know.
pub(super) fn birth(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    let stat = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME)?;
    if stat.stx_mask & StatxFlags::BTIME.bits() == 0 {
        return Ok(0);
    }
    let time = stat.stx_btime;
    Ok((time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec.into()))
}
