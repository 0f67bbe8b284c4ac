//! One call in, one reply out: programs, versions, handles, and the containment of panics.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{BufMut, Bytes};
use nfs3_types::nfs3::{NFS_PROGRAM, nfsstat3};
use nfs3_types::rpc::accept_stat;

use crate::clients::{FirstSteps, Step, ToldSteps};
use crate::handle::{BadHandle, HANDLE_MAX, Handle, PersistObject};
use crate::image_root::ImageRoot;
use crate::nfs::{self, Failure, image, persist};
use crate::persist::PersistTrees;
use crate::portmap::{self, Ports};
use crate::replay::{ReplayCache, Seen};
use crate::rpc::{self, Call, Reply};
use crate::{Exports, HandleKey, NfsEvent, NfsObservation, PersistId, TargetId, acl, mount, nfs4};

/// All that calls need.
pub(crate) struct Service {
    pub(crate) exports: Arc<dyn Exports>,
    pub(crate) key: HandleKey,
    pub(crate) ports: Ports,
    pub(crate) persist: PersistTrees,
    pub(crate) first_steps: FirstSteps,
    pub(crate) replay: ReplayCache,
    pub(crate) write_verifier: [u8; 8],
    pub(crate) nfs4: nfs4::Clients,
}

/// What became of a message.
pub(crate) enum Outcome {
    /// The reply is written.
    Answered,
    /// The message is no call: there is no reply.
    Garbage,
    /// The reply comes from this job, which may block.
    Later(Job),
}

/// Makes a whole reply, record mark included; `None` when the client must ask again.
pub(crate) type Job = Box<dyn FnOnce() -> Option<Vec<u8>> + Send>;

/// Which programs a transport answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// All of them.
    Tcp,
    /// Portmap and mount.
    Udp,
}

impl Service {
    /// Carries out one call, or says what is to be done elsewhere. The reply is appended to `out`.
    pub(crate) fn call(
        self: &Arc<Self>,
        client: IpAddr,
        transport: Transport,
        told: &mut ToldSteps,
        record: &Bytes,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let call = match Call::parse(record) {
            Ok(call) => call,
            Err(bad) if rpc::refuse_bad(out, &bad) => return Outcome::Answered,
            Err(_) => return Outcome::Garbage,
        };
        let (xid, procedure, start) = (call.xid, Procedure::of(&call), out.len());
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            self.dispatch(client, transport, told, record, call, out)
        }));
        outcome.unwrap_or_else(|_| {
            out.truncate(start);
            match procedure {
                Some(procedure) => procedure.reply_failure(out, xid, panicked(procedure)),
                None => rpc::refuse(out, xid, accept_stat::SYSTEM_ERR),
            }
            Outcome::Answered
        })
    }

    fn dispatch(
        self: &Arc<Self>,
        client: IpAddr,
        transport: Transport,
        told: &mut ToldSteps,
        record: &Bytes,
        mut call: Call<'_>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        use nfs3_types::{nfs3, portmap as pm};
        crate::counts::count(call.program, call.version);
        let versions = match (call.program, transport) {
            (pm::PROGRAM, _) => (pm::VERSION, pm::VERSION),
            (mount::PROGRAM, _) => (1, 3),
            (nfs3::PROGRAM, Transport::Tcp) => (nfs3::VERSION, nfs4::VERSION),
            (acl::PROGRAM, Transport::Tcp) => (acl::VERSION, acl::VERSION),
            _ => {
                rpc::refuse(out, call.xid, accept_stat::PROG_UNAVAIL);
                return Outcome::Answered;
            }
        };
        if !(versions.0..=versions.1).contains(&call.version) {
            rpc::refuse_version(out, call.xid, versions.0, versions.1);
            return Outcome::Answered;
        }
        match call.program {
            pm::PROGRAM => {
                let ports = self.ports;
                reply(out, call.xid, |out| {
                    Ok(portmap::call(ports, call.procedure, &mut call.args, out)?)
                });
                Outcome::Answered
            }
            mount::PROGRAM if mount::may_block(call.procedure) => {
                let service = self.clone();
                let record = record.clone();
                Outcome::Later(Box::new(move || Some(service.mount(client, &record))))
            }
            mount::PROGRAM => {
                reply(out, call.xid, |out| {
                    let (version, procedure) = (call.version, call.procedure);
                    Ok(mount::call(self, client, version, procedure, &mut call.args, out)?)
                });
                Outcome::Answered
            }
            nfs3::PROGRAM if call.version == nfs4::VERSION => {
                self.compound(client, told, record, call, out)
            }
            _ => self.file_call(client, told, record, call, out),
        }
    }

    /// NFS version 4.
    fn compound(
        self: &Arc<Self>,
        client: IpAddr,
        told: &mut ToldSteps,
        record: &Bytes,
        mut call: Call<'_>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let (xid, start) = (call.xid, out.len());
        match call.procedure {
            nfs4::NULL => Reply::success(out, xid).finish(out),
            nfs4::COMPOUND => match nfs4::Compound::start(self, client, &mut call, record, out) {
                Ok(mut compound) => {
                    if let Some(partial) = compound.run(out, told) {
                        return Outcome::Later(Box::new(move || {
                            let done = catch_unwind(AssertUnwindSafe(|| compound.resume(partial)));
                            Some(done.unwrap_or_else(|_| {
                                tracing::error!("a compound panicked while it read a file");
                                let mut out = Vec::new();
                                rpc::refuse(&mut out, xid, accept_stat::SYSTEM_ERR);
                                out
                            }))
                        }));
                    }
                }
                Err(_) => {
                    out.truncate(start);
                    rpc::refuse(out, xid, accept_stat::GARBAGE_ARGS);
                }
            },
            _ => rpc::refuse(out, xid, accept_stat::PROC_UNAVAIL),
        }
        Outcome::Answered
    }

    fn mount(&self, client: IpAddr, record: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        if let Ok(mut call) = Call::parse(record) {
            reply(&mut out, call.xid, |out| {
                let (version, procedure) = (call.version, call.procedure);
                Ok(mount::call(self, client, version, procedure, &mut call.args, out)?)
            });
        }
        out
    }

    /// NFS and NFSACL: all calls but NULL start with a handle.
    fn file_call(
        self: &Arc<Self>,
        client: IpAddr,
        told: &mut ToldSteps,
        record: &Bytes,
        mut call: Call<'_>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let Some(procedure) = Procedure::of(&call) else {
            rpc::refuse(out, call.xid, accept_stat::PROC_UNAVAIL);
            return Outcome::Answered;
        };
        if procedure.is_null() {
            Reply::success(out, call.xid).finish(out);
            return Outcome::Answered;
        }
        let Ok(bytes) = call.args.opaque(HANDLE_MAX) else {
            rpc::refuse(out, call.xid, accept_stat::GARBAGE_ARGS);
            return Outcome::Answered;
        };
        let fail = |out: &mut Vec<u8>, status| {
            let reply = Reply::success(out, call.xid);
            procedure.put_failure(out, status);
            reply.finish(out);
            Outcome::Answered
        };
        match self.key.open(bytes) {
            Ok(Handle::Image { root, index }) => {
                let Some(root) = self.exports.image_root(&root) else {
                    return fail(out, nfsstat3::NFS3ERR_STALE);
                };
                if index >= root.index().nodes() {
                    return fail(out, nfsstat3::NFS3ERR_STALE);
                }
                self.step(client, told, TargetId::Image(root.id()), procedure);
                self.image_call(&root, index, procedure, call, out)
            }
            Ok(Handle::Persist { id, writable, object }) => {
                self.step(client, told, TargetId::Persist(id), procedure);
                let service = self.clone();
                let record = record.clone();
                Outcome::Later(Box::new(move || {
                    service.persist_reply(client, id, writable, &object, procedure, &record)
                }))
            }
            Err(BadHandle::Shape) => fail(out, nfsstat3::NFS3ERR_BADHANDLE),
            Err(BadHandle::Tag) => fail(out, nfsstat3::NFS3ERR_STALE),
        }
    }

    fn image_call(
        &self,
        root: &Arc<ImageRoot>,
        node: u32,
        procedure: Procedure,
        mut call: Call<'_>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let xid = call.xid;
        let target = image::Target { root, node, key: &self.key };
        let start = out.len();
        let reply = Reply::success(out, xid);
        let done = match procedure {
            Procedure::Nfs(procedure) => image::call(&target, procedure, &mut call, out),
            Procedure::GetAcl => call.args.u32().map_err(Failure::from).map(|mask| {
                out.put_u32(nfsstat3::NFS3_OK as u32);
                out.put_u32(1);
                out.put_slice(root.index().attributes(node));
                acl::put_no_lists(out, mask);
                image::Done::Now
            }),
            Procedure::SetAcl | Procedure::NullAcl => Err(nfsstat3::NFS3ERR_ROFS.into()),
        };
        match done {
            Ok(image::Done::Now) => {
                reply.finish(out);
                Outcome::Answered
            }
            Ok(image::Done::Read(pending)) => {
                out.truncate(start);
                Outcome::Later(Box::new(move || {
                    let read = catch_unwind(AssertUnwindSafe(|| pending.run()));
                    Some(read.unwrap_or_else(|_| {
                        let mut out = Vec::new();
                        procedure.reply_failure(&mut out, xid, panicked(procedure));
                        out
                    }))
                }))
            }
            Err(failure) => {
                out.truncate(start);
                procedure.reply_failure(out, xid, failure);
                Outcome::Answered
            }
        }
    }

    fn persist_reply(
        &self,
        client: IpAddr,
        id: PersistId,
        writable: bool,
        object: &PersistObject,
        procedure: Procedure,
        record: &[u8],
    ) -> Option<Vec<u8>> {
        // It was parsed before: this cannot fail.
        let mut call = Call::parse(record).ok()?;
        call.args.opaque(HANDLE_MAX).ok()?;
        let xid = call.xid;
        let mut pending = None;
        if let Procedure::Nfs(number) = procedure
            && nfs::changes(number)
        {
            let key = self.replay.key(client, xid, number as u32, record);
            match self.replay.see(key) {
                Seen::New(new) => pending = Some(new),
                Seen::Answered(answer) => return Some(answer.to_vec()),
                Seen::Busy => return None,
            }
        }
        let mut out = Vec::with_capacity(512);
        let done = catch_unwind(AssertUnwindSafe(|| {
            let reply = Reply::success(&mut out, xid);
            self.persist_call(id, writable, object, procedure, &mut call, &mut out)?;
            reply.finish(&mut out);
            Ok(())
        }));
        let failure = match done {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure),
            Err(_) => Some(panicked(procedure)),
        };
        if let Some(failure) = failure {
            out.clear();
            procedure.reply_failure(&mut out, xid, failure);
        }
        if let Some(pending) = pending {
            pending.answer(&out);
        }
        Some(out)
    }

    fn persist_call(
        &self,
        id: PersistId,
        writable: bool,
        object: &PersistObject,
        procedure: Procedure,
        call: &mut Call<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let path = self.exports.persist(&id).ok_or(nfsstat3::NFS3ERR_STALE)?;
        let target = persist::Target {
            id,
            writable,
            tree: self.persist.tree(&id, &path)?,
            key: &self.key,
            write_verifier: self.write_verifier,
            caller: call.credentials,
        };
        match procedure {
            Procedure::Nfs(procedure) => {
                persist::call(&target, procedure, object, &mut call.args, out)
            }
            Procedure::GetAcl => {
                let mask = call.args.u32()?;
                persist::put_attributes(&target, object, out)?;
                acl::put_no_lists(out, mask);
                Ok(())
            }
            Procedure::SetAcl | Procedure::NullAcl => Err(nfsstat3::NFS3ERR_NOTSUPP.into()),
        }
    }

    /// Tells about the first steps of a client in a target.
    fn step(&self, client: IpAddr, told: &mut ToldSteps, target: TargetId, procedure: Procedure) {
        let step = match procedure {
            Procedure::Nfs(
                NFS_PROGRAM::NFSPROC3_LOOKUP
                | NFS_PROGRAM::NFSPROC3_READDIR
                | NFS_PROGRAM::NFSPROC3_READDIRPLUS,
            ) => Step::Lookup,
            Procedure::Nfs(NFS_PROGRAM::NFSPROC3_READ) => Step::Read,
            _ => return,
        };
        self.tell(client, told, target, step);
    }

    /// Tells about a step if it is the first of its kind.
    pub(crate) fn tell(&self, client: IpAddr, told: &mut ToldSteps, target: TargetId, step: Step) {
        if !told.is_new(target, step) || !self.first_steps.is_first(client, target, step) {
            return;
        }
        let event = match step {
            Step::Lookup => NfsEvent::FirstLookup { target },
            Step::Read => NfsEvent::FirstRead { target },
            // Told where it is granted.
            Step::Mount => return,
        };
        self.exports.observe(NfsObservation { at: SystemTime::now(), client, event });
    }
}

/// A procedure of NFS or NFSACL.
#[derive(Clone, Copy, Debug)]
enum Procedure {
    Nfs(NFS_PROGRAM),
    NullAcl,
    GetAcl,
    SetAcl,
}

impl Procedure {
    fn of(call: &Call<'_>) -> Option<Self> {
        match (call.program, call.procedure) {
            (acl::PROGRAM, acl::NULL) => Some(Self::NullAcl),
            (acl::PROGRAM, acl::GETACL) => Some(Self::GetAcl),
            (acl::PROGRAM, acl::SETACL) => Some(Self::SetAcl),
            (nfs3_types::nfs3::PROGRAM, number) if call.version == nfs3_types::nfs3::VERSION => {
                NFS_PROGRAM::try_from(number).ok().map(Self::Nfs)
            }
            _ => None,
        }
    }

    fn is_null(self) -> bool {
        matches!(self, Self::NullAcl | Self::Nfs(NFS_PROGRAM::NFSPROC3_NULL))
    }

    fn put_failure(self, out: &mut Vec<u8>, status: nfsstat3) {
        match self {
            Self::Nfs(procedure) => nfs::put_failure(out, procedure, status),
            Self::NullAcl | Self::GetAcl | Self::SetAcl => {
                out.put_u32(status as u32);
                out.put_u32(0);
            }
        }
    }

    /// The whole reply of a failed call.
    fn reply_failure(self, out: &mut Vec<u8>, xid: u32, failure: Failure) {
        match failure {
            Failure::Arguments => rpc::refuse(out, xid, accept_stat::GARBAGE_ARGS),
            Failure::Status(status) => {
                let reply = Reply::success(out, xid);
                self.put_failure(out, status);
                reply.finish(out);
            }
        }
    }
}

/// A defect of this program, met while it carried out a call: the call fails, the server goes on.
fn panicked(procedure: Procedure) -> Failure {
    tracing::error!("a call panicked ({procedure:?}): answered with a server fault");
    Failure::Status(nfsstat3::NFS3ERR_SERVERFAULT)
}

/// The reply of a program other than NFS: results, or an RPC error.
fn reply(out: &mut Vec<u8>, xid: u32, results: impl FnOnce(&mut Vec<u8>) -> Result<bool, Failure>) {
    let start = out.len();
    let done = catch_unwind(AssertUnwindSafe(|| {
        let reply = Reply::success(out, xid);
        let done = results(out);
        if matches!(done, Ok(true)) {
            reply.finish(out);
        }
        done
    }));
    let refused = match done {
        Ok(Ok(true)) => return,
        Ok(Ok(false)) => accept_stat::PROC_UNAVAIL,
        Ok(Err(_)) => accept_stat::GARBAGE_ARGS,
        Err(_) => accept_stat::SYSTEM_ERR,
    };
    out.truncate(start);
    rpc::refuse(out, xid, refused);
}

#[cfg(test)]
mod tests;
