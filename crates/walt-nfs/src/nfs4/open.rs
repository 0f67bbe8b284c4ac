//! Opening and locking files: what there is to do when nothing can be written.

use bytes::BufMut;

use super::clients::Table;
use super::compound::Compound;
use super::object::{FileKey, Object};
use super::opens::{Done, StateId};
use super::operation::Operation;
use super::status::Status;
use crate::attributes::{EXECUTE, READ};
use crate::clients::ToldSteps;
use crate::xdr::{Malformed, Reader};

/// Longest name of an owner (`NFS4_OPAQUE_LIMIT`).
pub(super) const OWNER_MAX: usize = 1024;
/// Share bits of OPEN: reading, and writing.
const SHARE_READ: u32 = 1;
const SHARE_WRITE: u32 = 2;
/// What minor version 1 adds to the share bits: wishes about delegations.
const WISHES: u32 = 0x3_ff00;

/// Kinds of claim of OPEN (RFC 8881 section 18.16).
mod claim {
    pub(super) const NULL: u32 = 0;
    pub(super) const PREVIOUS: u32 = 1;
    pub(super) const FILE: u32 = 4;
}

impl Compound {
    /// The number of a call of an owner: only minor version 0 counts them.
    fn owner_sequence(&self, sequence: u32) -> Option<u32> {
        (self.minor == 0).then_some(sequence)
    }

    /// The client of a call about an owner: told by the session, or by an id in minor version 0.
    fn owner_client(&self, table: &mut Table, client_id: u64) -> Result<u32, Status> {
        match self.from().client {
            Some(client) => Ok(client),
            None => table.find(self.client, client_id),
        }
    }

    /// A stateid of the call; "the current one" is what an operation before this one gave.
    fn stateid(&self, args: &mut Reader<'_>) -> Result<StateId, Status> {
        match StateId::read(args)? {
            StateId::CURRENT if self.minor > 0 => self.current_state.ok_or(Status::BAD_STATEID),
            other => Ok(other),
        }
    }

    pub(super) fn open(
        &mut self,
        args: &mut Reader<'_>,
        out: &mut Vec<u8>,
        told: Option<&mut ToldSteps>,
    ) -> Result<(), Status> {
        /// Locks have the meaning of POSIX.
        const RESULT_LOCKTYPE_POSIX: u32 = 4;
        const CREATE: u32 = 1;
        let sequence = self.owner_sequence(args.u32()?);
        let (access, deny) = (args.u32()?, args.u32()?);
        let client_id = args.u64()?;
        let owner = args.opaque(OWNER_MAX)?;
        let create = match args.u32()? {
            0 => false,
            CREATE => true,
            _ => return Err(Status::BADXDR),
        };
        let before = self.object()?.facts().change;
        let find = || -> Result<FileKey, Status> {
            self.check_share(access, deny)?;
            if create {
                return Err(Status::ROFS);
            }
            let object = match args.u32()? {
                claim::NULL => self.named(args, told)?,
                claim::PREVIOUS => {
                    let _delegation = args.u32()?;
                    self.object()?.clone()
                }
                claim::FILE if self.minor > 0 => self.object()?.clone(),
                // Claims of delegations, which nobody has.
                2..=6 => return Err(Status::NOTSUPP),
                _ => return Err(Status::BADXDR),
            };
            let (root, node) = object.regular_file()?;
            // As for READ; whether it may be executed is checked by the client with ACCESS.
            object.check(&self.credentials, READ | EXECUTE)?;
            Ok((root.id(), node))
        };
        // Before anything is locked: exports are asked on the way.
        let found = find();
        let done = {
            let mut table = self.state();
            let client = self.owner_client(&mut table, client_id)?;
            table.open(client, owner, sequence, found)?
        };
        let file = done.file.ok_or(Status::SERVERFAULT)?;
        let object = Object::file(&*self.service.exports, file)?;
        self.set_current(object);
        self.current_state = Some(done.stateid);
        done.stateid.put(out);
        // The directory has not changed.
        out.put_u32(1);
        out.put_u64(before);
        out.put_u64(before);
        out.put_u32(RESULT_LOCKTYPE_POSIX);
        // No attribute was set, no delegation is given.
        out.put_u32(0);
        out.put_u32(0);
        Ok(())
    }

    fn check_share(&self, access: u32, deny: u32) -> Result<(), Status> {
        let access = if self.minor > 0 { access & !WISHES } else { access };
        if access == 0 || access & !(SHARE_READ | SHARE_WRITE) != 0 {
            return Err(Status::INVAL);
        }
        if access & SHARE_WRITE != 0 {
            return Err(Status::ROFS);
        }
        match deny {
            // Nobody writes: it costs nothing to promise it.
            0 | SHARE_WRITE => Ok(()),
            // Others read: this cannot be promised.
            1 | 3 => Err(Status::SHARE_DENIED),
            _ => Err(Status::INVAL),
        }
    }

    pub(super) fn close(&mut self, args: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), Status> {
        let sequence = self.owner_sequence(args.u32()?);
        let stateid = self.stateid(args)?;
        self.object()?;
        let closed =
            self.state().change(self.from(), stateid, sequence, Operation::Close, || Ok(()));
        let done = closed?;
        if self.minor > 0 {
            self.current_state = None;
            StateId::INVALID.put(out);
        } else {
            done.stateid.put(out);
        }
        Ok(())
    }

    pub(super) fn open_confirm(
        &mut self,
        args: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Status> {
        let stateid = StateId::read(args)?;
        let sequence = self.owner_sequence(args.u32()?);
        self.object()?;
        let from = self.from();
        let done =
            self.state().change(from, stateid, sequence, Operation::OpenConfirm, || Ok(()))?;
        self.give(done, out);
        Ok(())
    }

    pub(super) fn open_downgrade(
        &mut self,
        args: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Status> {
        let stateid = self.stateid(args)?;
        let sequence = self.owner_sequence(args.u32()?);
        let (access, deny) = (args.u32()?, args.u32()?);
        self.object()?;
        let check = || match (access & !WISHES, deny) {
            (SHARE_READ, 0 | SHARE_WRITE) => Ok(()),
            _ => Err(Status::INVAL),
        };
        let from = self.from();
        let done = self.state().change(from, stateid, sequence, Operation::OpenDowngrade, check)?;
        self.give(done, out);
        Ok(())
    }

    pub(super) fn lock(&mut self, args: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), Status> {
        let kind = args.u32()?;
        let _reclaim = args.bool()?;
        let range = (args.u64()?, args.u64()?);
        self.object()?;
        let check = || {
            check_range(range)?;
            if writes(kind)? { Err(Status::OPENMODE) } else { Ok(()) }
        };
        let from = self.from();
        let done = if args.bool()? {
            let sequence = self.owner_sequence(args.u32()?);
            let open = self.stateid(args)?;
            let lock_sequence = self.owner_sequence(args.u32()?);
            let owner = read_owner(args)?.1;
            self.state().lock_new(from, open, sequence, (owner, lock_sequence), check)?
        } else {
            let stateid = self.stateid(args)?;
            let sequence = self.owner_sequence(args.u32()?);
            self.state().change(from, stateid, sequence, Operation::Lock, check)?
        };
        self.give(done, out);
        Ok(())
    }

    /// LOCKT: nothing is in the way of a lock.
    pub(super) fn test_lock(&mut self, args: &mut Reader<'_>) -> Result<(), Status> {
        let kind = args.u32()?;
        let range = (args.u64()?, args.u64()?);
        let (client_id, _owner) = read_owner(args)?;
        self.object()?.regular_file()?;
        writes(kind)?;
        check_range(range)?;
        let mut table = self.state();
        self.owner_client(&mut table, client_id)?;
        Ok(())
    }

    pub(super) fn unlock(
        &mut self,
        args: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Status> {
        let kind = args.u32()?;
        let sequence = self.owner_sequence(args.u32()?);
        let stateid = self.stateid(args)?;
        let range = (args.u64()?, args.u64()?);
        self.object()?;
        let check = || {
            writes(kind)?;
            check_range(range)
        };
        let from = self.from();
        let done = self.state().change(from, stateid, sequence, Operation::LockU, check)?;
        self.give(done, out);
        Ok(())
    }

    pub(super) fn release_lock_owner(&mut self, args: &mut Reader<'_>) -> Result<(), Status> {
        let (client_id, owner) = read_owner(args)?;
        let mut table = self.state();
        let client = self.owner_client(&mut table, client_id)?;
        table.release_lock_owner(client, owner)
    }

    pub(super) fn test_states(
        &mut self,
        args: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Status> {
        /// Stateids in one operation.
        const STATEIDS_MAX: u32 = 4096;
        let count = args.u32()?;
        if count > STATEIDS_MAX {
            return Err(Status::BADXDR);
        }
        let from = self.from();
        let mut table = self.state();
        out.put_u32(count);
        for _ in 0..count {
            let stateid = StateId::read(args)?;
            out.put_u32(table.test(from, stateid).err().unwrap_or(Status::OK).0);
        }
        Ok(())
    }

    fn give(&mut self, done: Done, out: &mut Vec<u8>) {
        self.current_state = Some(done.stateid);
        done.stateid.put(out);
    }
}

/// A client id and the name of an owner.
fn read_owner<'a>(args: &mut Reader<'a>) -> Result<(u64, &'a [u8]), Malformed> {
    Ok((args.u64()?, args.opaque(OWNER_MAX)?))
}

/// Whether a kind of lock is for writing.
fn writes(kind: u32) -> Result<bool, Status> {
    match kind {
        1 | 3 => Ok(false),
        2 | 4 => Ok(true),
        _ => Err(Status::INVAL),
    }
}

/// All ones is "to the end" (RFC 7530 section 16.10.4).
fn check_range((offset, length): (u64, u64)) -> Result<(), Status> {
    if length == 0 || (length != u64::MAX && offset.checked_add(length).is_none()) {
        return Err(Status::INVAL);
    }
    Ok(())
}
