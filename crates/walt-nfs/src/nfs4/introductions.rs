//! How clients introduce themselves and make sessions.

use bytes::BufMut;

use super::clients::{ClientName, Verifier};
use super::compound::Compound;
use super::open::OWNER_MAX;
use super::sessions::{Limits, SessionId};
use super::status::Status;
use crate::xdr::{self, Malformed, Reader};

/// Flags of EXCHANGE_ID (RFC 8881 section 18.35).
mod exchange {
    pub(super) const UPDATE_CONFIRMED: u32 = 0x4000_0000;
    pub(super) const CONFIRMED: u32 = 0x8000_0000;
    /// This server has no parallel access.
    pub(super) const NON_PNFS: u32 = 0x0001_0000;
    /// Flags that a client may set.
    pub(super) const KNOWN: u32 = 0x4007_0107;
}

impl Compound {
    fn name(&self, owner: &[u8]) -> ClientName {
        ClientName { address: self.client, sessions: self.minor > 0, owner: owner.into() }
    }

    pub(super) fn set_client_id(
        &mut self,
        args: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Status> {
        /// Longest kind of network and longest address of a callback.
        const ADDRESS_MAX: usize = 256;
        let verifier: Verifier = args.fixed()?;
        let owner = args.opaque(OWNER_MAX)?;
        // How the client could be called: there is nothing to tell it.
        let _program = args.u32()?;
        args.opaque(ADDRESS_MAX)?;
        args.opaque(ADDRESS_MAX)?;
        let _number = args.u32()?;
        let name = self.name(owner);
        let (id, confirm) = self.state().set_client_id(name, verifier)?;
        out.put_u64(id);
        out.put_slice(&confirm);
        Ok(())
    }

    pub(super) fn set_client_id_confirm(&mut self, args: &mut Reader<'_>) -> Result<(), Status> {
        let (client, id, confirm) = (self.client, args.u64()?, args.fixed()?);
        self.state().confirm_client_id(client, id, confirm)
    }

    pub(super) fn exchange_id(
        &mut self,
        args: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Status> {
        let verifier: Verifier = args.fixed()?;
        let owner = args.opaque(OWNER_MAX)?;
        let flags = args.u32()?;
        match args.u32()? {
            0 => {}
            // Protection of the state by keys of Kerberos, of the machine or of the session.
            1 => return Err(Status::INVAL),
            2 => return Err(Status::ENCR_ALG_UNSUPP),
            _ => return Err(Status::BADXDR),
        }
        skip_implementation(args)?;
        if flags & !exchange::KNOWN != 0 {
            return Err(Status::INVAL);
        }
        let update = flags & exchange::UPDATE_CONFIRMED != 0;
        let name = self.name(owner);
        let exchanged = self.state().exchange_id(name, verifier, update)?;
        out.put_u64(exchanged.client_id);
        out.put_u32(exchanged.sequence);
        let confirmed = if exchanged.confirmed { exchange::CONFIRMED } else { 0 };
        out.put_u32(exchange::NON_PNFS | confirmed);
        // No protection of the state.
        out.put_u32(0);
        // The server, as others are told from it: minor and major id, scope. No words about this program.
        let server = self.service.key.server_name();
        out.put_u64(0);
        xdr::put_opaque(out, server.as_bytes());
        xdr::put_opaque(out, server.as_bytes());
        out.put_u32(0);
        Ok(())
    }

    pub(super) fn create_session(
        &mut self,
        args: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Status> {
        const KNOWN_FLAGS: u32 = 7;
        let (client, id, sequence) = (self.client, args.u64()?, args.u32()?);
        let flags = args.u32()?;
        let calls = read_channel(args)?;
        let callbacks = read_channel(args)?;
        skip_callback_security(args)?;
        if flags & !KNOWN_FLAGS != 0 {
            return Err(Status::INVAL);
        }
        let created = self.state().create_session(client, id, sequence, calls)?;
        out.put_slice(&created.id);
        out.put_u32(sequence);
        // Sessions do not survive a restart, and there are no callbacks on this connection.
        out.put_u32(0);
        put_channel(out, created.limits);
        put_channel(out, callbacks);
        Ok(())
    }

    pub(super) fn bind_connection(
        &mut self,
        args: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Status> {
        const CALLS: u32 = 1;
        const CALLBACKS: u32 = 2;
        const CALLS_OR_BOTH: u32 = 3;
        const CALLBACKS_OR_BOTH: u32 = 7;
        let id: SessionId = args.fixed()?;
        let direction = args.u32()?;
        let _rdma = args.bool()?;
        self.state().session(self.client, &id)?;
        // Calls of a session are taken from all connections of its client.
        let direction = match direction {
            CALLS | CALLS_OR_BOTH => CALLS,
            // None will ever come.
            CALLBACKS => CALLBACKS,
            CALLBACKS_OR_BOTH => CALLS | CALLBACKS,
            _ => return Err(Status::INVAL),
        };
        out.put_slice(&id);
        out.put_u32(direction);
        out.put_u32(0);
        Ok(())
    }

    pub(super) fn reclaim_complete(&mut self, args: &mut Reader<'_>) -> Result<(), Status> {
        let one_file_system = args.bool()?;
        let from = self.from();
        let mut table = self.state();
        let client = table.client(from.client.ok_or(Status::OP_NOT_IN_SESSION)?)?;
        if !one_file_system && std::mem::replace(&mut client.reclaimed, true) {
            return Err(Status::COMPLETE_ALREADY);
        }
        Ok(())
    }
}

/// What the client says of its program: domain, name, date.
fn skip_implementation(args: &mut Reader<'_>) -> Result<(), Malformed> {
    match args.u32()? {
        0 => {}
        1 => {
            args.opaque(OWNER_MAX)?;
            args.opaque(OWNER_MAX)?;
            args.fixed::<12>()?;
        }
        _ => return Err(Malformed),
    }
    Ok(())
}

/// `channel_attrs4`.
fn read_channel(args: &mut Reader<'_>) -> Result<Limits, Malformed> {
    let _padding = args.u32()?;
    let limits = Limits {
        request: args.u32()?,
        reply: args.u32()?,
        kept: args.u32()?,
        operations: args.u32()?,
        slots: args.u32()?,
    };
    match args.u32()? {
        0 => {}
        1 => {
            args.u32()?;
        }
        _ => return Err(Malformed),
    }
    Ok(limits)
}

fn put_channel(out: &mut Vec<u8>, limits: Limits) {
    let Limits { request, reply, kept, operations, slots } = limits;
    for word in [0, request, reply, kept, operations, slots, 0] {
        out.put_u32(word);
    }
}

/// How the server should say who it is in callbacks.
fn skip_callback_security(args: &mut Reader<'_>) -> Result<(), Malformed> {
    const KINDS_MAX: u32 = 8;
    const NONE: u32 = 0;
    const SYSTEM: u32 = 1;
    const KERBEROS: u32 = 6;
    let _program = args.u32()?;
    let count = args.u32()?;
    if count > KINDS_MAX {
        return Err(Malformed);
    }
    for _ in 0..count {
        match args.u32()? {
            NONE => {}
            SYSTEM => {
                let _stamp = args.u32()?;
                args.opaque(255)?;
                let (_uid, _gid) = (args.u32()?, args.u32()?);
                let groups = args.u32()?;
                if groups > 16 {
                    return Err(Malformed);
                }
                for _ in 0..groups {
                    args.u32()?;
                }
            }
            KERBEROS => {
                let _service = args.u32()?;
                args.opaque(OWNER_MAX)?;
                args.opaque(OWNER_MAX)?;
            }
            _ => return Err(Malformed),
        }
    }
    Ok(())
}
