//! Changing attributes: SETATTR, and the attributes given when something is made.

use bytes::BufMut;
use nfs3_types::nfs3::{ftype3, nfsstat3};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid};
use rustix::io::Errno;

use super::super::Failure;
use super::Target;
use crate::attributes::{Time, WRITE};
use crate::persist::Object;
use crate::xdr::{Malformed, Reader};

/// `sattr3` (RFC 1813 section 2.6): what is to change.
#[derive(Clone, Copy, Default)]
pub(super) struct NewAttributes {
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) size: Option<u64>,
    pub(super) atime: NewTime,
    pub(super) mtime: NewTime,
}

/// A time to set.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum NewTime {
    #[default]
    Keep,
    Now,
    At(Time),
}

impl NewAttributes {
    pub(super) fn read(args: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            mode: option(args, Reader::u32)?.map(|mode| mode & 0o7777),
            uid: option(args, Reader::u32)?,
            gid: option(args, Reader::u32)?,
            size: option(args, Reader::u64)?,
            atime: NewTime::read(args)?,
            mtime: NewTime::read(args)?,
        })
    }

    /// Makes the changes, as the caller, in an order in which none undoes another.
    pub(super) fn apply(&self, target: &Target<'_>, object: &Object) -> Result<(), Failure> {
        let file = match self.size {
            Some(_) => Some(open_to_cut(target, object)?),
            None => None,
        };
        let _acting = target.act()?;
        if let (Some(file), Some(size)) = (file, self.size) {
            rustix::fs::ftruncate(&file, size)?;
        }
        if self.uid.is_some() || self.gid.is_some() {
            rustix::fs::chownat(
                &object.fd,
                "",
                self.uid.map(Uid::from_raw),
                self.gid.map(Gid::from_raw),
                AtFlags::EMPTY_PATH,
            )?;
        }
        if let Some(mode) = self.mode
            && object.attributes.kind != ftype3::NF3LNK
        {
            rustix::fs::chmod(object.proc_path(), Mode::from_raw_mode(mode))?;
        }
        if (self.atime, self.mtime) != (NewTime::Keep, NewTime::Keep) {
            let times = Timestamps {
                last_access: self.atime.timespec(),
                last_modification: self.mtime.timespec(),
            };
            rustix::fs::utimensat(&object.fd, "", &times, AtFlags::EMPTY_PATH)?;
        }
        Ok(())
    }
}

impl NewTime {
    fn read(args: &mut Reader<'_>) -> Result<Self, Malformed> {
        match args.u32()? {
            0 => Ok(Self::Keep),
            1 => Ok(Self::Now),
            2 => Ok(Self::At((args.u32()?, args.u32()?))),
            _ => Err(Malformed),
        }
    }

    fn timespec(self) -> Timespec {
        let (tv_sec, tv_nsec) = match self {
            Self::Keep => (0, UTIME_OMIT),
            Self::Now => (0, UTIME_NOW),
            Self::At((seconds, nanoseconds)) => {
                (seconds.into(), nanoseconds.min(999_999_999).into())
            }
        };
        Timespec { tv_sec, tv_nsec }
    }
}

fn option<'a, T>(
    args: &mut Reader<'a>,
    value: impl Fn(&mut Reader<'a>) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    if args.bool()? { value(args).map(Some) } else { Ok(None) }
}

fn open_to_cut(target: &Target<'_>, object: &Object) -> Result<std::os::fd::OwnedFd, Failure> {
    if object.is_directory() {
        return Err(nfsstat3::NFS3ERR_ISDIR.into());
    }
    if object.attributes.kind != ftype3::NF3REG {
        return Err(Errno::INVAL.into());
    }
    target.check_content(object, WRITE)?;
    Ok(object.reopen(OFlags::WRONLY)?)
}

/// RFC 1813 section 3.3.2.
pub(super) fn setattr(
    target: &Target<'_>,
    object: &Object,
    args: &mut Reader<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let new = NewAttributes::read(args)?;
    let guard = option(args, |args| Ok((args.u32()?, args.u32()?)))?;
    if guard.is_some_and(|ctime| ctime != object.attributes.ctime) {
        return Err(nfsstat3::NFS3ERR_NOT_SYNC.into());
    }
    new.apply(target, object)?;
    out.put_u32(nfsstat3::NFS3_OK as u32);
    target.put_change(object, out);
    Ok(())
}
