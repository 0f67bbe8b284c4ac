//! Calls on image roots: all from the index, except the content of files.

use std::sync::Arc;

use bytes::BufMut;
use nfs3_types::nfs3::{NFS_PROGRAM, ftype3, nfsstat3};

use super::{Budget, Failure, NAME_MAX, NAME_READ_MAX, READ_AT_ONCE, TRANSFER_MAX};
use crate::attributes::{self, EXECUTE, FATTR3, READ, WRITE};
use crate::handle::{HandleKey, IMAGE_HANDLE};
use crate::image_root::{ImageRoot, Index};
use crate::rpc::{Call, Credentials, Reply};
use crate::xdr::{self, Reader};

/// Cookies 1 and 2 stand for "." and "..", the entries of the directory follow.
const DOTS: u64 = 2;

/// A file of an image root.
pub(crate) struct Target<'a> {
    pub(crate) root: &'a Arc<ImageRoot>,
    pub(crate) node: u32,
    pub(crate) key: &'a HandleKey,
}

/// A READ that may wait for a disk.
pub(crate) struct PendingRead {
    root: Arc<ImageRoot>,
    node: u32,
    xid: u32,
    offset: u64,
    count: u32,
}

/// What became of a call.
pub(crate) enum Done {
    /// The results are written.
    Now,
    /// [`PendingRead::run`] must be called where blocking is allowed.
    Read(PendingRead),
}

impl Target<'_> {
    fn index(&self) -> &Index {
        self.root.index()
    }

    fn permissions(&self, caller: &Credentials) -> u32 {
        let index = self.index();
        attributes::permissions(
            index.is_directory(self.node),
            index.mode(self.node),
            index.uid(self.node),
            index.gid(self.node),
            caller,
        )
    }

    fn check(&self, caller: &Credentials, permission: u32) -> Result<(), Failure> {
        if self.permissions(caller) & permission == 0 {
            return Err(nfsstat3::NFS3ERR_ACCES.into());
        }
        Ok(())
    }

    fn check_directory(&self) -> Result<(), Failure> {
        if self.index().is_directory(self.node) {
            Ok(())
        } else {
            Err(nfsstat3::NFS3ERR_NOTDIR.into())
        }
    }

    fn put_attributes(&self, out: &mut Vec<u8>) {
        self.put_attributes_of(self.node, out);
    }

    /// `post_op_attr`, present.
    fn put_attributes_of(&self, node: u32, out: &mut Vec<u8>) {
        out.put_u32(1);
        out.put_slice(self.index().attributes(node));
    }

    fn put_ok(&self, out: &mut Vec<u8>) {
        out.put_u32(nfsstat3::NFS3_OK as u32);
        self.put_attributes(out);
    }
}

/// Carries out a call; `call.args` stands after the handle. Results go to `out`.
pub(crate) fn call(
    target: &Target<'_>,
    procedure: NFS_PROGRAM,
    call: &mut Call<'_>,
    out: &mut Vec<u8>,
) -> Result<Done, Failure> {
    use NFS_PROGRAM as P;
    let caller = &call.credentials;
    let args = &mut call.args;
    match procedure {
        P::NFSPROC3_NULL => {}
        P::NFSPROC3_GETATTR => {
            out.put_u32(nfsstat3::NFS3_OK as u32);
            out.put_slice(target.index().attributes(target.node));
        }
        P::NFSPROC3_LOOKUP => lookup(target, caller, args, out)?,
        P::NFSPROC3_ACCESS => {
            let asked = args.u32()?;
            let permissions = target.permissions(caller) & !WRITE;
            let is_directory = target.index().is_directory(target.node);
            target.put_ok(out);
            out.put_u32(attributes::access(is_directory, permissions, asked));
        }
        P::NFSPROC3_READLINK => {
            let link = target.index().target(target.node);
            let link = link.ok_or(nfsstat3::NFS3ERR_INVAL)?;
            target.put_ok(out);
            xdr::put_opaque(out, link);
        }
        P::NFSPROC3_READ => return read(target, call, out),
        P::NFSPROC3_READDIR => {
            let (cookie, _verifier) = (args.u64()?, args.u64()?);
            let count = args.u32()?;
            list(target, caller, cookie, None, count, out)?;
        }
        P::NFSPROC3_READDIRPLUS => {
            let (cookie, _verifier) = (args.u64()?, args.u64()?);
            let (names, total) = (args.u32()?, args.u32()?);
            list(target, caller, cookie, Some(names), total, out)?;
        }
        P::NFSPROC3_FSSTAT => {
            let index = target.index();
            target.put_ok(out);
            out.put_u64(index.bytes());
            out.put_u64(0);
            out.put_u64(0);
            out.put_u64(index.nodes().into());
            out.put_u64(0);
            out.put_u64(0);
            // It will not change for as long as can be said.
            out.put_u32(u32::MAX);
        }
        P::NFSPROC3_FSINFO => {
            target.put_ok(out);
            super::put_fsinfo(out);
        }
        P::NFSPROC3_PATHCONF => {
            target.put_ok(out);
            super::put_pathconf(out);
        }
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
        | P::NFSPROC3_COMMIT => return Err(nfsstat3::NFS3ERR_ROFS.into()),
    }
    Ok(Done::Now)
}

fn lookup(
    target: &Target<'_>,
    caller: &Credentials,
    args: &mut Reader<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let name = args.opaque(NAME_READ_MAX)?;
    target.check_directory()?;
    target.check(caller, EXECUTE)?;
    if name.len() > NAME_MAX {
        return Err(nfsstat3::NFS3ERR_NAMETOOLONG.into());
    }
    let index = target.index();
    let found = match name {
        b"." => Some(target.node),
        b".." => Some(index.parent(target.node)),
        _ => index.lookup(target.node, name),
    };
    match found {
        Some(node) => {
            out.put_u32(nfsstat3::NFS3_OK as u32);
            xdr::put_opaque(out, &target.key.image(&target.root.id(), node));
            target.put_attributes_of(node, out);
        }
        None => out.put_u32(nfsstat3::NFS3ERR_NOENT as u32),
    }
    target.put_attributes(out);
    Ok(())
}

/// READDIR, and READDIRPLUS when the room for names is given (RFC 1813 sections 3.3.16 and 3.3.17).
fn list(
    target: &Target<'_>,
    caller: &Credentials,
    cookie: u64,
    plus: Option<u32>,
    total: u32,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    target.check_directory()?;
    target.check(caller, READ)?;
    let index = target.index();
    let start = out.len();
    target.put_ok(out);
    out.put_slice(&target.root.id().as_bytes()[8..]);
    let names = plus.map_or(usize::MAX, |names| names as usize);
    let mut budget = Budget::new(names, total, out.len() - start);
    let end = DOTS + u64::from(index.entry_count(target.node));
    let mut position = cookie.min(end);
    let mut first = true;
    let mut complete = true;
    while position < end {
        let (name, node) = match position {
            0 => (&b"."[..], target.node),
            1 => (&b".."[..], index.parent(target.node)),
            // Below `end`, so it fits: a directory has fewer than 2^32 entries.
            _ => index.entry(target.node, (position - DOTS) as u32),
        };
        let named = 16 + xdr::opaque_size(name.len());
        let described = 4 + FATTR3 + 4 + xdr::opaque_size(IMAGE_HANDLE);
        let size = 4 + named + plus.map_or(0, |_| described);
        if !budget.take(first, named, size) {
            complete = false;
            break;
        }
        position += 1;
        first = false;
        out.put_u32(1);
        out.put_u64(Index::file_id(node));
        xdr::put_opaque(out, name);
        out.put_u64(position);
        if plus.is_some() {
            target.put_attributes_of(node, out);
            out.put_u32(1);
            xdr::put_opaque(out, &target.key.image(&target.root.id(), node));
        }
    }
    if first && !complete {
        return Err(nfsstat3::NFS3ERR_TOOSMALL.into());
    }
    out.put_u32(0);
    out.put_u32(complete.into());
    Ok(())
}

fn read(target: &Target<'_>, call: &mut Call<'_>, out: &mut Vec<u8>) -> Result<Done, Failure> {
    let (offset, count) = (call.args.u64()?, call.args.u32()?);
    let index = target.index();
    if index.is_directory(target.node) {
        return Err(nfsstat3::NFS3ERR_ISDIR.into());
    }
    if index.kind(target.node) != ftype3::NF3REG as u32 {
        return Err(nfsstat3::NFS3ERR_INVAL.into());
    }
    // Who may execute a program may have its pages.
    target.check(&call.credentials, READ | EXECUTE)?;
    let left = index.size(target.node).saturating_sub(offset);
    let count = count.min(TRANSFER_MAX).min(u32::try_from(left).unwrap_or(u32::MAX));
    if count <= READ_AT_ONCE {
        let start = out.len();
        target.put_ok(out);
        out.put_u32(count);
        out.put_u32((u64::from(count) == left).into());
        out.put_u32(count);
        let data = out.len();
        out.resize(data + count as usize, 0);
        if count == 0 || target.root.read_now(target.node, offset, &mut out[data..]) {
            xdr::put_padding(out, count as usize);
            return Ok(Done::Now);
        }
        out.truncate(start);
    }
    Ok(Done::Read(PendingRead {
        root: target.root.clone(),
        node: target.node,
        xid: call.xid,
        offset,
        count,
    }))
}

impl PendingRead {
    /// The whole reply, record mark included.
    pub(crate) fn run(self) -> Vec<u8> {
        let count = self.count as usize;
        let mut out = Vec::with_capacity(count + 256);
        let reply = Reply::success(&mut out, self.xid);
        let results = out.len();
        if let Err(failure) = self.put(&mut out) {
            out.truncate(results);
            tracing::warn!(
                "cannot read {} of image root {}: {failure}",
                String::from_utf8_lossy(&self.root.index().path(self.node)),
                self.root.id(),
            );
            super::put_failure(&mut out, NFS_PROGRAM::NFSPROC3_READ, super::status(failure));
        }
        reply.finish(&mut out);
        out
    }

    fn put(&self, out: &mut Vec<u8>) -> Result<(), rustix::io::Errno> {
        let index = self.root.index();
        out.put_u32(nfsstat3::NFS3_OK as u32);
        out.put_u32(1);
        out.put_slice(index.attributes(self.node));
        let counts = out.len();
        out.put_bytes(0, 12);
        let data = out.len();
        self.root.read(self.node, self.offset, self.count as usize, out)?;
        let len = out.len() - data;
        let at_end = len < self.count as usize
            || self.offset.saturating_add(len as u64) >= index.size(self.node);
        xdr::patch_u32(out, counts, len as u32);
        xdr::patch_u32(out, counts + 4, at_end.into());
        xdr::patch_u32(out, counts + 8, len as u32);
        xdr::put_padding(out, len);
        Ok(())
    }
}
