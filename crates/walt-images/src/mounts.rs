//! Overlay mounts, and what is mounted now.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags};

/// A mount of this mount namespace (a line of `/proc/self/mountinfo`, proc_pid_mountinfo(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// File system type, e.g. `overlay`.
    pub kind: String,
}

/// Everything mounted in this process's mount namespace.
///
/// # Errors
/// `/proc` is not there.
pub fn current() -> io::Result<Vec<Mount>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// Whether an overlay is mounted exactly there.
///
/// # Errors
/// `/proc` is not there, or the path cannot be resolved.
pub fn overlay_at(point: &Path) -> io::Result<bool> {
    Ok(current()?.iter().any(|mount| mount.kind == "overlay" && mount.point == point))
}

fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|&b| b == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|&b| b == b' ');
            let point = unescape(fields.nth(4)?);
            let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
            Some(Mount {
                point: PathBuf::from(OsString::from_vec(point)),
                kind: String::from_utf8_lossy(kind).into_owned(),
            })
        })
        .collect()
}

/// Blanks and backslashes are written as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = (byte == b'\\')
            .then(|| std::str::from_utf8(after.get(..3)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(value) = octal {
            out.push(value);
            rest = &after[3..];
        } else {
            out.push(byte);
            rest = after;
        }
    }
    out
}

/// Mounts an overlay: `lowers` from top to bottom, changes going to `upper`.
///
/// The directories are named by `/proc/self/fd/N`: an image of 128 layers fits in the one page the
/// kernel takes for options, and no character of a path needs care. The mount is `volatile` (nothing
/// in it is worth a disk flush: a root is made again after a crash of the machine), and ignores
/// redirections and partial copies that a layer's extended attributes could ask for.
///
/// # Errors
/// A directory is missing; the kernel refuses (too many layers, file system unfit for an overlay).
pub fn mount_overlay(
    lowers: &[PathBuf],
    upper: &Path,
    work: &Path,
    point: &Path,
) -> io::Result<()> {
    mount_layers(lowers, Some((upper, work)), point)
}

/// Like [`mount_overlay`], without a layer for changes: read only. There must be two layers at least.
///
/// # Errors
/// See [`mount_overlay`].
pub fn mount_lowers(lowers: &[PathBuf], point: &Path) -> io::Result<()> {
    mount_layers(lowers, None, point)
}

fn mount_layers(
    lowers: &[PathBuf],
    changes: Option<(&Path, &Path)>,
    point: &Path,
) -> io::Result<()> {
    let open = |path: &Path| -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).map_err(|error| {
            io::Error::new(io::Error::from(error).kind(), format!("{}: {error}", path.display()))
        })
    };
    let name = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let lower_fds = lowers.iter().map(|path| open(path)).collect::<io::Result<Vec<_>>>()?;
    let mut flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::RELATIME;
    let mut options = format!(
        "lowerdir={},redirect_dir=nofollow,metacopy=off,index=off",
        lower_fds.iter().map(name).collect::<Vec<_>>().join(":"),
    );
    // Named by their descriptors: open until the mount is done.
    let change_fds = match changes {
        Some((upper, work)) => Some((open(upper)?, open(work)?)),
        None => None,
    };
    match &change_fds {
        Some((upper, work)) => {
            options.push_str(&format!(",upperdir={},workdir={},volatile", name(upper), name(work)));
        }
        None => flags |= MountFlags::RDONLY,
    }
    let options = CString::new(options)?;
    Ok(rustix::mount::mount("walt", point, "overlay", flags, options.as_c_str())?)
}

/// Unmounts, waiting for the last open file at most `patience`; then detaches (readers keep what they
/// have, no new one can come). True if it had to be detached. Blocks.
///
/// # Errors
/// Nothing is mounted there.
pub fn unmount(point: &Path, patience: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        match rustix::mount::unmount(point, UnmountFlags::NOFOLLOW) {
            Ok(()) => return Ok(false),
            Err(rustix::io::Errno::BUSY) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(rustix::io::Errno::BUSY) => {
                rustix::mount::unmount(point, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)?;
                return Ok(true);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_lines() {
        let text = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n\
            40 35 0:40 / /a\\040b\\134c rw shared:1 master:2 - overlay walt rw,lowerdir=/x\nbroken\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!((mounts[0].point.to_str(), mounts[0].kind.as_str()), (Some("/mnt2"), "ext3"));
        assert_eq!(
            (mounts[1].point.to_str(), mounts[1].kind.as_str()),
            (Some("/a b\\c"), "overlay")
        );
    }
}
