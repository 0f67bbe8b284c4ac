//! NFS version 3 (RFC 1813): what is common to image roots and persistent directories.

pub(crate) mod image;
pub(crate) mod persist;

use bytes::BufMut;
use nfs3_types::nfs3::{NFS_PROGRAM, nfsstat3};
use rustix::io::Errno;

use crate::xdr::Malformed;

/// Most bytes of one READ or WRITE.
pub(crate) const TRANSFER_MAX: u32 = 1024 * 1024;
/// Most bytes of one directory listing.
pub(crate) const LISTING_MAX: u32 = 128 * 1024;
/// Bytes of one directory listing that clients are told to ask for.
const LISTING_PREFERRED: u32 = 64 * 1024;
/// Reads of at most this many bytes are tried at once, when the page cache has them.
pub(crate) const READ_AT_ONCE: u32 = 64 * 1024;
/// Longest file name.
pub(crate) const NAME_MAX: usize = 255;
/// Longest file name taken from a call, to answer NAMETOOLONG rather than GARBAGE_ARGS.
pub(crate) const NAME_READ_MAX: usize = 4096;
/// Longest target of a symbolic link.
const TARGET_MAX: usize = 4096;

/// Why a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The arguments are not what the procedure takes.
    Arguments,
    /// The file system says no.
    Status(nfsstat3),
}

impl From<Malformed> for Failure {
    fn from(_: Malformed) -> Self {
        Self::Arguments
    }
}

impl From<nfsstat3> for Failure {
    fn from(status: nfsstat3) -> Self {
        Self::Status(status)
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Status(status(errno))
    }
}

/// The NFSv3 status that tells a client about an error of a system call.
pub(crate) fn status(errno: Errno) -> nfsstat3 {
    match errno {
        Errno::PERM => nfsstat3::NFS3ERR_PERM,
        Errno::NOENT => nfsstat3::NFS3ERR_NOENT,
        Errno::NXIO => nfsstat3::NFS3ERR_NXIO,
        Errno::ACCESS => nfsstat3::NFS3ERR_ACCES,
        Errno::EXIST => nfsstat3::NFS3ERR_EXIST,
        Errno::XDEV => nfsstat3::NFS3ERR_XDEV,
        Errno::NODEV => nfsstat3::NFS3ERR_NODEV,
        Errno::NOTDIR => nfsstat3::NFS3ERR_NOTDIR,
        Errno::ISDIR => nfsstat3::NFS3ERR_ISDIR,
        Errno::INVAL | Errno::LOOP => nfsstat3::NFS3ERR_INVAL,
        Errno::FBIG => nfsstat3::NFS3ERR_FBIG,
        Errno::NOSPC => nfsstat3::NFS3ERR_NOSPC,
        Errno::ROFS => nfsstat3::NFS3ERR_ROFS,
        Errno::MLINK => nfsstat3::NFS3ERR_MLINK,
        Errno::NAMETOOLONG => nfsstat3::NFS3ERR_NAMETOOLONG,
        Errno::NOTEMPTY => nfsstat3::NFS3ERR_NOTEMPTY,
        Errno::DQUOT => nfsstat3::NFS3ERR_DQUOT,
        Errno::STALE => nfsstat3::NFS3ERR_STALE,
        Errno::OPNOTSUPP | Errno::NOSYS => nfsstat3::NFS3ERR_NOTSUPP,
        // Passing shortages: the client is asked to try again.
        Errno::NFILE | Errno::MFILE | Errno::NOMEM | Errno::AGAIN => nfsstat3::NFS3ERR_JUKEBOX,
        _ => nfsstat3::NFS3ERR_IO,
    }
}

/// Appends the results of a failed call: the status, then attributes that are all absent.
pub(crate) fn put_failure(out: &mut Vec<u8>, procedure: NFS_PROGRAM, status: nfsstat3) {
    use NFS_PROGRAM as P;
    out.put_u32(status as u32);
    let absent = match procedure {
        P::NFSPROC3_NULL | P::NFSPROC3_GETATTR => 0,
        P::NFSPROC3_LOOKUP
        | P::NFSPROC3_ACCESS
        | P::NFSPROC3_READLINK
        | P::NFSPROC3_READ
        | P::NFSPROC3_READDIR
        | P::NFSPROC3_READDIRPLUS
        | P::NFSPROC3_FSSTAT
        | P::NFSPROC3_FSINFO
        | P::NFSPROC3_PATHCONF => 1,
        P::NFSPROC3_SETATTR
        | P::NFSPROC3_WRITE
        | P::NFSPROC3_CREATE
        | P::NFSPROC3_MKDIR
        | P::NFSPROC3_SYMLINK
        | P::NFSPROC3_MKNOD
        | P::NFSPROC3_REMOVE
        | P::NFSPROC3_RMDIR
        | P::NFSPROC3_COMMIT => 2,
        P::NFSPROC3_LINK => 3,
        P::NFSPROC3_RENAME => 4,
    };
    for _ in 0..absent {
        out.put_u32(0);
    }
}

/// Whether a call changes something: refused on read-only targets, remembered on others so that a
/// retransmission is answered and not carried out again.
pub(crate) fn changes(procedure: NFS_PROGRAM) -> bool {
    use NFS_PROGRAM as P;
    matches!(
        procedure,
        P::NFSPROC3_SETATTR
            | P::NFSPROC3_WRITE
            | P::NFSPROC3_CREATE
            | P::NFSPROC3_MKDIR
            | P::NFSPROC3_SYMLINK
            | P::NFSPROC3_MKNOD
            | P::NFSPROC3_REMOVE
            | P::NFSPROC3_RMDIR
            | P::NFSPROC3_RENAME
            | P::NFSPROC3_LINK
    )
}

/// Appends the part of the FSINFO results (RFC 1813 section 3.3.19) that follows the attributes.
fn put_fsinfo(out: &mut Vec<u8>) {
    use nfs3_types::nfs3::{FSF3_CANSETTIME, FSF3_HOMOGENEOUS, FSF3_LINK, FSF3_SYMLINK};
    for word in [TRANSFER_MAX, TRANSFER_MAX, 4096] {
        out.put_u32(word);
    }
    for word in [TRANSFER_MAX, TRANSFER_MAX, 4096] {
        out.put_u32(word);
    }
    out.put_u32(LISTING_PREFERRED);
    out.put_u64(i64::MAX as u64);
    out.put_u32(0);
    out.put_u32(1);
    out.put_u32(FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME);
}

/// Appends the part of the PATHCONF results (RFC 1813 section 3.3.20) that follows the attributes.
fn put_pathconf(out: &mut Vec<u8>) {
    out.put_u32(32_000);
    out.put_u32(NAME_MAX as u32);
    for (_what, answer) in
        [("no_trunc", 1), ("chown_restricted", 1), ("case_insensitive", 0), ("case_preserving", 1)]
    {
        out.put_u32(answer);
    }
}

/// Keeps a directory listing within the sizes that the client asked for.
struct Budget {
    /// Bytes of names, file ids and cookies still allowed.
    names: usize,
    /// Bytes of the whole answer still allowed.
    total: usize,
}

impl Budget {
    /// For READDIR, `names` is [`usize::MAX`]. `head` is the size of the results before the first
    /// entry; the end mark of the list is counted too.
    fn new(names: usize, total: u32, head: usize) -> Self {
        const END: usize = 8;
        Self { names, total: (total.min(LISTING_MAX) as usize).saturating_sub(head + END) }
    }

    /// Whether an entry still fits; if so it is counted. The first one may exceed the room for
    /// names, so that a client that asks for very little still gets on.
    fn take(&mut self, first: bool, names: usize, total: usize) -> bool {
        if total > self.total || (names > self.names && !first) {
            return false;
        }
        self.names = self.names.saturating_sub(names);
        self.total -= total;
        true
    }
}
