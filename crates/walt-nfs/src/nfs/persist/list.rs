//! READDIR and READDIRPLUS on a real directory: the kernel's positions are the cookies.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use bytes::BufMut;
use nfs3_types::nfs3::nfsstat3;
use rustix::fs::{OFlags, RawDir, SeekFrom};

use super::super::{Budget, Failure};
use super::{Target, directory};
use crate::attributes::{FATTR3, READ};
use crate::handle::HANDLE_MAX;
use crate::persist::{Object, open_path};
use crate::xdr;

/// RFC 1813 sections 3.3.16 and 3.3.17; `plus` is the room for names when attributes are wanted.
pub(super) fn list(
    target: &Target<'_>,
    parent: &Object,
    cookie: u64,
    plus: Option<u32>,
    total: u32,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    directory(parent)?;
    if parent.attributes.permissions(&target.caller) & READ == 0 {
        return Err(nfsstat3::NFS3ERR_ACCES.into());
    }
    let opened = parent.reopen(OFlags::RDONLY | OFlags::DIRECTORY)?;
    if cookie != 0 {
        if i64::try_from(cookie).is_err() {
            return Err(nfsstat3::NFS3ERR_BAD_COOKIE.into());
        }
        rustix::fs::seek(&opened, SeekFrom::Start(cookie))
            .map_err(|_| nfsstat3::NFS3ERR_BAD_COOKIE)?;
    }
    let start = out.len();
    super::put_ok(target, parent, out);
    out.put_u64(0);
    let names = plus.map_or(usize::MAX, |names| names as usize);
    let mut budget = Budget::new(names, total, out.len() - start);
    let mut buffer = [MaybeUninit::uninit(); 32 * 1024];
    let mut entries = RawDir::new(&opened, &mut buffer);
    let mut first = true;
    let mut complete = true;
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        let named = 16 + xdr::opaque_size(name.len());
        let described = 4 + FATTR3 + 4 + xdr::opaque_size(HANDLE_MAX);
        let size = 4 + named + plus.map_or(0, |_| described);
        if !budget.take(first, named, size) {
            complete = false;
            break;
        }
        let above_top = name == b".." && target.tree.is_top(parent);
        let described = plus.and_then(|_| describe(target, parent, name));
        let file_id = match &described {
            Some((object, _)) => object.attributes.inode,
            None if above_top => target.tree.top_inode(),
            None => entry.ino(),
        };
        first = false;
        out.put_u32(1);
        out.put_u64(file_id);
        xdr::put_opaque(out, name);
        out.put_u64(entry.next_entry_cookie());
        if plus.is_some() {
            target.put_after(described.as_ref().map(|(object, _)| &object.attributes), out);
            match described {
                Some((_, handle)) => {
                    out.put_u32(1);
                    xdr::put_opaque(out, &handle);
                }
                None => out.put_u32(0),
            }
        }
    }
    if first && !complete {
        return Err(nfsstat3::NFS3ERR_TOOSMALL.into());
    }
    out.put_u32(0);
    out.put_u32(complete.into());
    Ok(())
}

/// An entry's object and handle; `None` when it just went away, and for the directories "." and
/// ".." that clients know already.
fn describe(target: &Target<'_>, parent: &Object, name: &[u8]) -> Option<(Object, Vec<u8>)> {
    if matches!(name, b"." | b"..") {
        return None;
    }
    let object = Object::of(open_path(parent.fd.as_fd(), name).ok()?).ok()?;
    let lasting = target.tree.name_of(&object, parent, name).ok()?;
    let handle = target.handle_of(&lasting);
    Some((object, handle))
}
