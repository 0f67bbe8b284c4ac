//! Names, attributes and contents of files.

use bytes::BufMut;
use nfs3_types::rpc::auth_flavor;

use super::attributes::{self, Bitmap};
use super::compound::{Compound, Outcome, Progress};
use super::object::{Found, Object};
use super::opens::StateId;
use super::status::Status;
use crate::attributes::{EXECUTE, READ, WRITE, access};
use crate::clients::{Step, ToldSteps};
use crate::nfs::{LISTING_MAX, NAME_MAX, NAME_READ_MAX, READ_AT_ONCE, TRANSFER_MAX};
use crate::xdr::{self, Reader};
use crate::{NfsEvent, TargetId};

/// Rights that ACCESS knows (RFC 7530 section 16.1); the numbers are those of version 3.
const RIGHTS: u32 = 0x3f;

impl Compound {
    pub(super) fn access(&self, args: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), Status> {
        let asked = args.u32()? & RIGHTS;
        let object = self.object()?;
        let permissions = object.permissions(&self.credentials) & !WRITE;
        out.put_u32(asked);
        out.put_u32(access(object.is_directory(), permissions, asked));
        Ok(())
    }

    pub(super) fn get_attributes(
        &self,
        args: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Status> {
        let asked = Bitmap::read(args)?;
        attributes::put(out, self.object()?, &self.service.key, self.minor, asked)
    }

    /// VERIFY goes on when the attributes are the same, NVERIFY when they are not.
    pub(super) fn verify(&self, args: &mut Reader<'_>, wanted: bool) -> Result<(), Status> {
        let object = self.object()?;
        match attributes::same(args, object, &self.service.key, self.minor)? {
            same if same == wanted => Ok(()),
            true => Err(Status::SAME),
            false => Err(Status::NOT_SAME),
        }
    }

    pub(super) fn lookup(
        &mut self,
        args: &mut Reader<'_>,
        told: Option<&mut ToldSteps>,
    ) -> Result<(), Status> {
        let object = self.named(args, told)?;
        self.set_current(object);
        Ok(())
    }

    /// The object whose name comes next in the call, in the current directory.
    pub(super) fn named(
        &self,
        args: &mut Reader<'_>,
        mut told: Option<&mut ToldSteps>,
    ) -> Result<Object, Status> {
        let name = args.opaque(NAME_READ_MAX)?;
        let directory = self.object()?;
        directory.check_directory()?;
        match name {
            b"" => return Err(Status::INVAL),
            b"." | b".." => return Err(Status::BADNAME),
            _ if name.len() > NAME_MAX => return Err(Status::NAMETOOLONG),
            _ if name.iter().any(|byte| matches!(byte, 0 | b'/')) => return Err(Status::BADNAME),
            _ => {}
        }
        self.tell(told.as_deref_mut(), Step::Lookup);
        directory.check(&self.credentials, EXECUTE)?;
        match directory.lookup(&*self.service.exports, self.client, name)? {
            Found::Inside(object) => Ok(object),
            Found::Export { path, object } => {
                if let Object::Image { root, .. } = &object {
                    let target = TargetId::Image(root.id());
                    self.observe_mount(told, NfsEvent::MountGranted { path, target });
                }
                Ok(object)
            }
            Found::Denied { path, reason } => {
                self.observe_mount(told, NfsEvent::MountDenied { path, reason });
                Err(Status::ACCESS)
            }
        }
    }

    pub(super) fn lookup_parent(&mut self) -> Result<(), Status> {
        let directory = self.object()?;
        directory.check_directory()?;
        directory.check(&self.credentials, EXECUTE)?;
        let parent = directory.parent()?;
        self.set_current(parent);
        Ok(())
    }

    pub(super) fn read_link(&self, out: &mut Vec<u8>) -> Result<(), Status> {
        let target = match self.object()? {
            Object::Image { root, node } => root.index().target(*node),
            Object::Folder(_) => None,
        };
        xdr::put_opaque(out, target.ok_or(Status::INVAL)?);
        Ok(())
    }

    /// READ. The stateid does not matter: nobody can write, lock others out, or take a file away.
    pub(super) fn read(
        &mut self,
        args: &mut Reader<'_>,
        out: &mut Vec<u8>,
        told: Option<&mut ToldSteps>,
    ) -> Outcome {
        /// Results before the data, and the most padding after it.
        const AROUND: usize = 8 + 3;
        let stateid = StateId::read(args)?;
        let (offset, count) = (args.u64()?, args.u32()?);
        let may_wait = told.is_none();
        let object = self.object()?;
        let (root, node) = object.regular_file().map_err(|status| match status {
            Status::SYMLINK => Status::INVAL,
            other => other,
        })?;
        // Who may execute a program may have its pages.
        object.check(&self.credentials, READ | EXECUTE)?;
        self.tell(told, Step::Read);
        if self.minor == 0 {
            self.state().renew_by(self.client, stateid);
        }
        let size = root.index().size(node);
        let left = size.saturating_sub(offset);
        let room = self.room(out).saturating_sub(AROUND);
        let count = u64::from(count.min(TRANSFER_MAX)).min(left).min(room as u64) as usize;
        let start = out.len();
        out.put_u32((count as u64 == left).into());
        out.put_u32(count as u32);
        let data = out.len();
        if count <= READ_AT_ONCE as usize {
            out.resize(data + count, 0);
            if count == 0 || root.read_now(node, offset, &mut out[data..]) {
                xdr::put_padding(out, count);
                return Ok(Progress::Done);
            }
            out.truncate(data);
        }
        if !may_wait {
            out.truncate(start);
            return Ok(Progress::Blocked);
        }
        root.read(node, offset, count, out).map_err(|error| {
            tracing::warn!(
                "cannot read {} of image root {}: {error}",
                String::from_utf8_lossy(&root.index().path(node)),
                root.id(),
            );
            Status::from(error)
        })?;
        let len = out.len() - data;
        if len < count {
            xdr::patch_u32(out, start, 1);
            xdr::patch_u32(out, start + 4, len as u32);
        }
        xdr::put_padding(out, len);
        Ok(Progress::Done)
    }

    pub(super) fn read_directory(
        &mut self,
        args: &mut Reader<'_>,
        out: &mut Vec<u8>,
        told: Option<&mut ToldSteps>,
    ) -> Result<(), Status> {
        /// End of the list, and whether it is the end of the directory.
        const END: usize = 8;
        let cookie = args.u64()?;
        let _verifier: [u8; 8] = args.fixed()?;
        let (_names, total) = (args.u32()?, args.u32()?);
        let asked = Bitmap::read(args)?;
        let directory = self.object()?;
        directory.check_directory()?;
        directory.check(&self.credentials, READ)?;
        self.tell(told, Step::Lookup);
        let exports = &*self.service.exports;
        let limit = out.len() + (total.min(LISTING_MAX) as usize).min(self.room(out));
        // A place in a directory of an image means the same for ever, and in a folder after changes too:
        // cookies need no verifier.
        out.put_u64(0);
        let mut entries = directory.entries(exports, self.client, cookie)?;
        let (mut first, mut complete) = (true, true);
        while let Some((cookie, name, object)) = entries.next(exports, self.client) {
            let start = out.len();
            out.put_u32(1);
            out.put_u64(cookie);
            xdr::put_opaque(out, &name);
            attributes::put(out, &object, &self.service.key, self.minor, asked)?;
            if out.len() + END > limit {
                out.truncate(start);
                complete = false;
                break;
            }
            first = false;
        }
        if first && !complete {
            return Err(Status::TOOSMALL);
        }
        out.put_u32(0);
        out.put_u32(complete.into());
        Ok(())
    }

    /// SECINFO: how a client may say who calls, for a name.
    pub(super) fn security_of(
        &mut self,
        args: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Status> {
        self.named(args, None)?;
        self.put_security(out);
        Ok(())
    }

    /// SECINFO_NO_NAME: the same for the current file or its parent.
    pub(super) fn security(
        &mut self,
        args: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Status> {
        const CURRENT: u32 = 0;
        const PARENT: u32 = 1;
        match args.u32()? {
            CURRENT => {
                self.object()?;
            }
            PARENT => {
                self.object()?.parent()?;
            }
            _ => return Err(Status::BADXDR),
        }
        self.put_security(out);
        Ok(())
    }

    fn put_security(&mut self, out: &mut Vec<u8>) {
        out.put_u32(2);
        out.put_u32(auth_flavor::AUTH_UNIX as u32);
        out.put_u32(auth_flavor::AUTH_NULL as u32);
        if self.minor > 0 {
            // The file was used up (RFC 8881 section 2.6.3.1.1.8).
            self.current = None;
            self.current_state = None;
        }
    }
}
