//! ONC RPC version 2 (RFC 5531): the envelope of calls and replies.

use bytes::BufMut;
use nfs3_types::rpc::{accept_stat, auth_flavor, auth_stat, msg_type, reject_stat, reply_stat};

use crate::xdr::{self, Malformed, Reader};

/// Longest credentials or verifier (RFC 5531 section 8.2).
const AUTH_MAX: usize = 400;
/// Most supplementary groups in AUTH_SYS credentials (RFC 5531, appendix A).
const GROUPS_MAX: usize = 16;
/// The user and group of callers without credentials ("nobody").
const NOBODY: u32 = 65534;
/// Set in a record mark when the fragment is the last one of its record (RFC 5531 section 11).
pub(crate) const LAST_FRAGMENT: u32 = 0x8000_0000;

/// Who makes a call, as the client says (AUTH_SYS) or nobody (AUTH_NONE).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credentials {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    groups: [u32; GROUPS_MAX],
    group_count: usize,
}

impl Credentials {
    /// Supplementary groups.
    pub(crate) fn groups(&self) -> &[u32] {
        &self.groups[..self.group_count]
    }

    /// Whether a file of this group is a file of one of the caller's groups.
    pub(crate) fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups().contains(&gid)
    }

    fn nobody() -> Self {
        Self { uid: NOBODY, gid: NOBODY, groups: [0; GROUPS_MAX], group_count: 0 }
    }

    #[cfg(test)]
    pub(crate) fn of(uid: u32, gid: u32, supplementary: &[u32]) -> Self {
        let mut groups = [0; GROUPS_MAX];
        groups[..supplementary.len()].copy_from_slice(supplementary);
        Self { uid, gid, groups, group_count: supplementary.len() }
    }

    fn auth_sys(body: &[u8]) -> Result<Self, Malformed> {
        let mut body = Reader::new(body);
        let _stamp = body.u32()?;
        let _machine = body.opaque(255)?;
        let mut credentials = Self::nobody();
        credentials.uid = body.u32()?;
        credentials.gid = body.u32()?;
        let count = body.u32()? as usize;
        if count > GROUPS_MAX {
            return Err(Malformed);
        }
        for group in &mut credentials.groups[..count] {
            *group = body.u32()?;
        }
        credentials.group_count = count;
        Ok(credentials)
    }
}

/// One call, its arguments not read yet.
pub(crate) struct Call<'a> {
    pub(crate) xid: u32,
    pub(crate) program: u32,
    pub(crate) version: u32,
    pub(crate) procedure: u32,
    pub(crate) credentials: Credentials,
    pub(crate) args: Reader<'a>,
}

/// A message that is not a call we can carry out.
#[derive(Debug)]
pub(crate) enum BadCall {
    /// Not an RPC call at all: the connection is not worth keeping.
    Garbage,
    /// A call of another RPC version.
    RpcVersion { xid: u32 },
    /// Credentials that are damaged or of a kind we do not take.
    Auth { xid: u32, why: auth_stat },
}

impl<'a> Call<'a> {
    pub(crate) fn parse(record: &'a [u8]) -> Result<Self, BadCall> {
        let mut reader = Reader::new(record);
        let garbage = |_| BadCall::Garbage;
        let xid = reader.u32().map_err(garbage)?;
        if reader.u32().map_err(garbage)? != msg_type::CALL as u32 {
            return Err(BadCall::Garbage);
        }
        if reader.u32().map_err(garbage)? != nfs3_types::rpc::RPC_VERSION_2 {
            return Err(BadCall::RpcVersion { xid });
        }
        let program = reader.u32().map_err(garbage)?;
        let version = reader.u32().map_err(garbage)?;
        let procedure = reader.u32().map_err(garbage)?;
        let flavor = reader.u32().map_err(garbage)?;
        let body = reader.opaque(AUTH_MAX).map_err(garbage)?;
        let _verifier_flavor = reader.u32().map_err(garbage)?;
        let _verifier = reader.opaque(AUTH_MAX).map_err(garbage)?;
        let credentials = if flavor == auth_flavor::AUTH_UNIX as u32 {
            Credentials::auth_sys(body)
                .map_err(|_| BadCall::Auth { xid, why: auth_stat::AUTH_BADCRED })?
        } else if flavor == auth_flavor::AUTH_NULL as u32 {
            Credentials::nobody()
        } else {
            return Err(BadCall::Auth { xid, why: auth_stat::AUTH_REJECTEDCRED });
        };
        Ok(Self { xid, program, version, procedure, credentials, args: reader })
    }
}

/// A reply being written: record mark, header, then the results appended by the caller.
pub(crate) struct Reply {
    start: usize,
}

impl Reply {
    /// Length of the record mark and the header of an accepted call.
    pub(crate) const HEAD: usize = 28;

    /// The reply to an executed call that starts at this place.
    pub(crate) fn at(start: usize) -> Self {
        Self { start }
    }

    /// Starts the reply to an executed call at the end of `out`.
    pub(crate) fn success(out: &mut Vec<u8>, xid: u32) -> Self {
        Self::accepted(out, xid, accept_stat::SUCCESS)
    }

    fn accepted(out: &mut Vec<u8>, xid: u32, status: accept_stat) -> Self {
        let reply = Self::head(out, xid, reply_stat::MSG_ACCEPTED);
        out.put_u32(auth_flavor::AUTH_NULL as u32);
        out.put_u32(0);
        out.put_u32(status as u32);
        reply
    }

    fn head(out: &mut Vec<u8>, xid: u32, status: reply_stat) -> Self {
        let start = out.len();
        out.put_u32(0);
        out.put_u32(xid);
        out.put_u32(msg_type::REPLY as u32);
        out.put_u32(status as u32);
        Self { start }
    }

    /// Writes the record mark, now that the length is known.
    pub(crate) fn finish(self, out: &mut [u8]) {
        let len = (out.len() - self.start - 4) as u32;
        xdr::patch_u32(out, self.start, len | LAST_FRAGMENT);
    }
}

/// Replies that carry no results.
pub(crate) fn refuse(out: &mut Vec<u8>, xid: u32, status: accept_stat) {
    Reply::accepted(out, xid, status).finish(out);
}

/// "That version of the program is not here, these are."
pub(crate) fn refuse_version(out: &mut Vec<u8>, xid: u32, low: u32, high: u32) {
    let reply = Reply::accepted(out, xid, accept_stat::PROG_MISMATCH);
    out.put_u32(low);
    out.put_u32(high);
    reply.finish(out);
}

/// Answers a message that is no call of ours; `false` when no answer is possible.
pub(crate) fn refuse_bad(out: &mut Vec<u8>, bad: &BadCall) -> bool {
    match bad {
        BadCall::Garbage => false,
        BadCall::RpcVersion { xid } => {
            let reply = Reply::head(out, *xid, reply_stat::MSG_DENIED);
            out.put_u32(reject_stat::RPC_MISMATCH as u32);
            out.put_u32(nfs3_types::rpc::RPC_VERSION_2);
            out.put_u32(nfs3_types::rpc::RPC_VERSION_2);
            reply.finish(out);
            true
        }
        BadCall::Auth { xid, why } => {
            let reply = Reply::head(out, *xid, reply_stat::MSG_DENIED);
            out.put_u32(reject_stat::AUTH_ERROR as u32);
            out.put_u32(*why as u32);
            reply.finish(out);
            true
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use nfs3_types::rpc::{auth_unix, call_body, msg_body, opaque_auth, rpc_msg};
    use nfs3_types::xdr_codec::{Opaque, Pack};

    use super::*;

    fn call(rpcvers: u32, cred: opaque_auth<'static>) -> Vec<u8> {
        let mut out = Vec::new();
        rpc_msg {
            xid: 9,
            body: msg_body::CALL(call_body {
                rpcvers,
                prog: 100_003,
                vers: 3,
                proc: 1,
                cred,
                verf: opaque_auth::default(),
            }),
        }
        .pack(&mut out)
        .unwrap();
        out
    }

    fn sys(groups: &[u32]) -> opaque_auth<'static> {
        opaque_auth::auth_unix(&auth_unix {
            stamp: 1,
            machinename: Opaque::borrowed(b"node"),
            uid: 1000,
            gid: 100,
            gids: groups.to_vec(),
        })
    }

    #[test]
    fn a_call_with_credentials() {
        let mut bytes = call(2, sys(&[4, 5]));
        bytes.extend([1, 2, 3, 4]);
        let call = Call::parse(&bytes).unwrap();
        assert_eq!((call.xid, call.program, call.version, call.procedure), (9, 100_003, 3, 1));
        assert_eq!((call.credentials.uid, call.credentials.gid), (1000, 100));
        assert_eq!(call.credentials.groups(), [4, 5]);
        assert_eq!(call.args.rest(), [1, 2, 3, 4]);
    }

    #[test]
    fn no_credentials_is_nobody() {
        let bytes = call(2, opaque_auth::default());
        assert_eq!(Call::parse(&bytes).unwrap().credentials.uid, NOBODY);
    }

    #[test]
    fn every_truncation_is_garbage_and_never_a_panic() {
        let bytes = call(2, sys(&[4, 5]));
        for cut in 0..bytes.len() {
            assert!(matches!(
                Call::parse(&bytes[..cut]),
                Err(BadCall::Garbage | BadCall::Auth { .. })
            ));
        }
    }

    #[test]
    fn other_versions_and_credentials_are_refused() {
        assert!(matches!(
            Call::parse(&call(3, opaque_auth::default())),
            Err(BadCall::RpcVersion { xid: 9 })
        ));
        assert!(matches!(Call::parse(&call(2, sys(&[0; 17]))), Err(BadCall::Auth { xid: 9, .. })));
    }
}
