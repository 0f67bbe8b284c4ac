//! What NFSv3 tells about a file (RFC 1813 section 2.6), and what it permits.

use nfs3_types::nfs3::{
    ACCESS3_DELETE, ACCESS3_EXECUTE, ACCESS3_EXTEND, ACCESS3_LOOKUP, ACCESS3_MODIFY, ACCESS3_READ,
    ftype3,
};
use rustix::fs::{FileType, Stat};

use crate::rpc::Credentials;

/// Length of `fattr3` on the wire.
pub(crate) const FATTR3: usize = 84;

/// Permission to read, as one digit of a mode.
pub(crate) const READ: u32 = 4;
/// Permission to write.
pub(crate) const WRITE: u32 = 2;
/// Permission to execute a file or to use the names of a directory.
pub(crate) const EXECUTE: u32 = 1;

/// Seconds and nanoseconds, as `nfstime3`.
pub(crate) type Time = (u32, u32);

/// Attributes of one file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes {
    pub(crate) kind: ftype3,
    /// Permissions with the setuid, setgid and sticky bits.
    pub(crate) mode: u32,
    pub(crate) nlink: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) used: u64,
    pub(crate) rdev: (u32, u32),
    pub(crate) inode: u64,
    pub(crate) atime: Time,
    pub(crate) mtime: Time,
    pub(crate) ctime: Time,
}

impl Attributes {
    pub(crate) fn of(stat: &Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => ftype3::NF3DIR,
            FileType::Symlink => ftype3::NF3LNK,
            FileType::BlockDevice => ftype3::NF3BLK,
            FileType::CharacterDevice => ftype3::NF3CHR,
            FileType::Socket => ftype3::NF3SOCK,
            FileType::Fifo => ftype3::NF3FIFO,
            FileType::RegularFile | FileType::Unknown => ftype3::NF3REG,
        };
        Self {
            kind,
            mode: stat.st_mode & 0o7777,
            nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: stat.st_size as u64,
            used: stat.st_blocks as u64 * 512,
            rdev: (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)),
            inode: stat.st_ino,
            atime: time(stat.st_atime, stat.st_atime_nsec),
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Appends `fattr3`.
    pub(crate) fn put(&self, fsid: u64, file_id: u64, out: &mut Vec<u8>) {
        for word in [self.kind as u32, self.mode, self.nlink, self.uid, self.gid] {
            out.extend(word.to_be_bytes());
        }
        out.extend(self.size.to_be_bytes());
        out.extend(self.used.to_be_bytes());
        out.extend(self.rdev.0.to_be_bytes());
        out.extend(self.rdev.1.to_be_bytes());
        out.extend(fsid.to_be_bytes());
        out.extend(file_id.to_be_bytes());
        for (seconds, nanoseconds) in [self.atime, self.mtime, self.ctime] {
            out.extend(seconds.to_be_bytes());
            out.extend(nanoseconds.to_be_bytes());
        }
    }

    /// What the caller may do with the file.
    pub(crate) fn permissions(&self, caller: &Credentials) -> u32 {
        permissions(self.kind == ftype3::NF3DIR, self.mode, self.uid, self.gid, caller)
    }
}

/// Times before 1970 and after 2106 do not exist in NFSv3.
fn time(seconds: i64, nanoseconds: u64) -> Time {
    let seconds = u32::try_from(seconds.max(0)).unwrap_or(u32::MAX);
    (seconds, nanoseconds as u32)
}

/// What the caller may do, from mode and owner: a sum of [`READ`], [`WRITE`] and [`EXECUTE`]. Root
/// may do everything, but executes only files that somebody may execute, as on Linux.
pub(crate) fn permissions(
    is_directory: bool,
    mode: u32,
    uid: u32,
    gid: u32,
    caller: &Credentials,
) -> u32 {
    if caller.uid == 0 {
        if is_directory || mode & 0o111 != 0 { READ | WRITE | EXECUTE } else { READ | WRITE }
    } else if caller.uid == uid {
        mode >> 6 & 7
    } else if caller.in_group(gid) {
        mode >> 3 & 7
    } else {
        mode & 7
    }
}

/// The answer to ACCESS (RFC 1813 section 3.3.4): which of the rights asked for are granted.
pub(crate) fn access(is_directory: bool, permissions: u32, asked: u32) -> u32 {
    let mut granted = 0;
    if permissions & READ != 0 {
        granted |= ACCESS3_READ;
    }
    if is_directory {
        if permissions & EXECUTE != 0 {
            granted |= ACCESS3_LOOKUP;
            if permissions & WRITE != 0 {
                granted |= ACCESS3_MODIFY | ACCESS3_EXTEND | ACCESS3_DELETE;
            }
        }
    } else {
        if permissions & WRITE != 0 {
            granted |= ACCESS3_MODIFY | ACCESS3_EXTEND;
        }
        if permissions & EXECUTE != 0 {
            granted |= ACCESS3_EXECUTE;
        }
    }
    granted & asked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_then_group_then_others() {
        let of = |uid, gid, groups: &[u32]| {
            permissions(false, 0o640, 10, 20, &Credentials::of(uid, gid, groups))
        };
        assert_eq!(of(10, 1, &[]), READ | WRITE);
        assert_eq!(of(11, 20, &[]), READ);
        assert_eq!(of(11, 1, &[5, 20]), READ);
        assert_eq!(of(11, 1, &[5]), 0);
    }

    #[test]
    fn root_executes_only_what_somebody_may() {
        let root = Credentials::of(0, 0, &[]);
        assert_eq!(permissions(false, 0o600, 1, 1, &root), READ | WRITE);
        assert_eq!(permissions(false, 0o010, 1, 1, &root), 7);
        assert_eq!(permissions(true, 0, 1, 1, &root), 7);
    }

    #[test]
    fn access_of_files_and_directories() {
        assert_eq!(access(false, EXECUTE, 0x3f), ACCESS3_EXECUTE);
        assert_eq!(access(true, EXECUTE, 0x3f), ACCESS3_LOOKUP);
        assert_eq!(access(true, 7, 0x3f), 0x1f);
        assert_eq!(access(false, 7, 0x3f), 0x2d);
        assert_eq!(access(false, 7, ACCESS3_READ), ACCESS3_READ);
    }
}
