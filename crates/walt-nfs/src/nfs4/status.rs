//! Status codes of NFSv4 (RFC 7530 section 13, RFC 8881 section 15) that this server gives.

use rustix::io::Errno;

use crate::nfs;
use crate::xdr::Malformed;

/// A `nfsstat4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) u32);

impl Status {
    pub(crate) const OK: Self = Self(0);
    pub(crate) const NOENT: Self = Self(2);
    pub(crate) const ACCESS: Self = Self(13);
    pub(crate) const NOTDIR: Self = Self(20);
    pub(crate) const ISDIR: Self = Self(21);
    pub(crate) const INVAL: Self = Self(22);
    pub(crate) const ROFS: Self = Self(30);
    pub(crate) const NAMETOOLONG: Self = Self(63);
    pub(crate) const STALE: Self = Self(70);
    pub(crate) const BADHANDLE: Self = Self(10_001);
    pub(crate) const BAD_COOKIE: Self = Self(10_003);
    pub(crate) const NOTSUPP: Self = Self(10_004);
    pub(crate) const TOOSMALL: Self = Self(10_005);
    pub(crate) const SERVERFAULT: Self = Self(10_006);
    pub(crate) const DELAY: Self = Self(10_008);
    pub(crate) const SAME: Self = Self(10_009);
    pub(crate) const EXPIRED: Self = Self(10_011);
    pub(crate) const SHARE_DENIED: Self = Self(10_015);
    pub(crate) const RESOURCE: Self = Self(10_018);
    pub(crate) const NOFILEHANDLE: Self = Self(10_020);
    pub(crate) const MINOR_VERS_MISMATCH: Self = Self(10_021);
    pub(crate) const STALE_CLIENTID: Self = Self(10_022);
    pub(crate) const STALE_STATEID: Self = Self(10_023);
    pub(crate) const OLD_STATEID: Self = Self(10_024);
    pub(crate) const BAD_STATEID: Self = Self(10_025);
    pub(crate) const BAD_SEQID: Self = Self(10_026);
    pub(crate) const NOT_SAME: Self = Self(10_027);
    pub(crate) const SYMLINK: Self = Self(10_029);
    pub(crate) const RESTOREFH: Self = Self(10_030);
    pub(crate) const ATTRNOTSUPP: Self = Self(10_032);
    pub(crate) const BADXDR: Self = Self(10_036);
    pub(crate) const LOCKS_HELD: Self = Self(10_037);
    pub(crate) const OPENMODE: Self = Self(10_038);
    pub(crate) const BADNAME: Self = Self(10_041);
    pub(crate) const OP_ILLEGAL: Self = Self(10_044);
    pub(crate) const BADSESSION: Self = Self(10_052);
    pub(crate) const BADSLOT: Self = Self(10_053);
    pub(crate) const COMPLETE_ALREADY: Self = Self(10_054);
    pub(crate) const SEQ_MISORDERED: Self = Self(10_063);
    pub(crate) const SEQUENCE_POS: Self = Self(10_064);
    pub(crate) const REQ_TOO_BIG: Self = Self(10_065);
    pub(crate) const REP_TOO_BIG: Self = Self(10_066);
    pub(crate) const RETRY_UNCACHED_REP: Self = Self(10_068);
    pub(crate) const TOO_MANY_OPS: Self = Self(10_070);
    pub(crate) const OP_NOT_IN_SESSION: Self = Self(10_071);
    pub(crate) const CLIENTID_BUSY: Self = Self(10_074);
    pub(crate) const ENCR_ALG_UNSUPP: Self = Self(10_079);
    pub(crate) const NOT_ONLY_OP: Self = Self(10_081);
}

impl From<Malformed> for Status {
    fn from(_: Malformed) -> Self {
        Self::BADXDR
    }
}

impl From<Errno> for Status {
    /// Version 4 keeps the numbers of version 3 (and calls its JUKEBOX "DELAY").
    fn from(errno: Errno) -> Self {
        Self(nfs::status(errno) as u32)
    }
}
