//! Changing content and names: WRITE, COMMIT, REMOVE, RMDIR, RENAME, LINK.

use bytes::BufMut;
use nfs3_types::nfs3::{nfsstat3, stable_how};
use rustix::fs::{AtFlags, CWD, OFlags};
use rustix::io::Errno;

use super::super::{Failure, TRANSFER_MAX};
use super::{Target, directory, new_name};
use crate::attributes::WRITE;
use crate::persist::Object;
use crate::xdr::Reader;

/// RFC 1813 section 3.3.7.
pub(super) fn write(
    target: &Target<'_>,
    object: &Object,
    args: &mut Reader<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let (offset, count, stable) = (args.u64()?, args.u32()?, args.u32()?);
    let data = args.opaque(TRANSFER_MAX as usize)?;
    let data = data.get(..count as usize).ok_or(Failure::Arguments)?;
    if stable > stable_how::FILE_SYNC as u32 {
        return Err(Failure::Arguments);
    }
    if object.is_directory() {
        return Err(nfsstat3::NFS3ERR_ISDIR.into());
    }
    if offset.saturating_add(data.len() as u64) > i64::MAX as u64 {
        return Err(nfsstat3::NFS3ERR_FBIG.into());
    }
    target.check_content(object, WRITE)?;
    let file = object.reopen(OFlags::WRONLY)?;
    let acting = target.act()?;
    let mut done = 0;
    while done < data.len() {
        match rustix::io::pwrite(&file, &data[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            // What was written is said; the error comes with the rest, which the client sends again.
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    drop(acting);
    if stable == stable_how::DATA_SYNC as u32 {
        rustix::fs::fdatasync(&file)?;
    } else if stable == stable_how::FILE_SYNC as u32 {
        rustix::fs::fsync(&file)?;
    }
    out.put_u32(nfsstat3::NFS3_OK as u32);
    target.put_change(object, out);
    out.put_u32(done as u32);
    out.put_u32(stable);
    out.put_slice(&target.write_verifier);
    Ok(())
}

/// RFC 1813 section 3.3.21. The whole file is committed, whatever the range.
pub(super) fn commit(
    target: &Target<'_>,
    object: &Object,
    args: &mut Reader<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let (_offset, _count) = (args.u64()?, args.u32()?);
    rustix::fs::fsync(object.reopen(OFlags::RDONLY)?)?;
    out.put_u32(nfsstat3::NFS3_OK as u32);
    target.put_change(object, out);
    out.put_slice(&target.write_verifier);
    Ok(())
}

/// REMOVE and RMDIR (RFC 1813 sections 3.3.12 and 3.3.13).
pub(super) fn remove(
    target: &Target<'_>,
    parent: &Object,
    args: &mut Reader<'_>,
    out: &mut Vec<u8>,
    a_directory: bool,
) -> Result<(), Failure> {
    let name = new_name(args)?;
    directory(parent)?;
    let flags = if a_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    let acting = target.act()?;
    rustix::fs::unlinkat(&parent.fd, name, flags)?;
    drop(acting);
    out.put_u32(nfsstat3::NFS3_OK as u32);
    target.put_change(parent, out);
    Ok(())
}

/// RFC 1813 section 3.3.14.
pub(super) fn rename(
    target: &Target<'_>,
    from: &Object,
    args: &mut Reader<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let old = new_name(args)?;
    let to = target.other(args)?;
    let new = new_name(args)?;
    directory(from)?;
    directory(&to)?;
    let acting = target.act()?;
    rustix::fs::renameat(&from.fd, old, &to.fd, new)?;
    drop(acting);
    target.tree.renamed(&to, new);
    out.put_u32(nfsstat3::NFS3_OK as u32);
    target.put_change(from, out);
    target.put_change(&to, out);
    Ok(())
}

/// RFC 1813 section 3.3.15.
pub(super) fn link(
    target: &Target<'_>,
    object: &Object,
    args: &mut Reader<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let parent = target.other(args)?;
    let name = new_name(args)?;
    directory(&parent)?;
    if object.is_directory() {
        return Err(nfsstat3::NFS3ERR_ISDIR.into());
    }
    let acting = target.act()?;
    // The object itself, whatever its name is by now; when it is a link, not its target.
    rustix::fs::linkat(CWD, object.proc_path(), &parent.fd, name, AtFlags::SYMLINK_FOLLOW)?;
    drop(acting);
    out.put_u32(nfsstat3::NFS3_OK as u32);
    target.put_after(object.attributes_now().as_ref(), out);
    target.put_change(&parent, out);
    Ok(())
}
