//! Making things: CREATE, MKDIR, SYMLINK, MKNOD.

use std::os::fd::AsFd;

use bytes::BufMut;
use nfs3_types::nfs3::{createmode3, ftype3, nfsstat3};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::super::{Failure, TARGET_MAX};
use super::set_attributes::{NewAttributes, NewTime};
use super::{Target, directory, new_name};
use crate::persist::{Object, open_path};
use crate::xdr::{self, Reader};

/// Mode of what is made without one.
const FILE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;

/// RFC 1813 section 3.3.8.
pub(super) fn create(
    target: &Target<'_>,
    parent: &Object,
    args: &mut Reader<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let name = new_name(args)?;
    let how = args.u32()?;
    let exclusive = how == createmode3::EXCLUSIVE as u32;
    let guarded = how == createmode3::GUARDED as u32;
    let mut new = if exclusive {
        remember_verifier(args.fixed()?)
    } else if guarded || how == createmode3::UNCHECKED as u32 {
        NewAttributes::read(args)?
    } else {
        return Err(Failure::Arguments);
    };
    directory(parent)?;
    let mode = new.mode.unwrap_or(FILE_MODE);
    let made = as_caller(target, || {
        rustix::fs::openat(
            &parent.fd,
            name,
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::from_raw_mode(mode),
        )
    });
    let object = match made {
        Ok(fd) => {
            let object = Object::of(fd)?;
            new.mode = Some(mode);
            new.apply(target, &object)?;
            object
        }
        Err(Errno::EXIST) if !guarded => {
            let object = existing(target, parent, name)?;
            if exclusive {
                // A retransmission of the call that made it, and nothing else, has its verifier.
                let same = NewTime::At(object.attributes.atime) == new.atime
                    && NewTime::At(object.attributes.mtime) == new.mtime;
                if !same || object.attributes.size != 0 {
                    return Err(nfsstat3::NFS3ERR_EXIST.into());
                }
            } else {
                let cut = NewAttributes { size: new.size, ..NewAttributes::default() };
                cut.apply(target, &object)?;
            }
            object
        }
        Err(errno) => return Err(errno.into()),
    };
    put_made(target, parent, name, &object, out)
}

/// The verifier of an exclusive CREATE is kept in the times of the new file, as RFC 1813 suggests;
/// the client sets them with its next call.
fn remember_verifier(verifier: [u8; 8]) -> NewAttributes {
    let [a, b, c, d, e, f, g, h] = verifier;
    // Seconds that every file system can keep.
    let seconds = |bytes: [u8; 4]| (u32::from_be_bytes(bytes) & 0x7fff_ffff, 0);
    NewAttributes {
        mode: Some(0),
        atime: NewTime::At(seconds([a, b, c, d])),
        mtime: NewTime::At(seconds([e, f, g, h])),
        ..NewAttributes::default()
    }
}

/// The regular file that CREATE found in place of a new one.
fn existing(target: &Target<'_>, parent: &Object, name: &[u8]) -> Result<Object, Failure> {
    let fd = as_caller(target, || open_path(parent.fd.as_fd(), name))?;
    let object = Object::of(fd)?;
    if object.attributes.kind == ftype3::NF3REG {
        Ok(object)
    } else {
        Err(nfsstat3::NFS3ERR_EXIST.into())
    }
}

/// RFC 1813 section 3.3.9.
pub(super) fn mkdir(
    target: &Target<'_>,
    parent: &Object,
    args: &mut Reader<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let name = new_name(args)?;
    let mut new = NewAttributes::read(args)?;
    directory(parent)?;
    let mode = new.mode.unwrap_or(DIRECTORY_MODE);
    as_caller(target, || rustix::fs::mkdirat(&parent.fd, name, Mode::from_raw_mode(mode)))?;
    let object = Object::of(open_path(parent.fd.as_fd(), name)?)?;
    // A directory in a setgid directory is setgid too.
    new.mode = Some(mode | object.attributes.mode & 0o2000);
    new.size = None;
    new.apply(target, &object)?;
    put_made(target, parent, name, &object, out)
}

/// RFC 1813 section 3.3.10.
pub(super) fn symlink(
    target: &Target<'_>,
    parent: &Object,
    args: &mut Reader<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let name = new_name(args)?;
    let mut new = NewAttributes::read(args)?;
    let link = args.opaque(TARGET_MAX)?;
    directory(parent)?;
    as_caller(target, || rustix::fs::symlinkat(link, &parent.fd, name))?;
    let object = Object::of(open_path(parent.fd.as_fd(), name)?)?;
    (new.mode, new.size) = (None, None);
    new.apply(target, &object)?;
    put_made(target, parent, name, &object, out)
}

/// RFC 1813 section 3.3.11.
pub(super) fn mknod(
    target: &Target<'_>,
    parent: &Object,
    args: &mut Reader<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let name = new_name(args)?;
    let kind = match args.u32()? {
        kind if kind == ftype3::NF3CHR as u32 => FileType::CharacterDevice,
        kind if kind == ftype3::NF3BLK as u32 => FileType::BlockDevice,
        kind if kind == ftype3::NF3SOCK as u32 => FileType::Socket,
        kind if kind == ftype3::NF3FIFO as u32 => FileType::Fifo,
        _ => return Err(nfsstat3::NFS3ERR_BADTYPE.into()),
    };
    let mut new = NewAttributes::read(args)?;
    let device = match kind {
        FileType::CharacterDevice | FileType::BlockDevice => {
            rustix::fs::makedev(args.u32()?, args.u32()?)
        }
        _ => 0,
    };
    directory(parent)?;
    let mode = new.mode.unwrap_or(FILE_MODE);
    as_caller(target, || {
        rustix::fs::mknodat(&parent.fd, name, kind, Mode::from_raw_mode(mode), device)
    })?;
    let object = Object::of(open_path(parent.fd.as_fd(), name)?)?;
    (new.mode, new.size) = (Some(mode), None);
    new.apply(target, &object)?;
    put_made(target, parent, name, &object, out)
}

fn as_caller<T>(target: &Target<'_>, act: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    let _acting = target.act()?;
    act()
}

/// The common results: handle and attributes of what was made, changes of its directory.
fn put_made(
    target: &Target<'_>,
    parent: &Object,
    name: &[u8],
    object: &Object,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let lasting = target.tree.name_of(object, parent, name)?;
    out.put_u32(nfsstat3::NFS3_OK as u32);
    out.put_u32(1);
    xdr::put_opaque(out, &target.handle_of(&lasting));
    target.put_after(object.attributes_now().as_ref(), out);
    target.put_change(parent, out);
    Ok(())
}
