//! COMPOUND: the operations of a call, one after the other until one fails (RFC 7530 section 15.2).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{BufMut, Bytes};
use parking_lot::MutexGuard;

use super::OPERATIONS_MAX;
use super::clients::Table;
use super::object::Object;
use super::opens::{From, StateId};
use super::operation::{self, Known, MINOR_MAX, Operation};
use super::sessions::{Announced, MESSAGE_MAX, Turn};
use super::status::Status;
use crate::clients::{Step, ToldSteps};
use crate::rpc::{Call, Credentials, Reply};
use crate::service::Service;
use crate::xdr::{self, Malformed, Reader};
use crate::{NfsEvent, NfsObservation, TargetId};

/// Longest tag: a comment of the client which is sent back.
const TAG_MAX: usize = 1024;

/// A call under way. It does not borrow the call, so that it can go on elsewhere when a READ must wait for
/// a disk.
pub(crate) struct Compound {
    pub(super) service: Arc<Service>,
    pub(super) client: IpAddr,
    pub(super) credentials: Credentials,
    pub(super) minor: u32,
    pub(super) current: Option<Object>,
    pub(super) current_state: Option<StateId>,
    saved: Option<(Object, Option<StateId>)>,
    slot: Option<TakenSlot>,
    record: Bytes,
    /// Where the next operation starts in the record.
    at: usize,
    operations: u32,
    done: u32,
    /// Where the reply starts in the output, and its places that are written last.
    base: usize,
    count_at: usize,
    status: Status,
    /// Longest reply.
    room: usize,
}

/// How far a compound has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The reply is written.
    Done,
    /// The next operation has to wait: [`Compound::resume`] is to be called where that is allowed.
    Blocked,
    /// The call was carried out before: the whole reply is that of then.
    Replayed,
}

/// Carries an operation out; `Blocked` when it must be tried again where it may wait.
pub(super) type Outcome = Result<Progress, Status>;

/// A slot of a session; it is given back when the call ends, however it ends.
struct TakenSlot {
    service: Arc<Service>,
    session: u32,
    client: u32,
    slot: u32,
    keep: bool,
    reply: Option<Vec<u8>>,
}

impl Drop for TakenSlot {
    fn drop(&mut self) {
        self.service.nfs4.lock().finish(self.session, self.slot, self.reply.as_deref());
    }
}

impl Compound {
    /// Reads the head of a call and starts its reply in `out`.
    pub(crate) fn start(
        service: &Arc<Service>,
        client: IpAddr,
        call: &mut Call<'_>,
        record: &Bytes,
        out: &mut Vec<u8>,
    ) -> Result<Self, Malformed> {
        let base = out.len();
        let tag = call.args.opaque(TAG_MAX)?;
        let (minor, operations) = (call.args.u32()?, call.args.u32()?);
        // The record mark and the length are written at the end.
        let _ = Reply::success(out, call.xid);
        out.put_u32(Status::OK.0);
        xdr::put_opaque(out, tag);
        let count_at = out.len() - base;
        out.put_u32(0);
        let mut compound = Self {
            service: service.clone(),
            client,
            credentials: call.credentials,
            minor,
            current: None,
            current_state: None,
            saved: None,
            slot: None,
            record: record.clone(),
            at: record.len() - call.args.remaining(),
            operations,
            done: 0,
            base,
            count_at,
            status: Status::OK,
            room: MESSAGE_MAX as usize,
        };
        if minor > MINOR_MAX {
            compound.refuse(Status::MINOR_VERS_MISMATCH);
        } else if operations > OPERATIONS_MAX {
            compound.refuse(if minor == 0 { Status::RESOURCE } else { Status::TOO_MANY_OPS });
        }
        Ok(compound)
    }

    /// The whole call fails before its first operation.
    fn refuse(&mut self, status: Status) {
        self.status = status;
        self.operations = 0;
    }

    /// Carries out what can be done without waiting. If something has to, gives what there is of the reply,
    /// for [`Compound::resume`].
    pub(crate) fn run(&mut self, out: &mut Vec<u8>, told: &mut ToldSteps) -> Option<Vec<u8>> {
        let progress = self.operations(out, Some(told));
        if progress == Progress::Blocked {
            let partial = out.split_off(self.base);
            self.base = 0;
            return Some(partial);
        }
        self.finish(progress, out);
        None
    }

    /// Carries out the rest, waiting where needed.
    pub(crate) fn resume(mut self, mut out: Vec<u8>) -> Vec<u8> {
        let progress = self.operations(&mut out, None);
        self.finish(progress, &mut out);
        out
    }

    fn finish(&mut self, progress: Progress, out: &mut [u8]) {
        let base = self.base;
        if progress != Progress::Replayed {
            xdr::patch_u32(out, base + Reply::HEAD, self.status.0);
            xdr::patch_u32(out, base + self.count_at, self.done);
        }
        Reply::at(base).finish(out);
        if let Some(mut slot) = self.slot.take()
            && slot.keep
        {
            slot.reply = Some(out[base + Reply::HEAD..].to_vec());
        }
    }

    /// `told` is given while waiting is not allowed.
    fn operations(&mut self, out: &mut Vec<u8>, mut told: Option<&mut ToldSteps>) -> Progress {
        let record = self.record.clone();
        while self.done < self.operations {
            let head = out.len();
            let mut args = Reader::new(&record[self.at..]);
            let number = args.u32();
            let known = match number {
                Ok(number) => operation::known(number, self.minor),
                Err(_) => Known::Illegal,
            };
            let illegal = known == Known::Illegal;
            out.put_u32(number.ok().filter(|_| !illegal).unwrap_or(operation::ILLEGAL));
            out.put_u32(Status::OK.0);
            let body = out.len();
            let done = match (number, known) {
                (Err(_), _) => Err(Status::BADXDR),
                (_, Known::Illegal) => Err(Status::OP_ILLEGAL),
                (_, Known::Unsupported) => self.in_session(None).and(Err(Status::NOTSUPP)),
                (_, Known::Here(operation)) => self
                    .in_session(Some(operation))
                    .and_then(|()| self.operation(operation, &mut args, out, told.as_deref_mut())),
            };
            let too_long = out.len() - self.base > self.room;
            let status = match done {
                Ok(Progress::Blocked) => {
                    out.truncate(head);
                    return Progress::Blocked;
                }
                Ok(Progress::Replayed) => return Progress::Replayed,
                Ok(Progress::Done) if !too_long => Status::OK,
                Ok(Progress::Done) if self.minor == 0 => Status::RESOURCE,
                Ok(Progress::Done) => Status::REP_TOO_BIG,
                Err(status) => status,
            };
            self.at = record.len() - args.remaining();
            self.done += 1;
            if status != Status::OK {
                out.truncate(body);
                xdr::patch_u32(out, head + 4, status.0);
                if known == Known::Here(Operation::SetAttr) {
                    // No attribute was set.
                    out.put_u32(0);
                }
                self.status = status;
                self.operations = self.done;
            }
        }
        Progress::Done
    }

    /// With sessions, calls start with SEQUENCE, but those that make sessions, which are alone (RFC 8881
    /// section 2.10.2).
    fn in_session(&self, operation: Option<Operation>) -> Result<(), Status> {
        use Operation as O;
        let first = self.done == 0;
        match operation {
            _ if self.minor == 0 => Ok(()),
            Some(O::Sequence) if first => Ok(()),
            Some(O::Sequence) => Err(Status::SEQUENCE_POS),
            _ if self.slot.is_some() => Ok(()),
            Some(
                O::ExchangeId
                | O::CreateSession
                | O::DestroySession
                | O::BindConnToSession
                | O::DestroyClientId,
            ) if first => {
                if self.operations == 1 {
                    Ok(())
                } else {
                    Err(Status::NOT_ONLY_OP)
                }
            }
            _ => Err(Status::OP_NOT_IN_SESSION),
        }
    }

    fn operation(
        &mut self,
        operation: Operation,
        args: &mut Reader<'_>,
        out: &mut Vec<u8>,
        told: Option<&mut ToldSteps>,
    ) -> Outcome {
        use Operation as O;
        match operation {
            O::Access => self.access(args, out)?,
            O::Close => self.close(args, out)?,
            O::GetAttr => self.get_attributes(args, out)?,
            O::GetFh => {
                let handle = self.object()?.handle(&self.service.key)?;
                xdr::put_opaque(out, &handle);
            }
            O::Lock => self.lock(args, out)?,
            O::LockT => self.test_lock(args)?,
            O::LockU => self.unlock(args, out)?,
            O::Lookup => self.lookup(args, told)?,
            O::LookupP => self.lookup_parent()?,
            O::Verify => self.verify(args, true)?,
            O::NVerify => self.verify(args, false)?,
            O::Open => self.open(args, out, told)?,
            O::OpenConfirm => self.open_confirm(args, out)?,
            O::OpenDowngrade => self.open_downgrade(args, out)?,
            O::PutFh => self.put_handle(args)?,
            O::PutPubFh | O::PutRootFh => self.set_current(Object::root()),
            O::Read => return self.read(args, out, told),
            O::ReadDir => self.read_directory(args, out, told)?,
            O::ReadLink => self.read_link(out)?,
            O::SaveFh => self.saved = Some((self.object()?.clone(), self.current_state)),
            O::RestoreFh => {
                let (object, state) = self.saved.clone().ok_or(Status::RESTOREFH)?;
                self.set_current(object);
                self.current_state = state;
            }
            O::SecInfo => self.security_of(args, out)?,
            O::SecInfoNoName => self.security(args, out)?,
            O::Commit | O::Create | O::Link | O::Remove | O::Rename | O::SetAttr | O::Write => {
                self.object()?;
                return Err(Status::ROFS);
            }
            // There are no delegations and no named attributes.
            O::DelegPurge | O::OpenAttr => return Err(Status::NOTSUPP),
            O::DelegReturn => return Err(Status::BAD_STATEID),
            O::Renew => {
                let (client, id) = (self.client, args.u64()?);
                self.state().find(client, id)?;
            }
            O::SetClientId => self.set_client_id(args, out)?,
            O::SetClientIdConfirm => self.set_client_id_confirm(args)?,
            O::ReleaseLockOwner => self.release_lock_owner(args)?,
            O::BindConnToSession => self.bind_connection(args, out)?,
            O::ExchangeId => self.exchange_id(args, out)?,
            O::CreateSession => self.create_session(args, out)?,
            O::DestroySession => {
                let (client, id) = (self.client, args.fixed()?);
                self.state().destroy_session(client, &id)?;
            }
            O::Sequence => return self.sequence(args, out),
            O::FreeStateId => {
                let (from, stateid) = (self.from(), StateId::read(args)?);
                self.state().free(from, stateid)?;
            }
            O::TestStateId => self.test_states(args, out)?,
            O::DestroyClientId => {
                let (client, id) = (self.client, args.u64()?);
                self.state().destroy(client, id)?;
            }
            O::ReclaimComplete => self.reclaim_complete(args)?,
        }
        Ok(Progress::Done)
    }

    fn put_handle(&mut self, args: &mut Reader<'_>) -> Result<(), Status> {
        /// Longest handle (RFC 7530 section 1.5.3).
        const HANDLE_MAX: usize = 128;
        let handle = args.opaque(HANDLE_MAX)?;
        let object = Object::open(&*self.service.exports, &self.service.key, self.client, handle)?;
        self.set_current(object);
        Ok(())
    }

    pub(super) fn set_current(&mut self, object: Object) {
        self.current = Some(object);
        self.current_state = None;
    }

    /// The file that the operations are about.
    pub(super) fn object(&self) -> Result<&Object, Status> {
        self.current.as_ref().ok_or(Status::NOFILEHANDLE)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, Table> {
        self.service.nfs4.lock()
    }

    /// Whose state the call may use.
    pub(super) fn from(&self) -> From {
        From { address: self.client, client: self.slot.as_ref().map(|slot| slot.client) }
    }

    /// Bytes that the results of an operation may still take.
    pub(super) fn room(&self, out: &[u8]) -> usize {
        (self.room + self.base).saturating_sub(out.len())
    }

    fn sequence(&mut self, args: &mut Reader<'_>, out: &mut Vec<u8>) -> Outcome {
        let session = args.fixed()?;
        let (sequence, slot) = (args.u32()?, args.u32()?);
        let _highest = args.u32()?;
        let keep = args.bool()?;
        let announced = Announced {
            session,
            sequence,
            slot,
            operations: self.operations,
            bytes: self.record.len(),
        };
        let turn = self.state().take_turn(self.client, announced)?;
        match turn {
            Turn::Again(reply) => {
                out.truncate(self.base + Reply::HEAD);
                out.extend(reply);
                Ok(Progress::Replayed)
            }
            Turn::New { client, session: number, limits } => {
                let service = self.service.clone();
                self.slot =
                    Some(TakenSlot { service, session: number, client, slot, keep, reply: None });
                self.room = limits.reply as usize;
                out.put_slice(&session);
                let highest = limits.slots - 1;
                // The last word: nothing is wrong with the client's state.
                for word in [sequence, slot, highest, highest, 0] {
                    out.put_u32(word);
                }
                Ok(Progress::Done)
            }
        }
    }

    /// Tells about the first steps of a client in an image root.
    pub(super) fn tell(&self, told: Option<&mut ToldSteps>, step: Step) {
        if let (Some(told), Some(Object::Image { root, .. })) = (told, &self.current) {
            self.service.tell(self.client, told, TargetId::Image(root.id()), step);
        }
    }

    /// A client has come to the root of an image, or was refused: what a mount is in version 3. Clients
    /// come by several times in one mount.
    pub(super) fn observe_mount(&self, told: Option<&mut ToldSteps>, event: NfsEvent) {
        if let NfsEvent::MountGranted { target, .. } = &event {
            if !told.is_some_and(|told| told.is_new(*target, Step::Mount)) {
                return;
            }
            self.service.first_steps.forget(self.client, *target);
        }
        let observation = NfsObservation { at: SystemTime::now(), client: self.client, event };
        self.service.exports.observe(observation);
    }
}
