//! Calls on persistent directories: the full set, carried out on the file system as the caller.

mod change;
mod list;
mod make;
mod set_attributes;

use std::os::fd::AsFd;
use std::sync::Arc;

use bytes::BufMut;
use nfs3_types::nfs3::{NFS_PROGRAM, nfsstat3};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{Failure, NAME_MAX, NAME_READ_MAX, TRANSFER_MAX};
use crate::PersistId;
use crate::attributes::{self, Attributes, EXECUTE, READ, WRITE};
use crate::handle::{BadHandle, HANDLE_MAX, Handle, HandleKey, PersistObject};
use crate::image_root::read_file;
use crate::persist::caller::ActingAs;
use crate::persist::{Object, PersistTree, open_path};
use crate::rpc::Credentials;
use crate::xdr::{self, Reader};

/// A persistent directory, as one call sees it.
pub(crate) struct Target<'a> {
    pub(crate) id: PersistId,
    pub(crate) writable: bool,
    pub(crate) tree: Arc<PersistTree>,
    pub(crate) key: &'a HandleKey,
    /// Changes at each start of the server, so that clients send again what was not committed.
    pub(crate) write_verifier: [u8; 8],
    pub(crate) caller: Credentials,
}

impl Target<'_> {
    fn act(&self) -> Result<Option<ActingAs>, Errno> {
        ActingAs::new(&self.caller)
    }

    fn handle_of(&self, object: &PersistObject) -> Vec<u8> {
        self.key.persist(&self.id, self.writable, object)
    }

    fn fsid(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.id.as_bytes()[..8]);
        u64::from_be_bytes(bytes)
    }

    fn put_fattr(&self, attributes: &Attributes, out: &mut Vec<u8>) {
        attributes.put(self.fsid(), attributes.inode, out);
    }

    /// `post_op_attr`.
    fn put_after(&self, attributes: Option<&Attributes>, out: &mut Vec<u8>) {
        match attributes {
            Some(attributes) => {
                out.put_u32(1);
                self.put_fattr(attributes, out);
            }
            None => out.put_u32(0),
        }
    }

    /// `wcc_data`: the object as it was when the call came, and as it is now.
    fn put_change(&self, object: &Object, out: &mut Vec<u8>) {
        let before = &object.attributes;
        out.put_u32(1);
        out.put_u64(before.size);
        for (seconds, nanoseconds) in [before.mtime, before.ctime] {
            out.put_u32(seconds);
            out.put_u32(nanoseconds);
        }
        self.put_after(object.attributes_now().as_ref(), out);
    }

    /// The second handle of a call that changes something; it must belong to the same directory.
    fn other(&self, args: &mut Reader<'_>) -> Result<Object, Failure> {
        match self.key.open(args.opaque(HANDLE_MAX)?) {
            Ok(Handle::Persist { id, writable, object }) if id == self.id => {
                if !writable {
                    return Err(nfsstat3::NFS3ERR_ROFS.into());
                }
                Ok(self.tree.object(&object)?)
            }
            Ok(_) => Err(nfsstat3::NFS3ERR_XDEV.into()),
            Err(BadHandle::Shape) => Err(nfsstat3::NFS3ERR_BADHANDLE.into()),
            Err(BadHandle::Tag) => Err(nfsstat3::NFS3ERR_STALE.into()),
        }
    }

    /// Whether the caller may use a file's content. The owner always may: it could have opened the
    /// file before it took the permission from itself.
    fn check_content(&self, object: &Object, permission: u32) -> Result<(), Failure> {
        let owner = object.attributes.uid == self.caller.uid;
        if owner || object.attributes.permissions(&self.caller) & permission != 0 {
            Ok(())
        } else {
            Err(nfsstat3::NFS3ERR_ACCES.into())
        }
    }
}

/// Carries out a call on `object`; `args` stands after its handle. Blocks.
pub(crate) fn call(
    target: &Target<'_>,
    procedure: NFS_PROGRAM,
    object: &PersistObject,
    args: &mut Reader<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    use NFS_PROGRAM as P;
    if super::changes(procedure) && !target.writable {
        return Err(nfsstat3::NFS3ERR_ROFS.into());
    }
    let object = target.tree.object(object)?;
    match procedure {
        P::NFSPROC3_NULL => Ok(()),
        P::NFSPROC3_GETATTR => {
            out.put_u32(nfsstat3::NFS3_OK as u32);
            target.put_fattr(&object.attributes, out);
            Ok(())
        }
        P::NFSPROC3_SETATTR => set_attributes::setattr(target, &object, args, out),
        P::NFSPROC3_LOOKUP => lookup(target, &object, args, out),
        P::NFSPROC3_ACCESS => access(target, &object, args, out),
        P::NFSPROC3_READLINK => readlink(target, &object, out),
        P::NFSPROC3_READ => read(target, &object, args, out),
        P::NFSPROC3_WRITE => change::write(target, &object, args, out),
        P::NFSPROC3_CREATE => make::create(target, &object, args, out),
        P::NFSPROC3_MKDIR => make::mkdir(target, &object, args, out),
        P::NFSPROC3_SYMLINK => make::symlink(target, &object, args, out),
        P::NFSPROC3_MKNOD => make::mknod(target, &object, args, out),
        P::NFSPROC3_REMOVE => change::remove(target, &object, args, out, false),
        P::NFSPROC3_RMDIR => change::remove(target, &object, args, out, true),
        P::NFSPROC3_RENAME => change::rename(target, &object, args, out),
        P::NFSPROC3_LINK => change::link(target, &object, args, out),
        P::NFSPROC3_READDIR => {
            let (cookie, _verifier) = (args.u64()?, args.u64()?);
            let count = args.u32()?;
            list::list(target, &object, cookie, None, count, out)
        }
        P::NFSPROC3_READDIRPLUS => {
            let (cookie, _verifier) = (args.u64()?, args.u64()?);
            let (names, total) = (args.u32()?, args.u32()?);
            list::list(target, &object, cookie, Some(names), total, out)
        }
        P::NFSPROC3_FSSTAT => fsstat(target, &object, out),
        P::NFSPROC3_FSINFO => {
            put_ok(target, &object, out);
            super::put_fsinfo(out);
            Ok(())
        }
        P::NFSPROC3_PATHCONF => {
            put_ok(target, &object, out);
            super::put_pathconf(out);
            Ok(())
        }
        P::NFSPROC3_COMMIT => change::commit(target, &object, args, out),
    }
}

/// Attributes of an object, for the answer to NFSACL's GETACL.
pub(crate) fn put_attributes(
    target: &Target<'_>,
    object: &PersistObject,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let object = target.tree.object(object)?;
    put_ok(target, &object, out);
    Ok(())
}

fn put_ok(target: &Target<'_>, object: &Object, out: &mut Vec<u8>) {
    out.put_u32(nfsstat3::NFS3_OK as u32);
    target.put_after(Some(&object.attributes), out);
}

fn directory(object: &Object) -> Result<(), Failure> {
    if object.is_directory() { Ok(()) } else { Err(nfsstat3::NFS3ERR_NOTDIR.into()) }
}

/// A name in a directory: a single component, so that no call can leave the directory.
fn name<'a>(args: &mut Reader<'a>) -> Result<&'a [u8], Failure> {
    let name = args.opaque(NAME_READ_MAX)?;
    if name.len() > NAME_MAX {
        return Err(nfsstat3::NFS3ERR_NAMETOOLONG.into());
    }
    if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
        return Err(nfsstat3::NFS3ERR_ACCES.into());
    }
    Ok(name)
}

/// A name to make, remove or change: "." and ".." are none.
fn new_name<'a>(args: &mut Reader<'a>) -> Result<&'a [u8], Failure> {
    match name(args)? {
        b"." | b".." => Err(nfsstat3::NFS3ERR_INVAL.into()),
        name => Ok(name),
    }
}

fn lookup(
    target: &Target<'_>,
    parent: &Object,
    args: &mut Reader<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    directory(parent)?;
    let name = name(args)?;
    let name = match name {
        b".." if target.tree.is_top(parent) => b".",
        name => name,
    };
    let acting = target.act()?;
    let found = open_path(parent.fd.as_fd(), name);
    drop(acting);
    match found {
        Ok(fd) => {
            let object = Object::of(fd)?;
            let lasting = target.tree.name_of(&object, parent, name)?;
            out.put_u32(nfsstat3::NFS3_OK as u32);
            xdr::put_opaque(out, &target.handle_of(&lasting));
            target.put_after(Some(&object.attributes), out);
        }
        Err(errno) => out.put_u32(super::status(errno) as u32),
    }
    target.put_after(Some(&parent.attributes), out);
    Ok(())
}

fn access(
    target: &Target<'_>,
    object: &Object,
    args: &mut Reader<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let asked = args.u32()?;
    let mut permissions = object.attributes.permissions(&target.caller);
    if !target.writable {
        permissions &= !WRITE;
    }
    put_ok(target, object, out);
    out.put_u32(attributes::access(object.is_directory(), permissions, asked));
    Ok(())
}

fn readlink(target: &Target<'_>, object: &Object, out: &mut Vec<u8>) -> Result<(), Failure> {
    let link = rustix::fs::readlinkat(&object.fd, "", Vec::new()).map_err(|errno| match errno {
        // Not a link.
        Errno::NOENT => Errno::INVAL,
        other => other,
    })?;
    put_ok(target, object, out);
    xdr::put_opaque(out, link.as_bytes());
    Ok(())
}

fn read(
    target: &Target<'_>,
    object: &Object,
    args: &mut Reader<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let (offset, count) = (args.u64()?, args.u32()?);
    if object.is_directory() {
        return Err(nfsstat3::NFS3ERR_ISDIR.into());
    }
    target.check_content(object, READ | EXECUTE)?;
    let file = object.reopen(OFlags::RDONLY)?;
    let count = count.min(TRANSFER_MAX) as usize;
    put_ok(target, object, out);
    let counts = out.len();
    out.put_bytes(0, 12);
    let data = out.len();
    if offset <= i64::MAX as u64 {
        read_file(file.as_fd(), offset, count, out)?;
    }
    let len = out.len() - data;
    let size = rustix::fs::fstat(&file)?.st_size as u64;
    xdr::patch_u32(out, counts, len as u32);
    let at_end = len < count || offset.saturating_add(len as u64) >= size;
    xdr::patch_u32(out, counts + 4, at_end.into());
    xdr::patch_u32(out, counts + 8, len as u32);
    xdr::put_padding(out, len);
    Ok(())
}

fn fsstat(target: &Target<'_>, object: &Object, out: &mut Vec<u8>) -> Result<(), Failure> {
    let stat = rustix::fs::fstatvfs(&object.fd)?;
    put_ok(target, object, out);
    for blocks in [stat.f_blocks, stat.f_bfree, stat.f_bavail] {
        out.put_u64(blocks.saturating_mul(stat.f_frsize));
    }
    for files in [stat.f_files, stat.f_ffree, stat.f_favail] {
        out.put_u64(files);
    }
    out.put_u32(0);
    Ok(())
}
