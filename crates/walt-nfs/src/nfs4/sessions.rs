//! Sessions: calls in numbered slots, each carried out once (RFC 8881 section 2.10.6).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use super::clients::Table;
use super::status::Status;
use crate::nfs::TRANSFER_MAX;

/// Sessions of one client. A kernel has one.
const SESSIONS_PER_CLIENT: usize = 4;
/// Calls of one session at a time.
const SLOTS_MAX: u32 = 64;
/// Longest reply kept for a call that is sent again. Clients ask for it with OPEN and CLOSE.
const REPLY_KEPT_MAX: u32 = 1024;
/// Bytes of replies kept in all. Past it a call that is sent again is told that its reply was not kept.
const REPLIES_KEPT_MAX: usize = 32 * 1024 * 1024;
/// Longest call and longest reply: a transfer with its headers.
pub(super) const MESSAGE_MAX: u32 = TRANSFER_MAX + 64 * 1024;
/// Shortest limits of a session that make sense for a client.
const MESSAGE_MIN: u32 = 512;

/// Name of a session.
pub(super) type SessionId = [u8; 16];

/// Limits of the calls of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) request: u32,
    pub(super) reply: u32,
    pub(super) kept: u32,
    pub(super) operations: u32,
    pub(super) slots: u32,
}

/// What CREATE_SESSION answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Created {
    pub(super) id: SessionId,
    pub(super) limits: Limits,
}

#[derive(Default)]
struct Slot {
    sequence: u32,
    busy: bool,
    reply: Option<Box<[u8]>>,
}

struct Session {
    client: u32,
    limits: Limits,
    slots: Vec<Slot>,
    used: Instant,
}

/// All sessions.
#[derive(Default)]
pub(super) struct Sessions {
    sessions: HashMap<u32, Session>,
    next: u32,
    /// Bytes of replies.
    kept: usize,
}

/// A call as SEQUENCE announces it.
#[derive(Clone, Copy)]
pub(super) struct Announced {
    pub(super) session: SessionId,
    pub(super) sequence: u32,
    pub(super) slot: u32,
    /// Operations and bytes of the whole call.
    pub(super) operations: u32,
    pub(super) bytes: usize,
}

/// What is to be done with a call.
#[derive(Debug)]
pub(super) enum Turn {
    /// It is carried out, then [`Table::finish`] is called.
    New { client: u32, session: u32, limits: Limits },
    /// It was: this is the answer.
    Again(Vec<u8>),
}

impl Table {
    /// CREATE_SESSION (RFC 8881 section 18.36). `wanted` is cut down to what is possible here.
    pub(super) fn create_session(
        &mut self,
        address: IpAddr,
        client_id: u64,
        sequence: u32,
        wanted: Limits,
    ) -> Result<Created, Status> {
        let number = self.find(address, client_id)?;
        let client = self.client(number)?;
        match client.created {
            (last, Some(created)) if last == sequence => return Ok(created),
            (last, _) if last.wrapping_add(1) == sequence => {}
            _ => return Err(Status::SEQ_MISORDERED),
        }
        if wanted.request < MESSAGE_MIN || wanted.reply < MESSAGE_MIN {
            return Err(Status::TOOSMALL);
        }
        if wanted.slots == 0 || wanted.operations == 0 {
            return Err(Status::INVAL);
        }
        let limits = Limits {
            request: wanted.request.min(MESSAGE_MAX),
            reply: wanted.reply.min(MESSAGE_MAX),
            kept: wanted.kept.min(REPLY_KEPT_MAX),
            operations: wanted.operations.min(super::OPERATIONS_MAX),
            slots: wanted.slots.min(SLOTS_MAX),
        };
        self.confirm(number)?;
        let session = self.sessions.add(number, limits);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&client_id.to_be_bytes());
        id[8..12].copy_from_slice(&session.to_be_bytes());
        let created = Created { id, limits };
        self.client(number)?.created = (sequence, Some(created));
        Ok(created)
    }

    /// The number of a session which the address may use, and its client.
    pub(super) fn session(
        &mut self,
        address: IpAddr,
        id: &SessionId,
    ) -> Result<(u32, u32), Status> {
        let [a, b, c, d] = id.as_chunks::<4>().0 else { return Err(Status::BADSESSION) };
        let [instance, client, session, rest] = [a, b, c, d].map(|word| u32::from_be_bytes(*word));
        let known =
            self.sessions.sessions.get(&session).is_some_and(|known| known.client == client);
        if instance != self.instance || rest != 0 || !known {
            return Err(Status::BADSESSION);
        }
        self.renew(address, client).ok_or(Status::BADSESSION)?;
        Ok((session, client))
    }

    /// DESTROY_SESSION.
    pub(super) fn destroy_session(
        &mut self,
        address: IpAddr,
        id: &SessionId,
    ) -> Result<(), Status> {
        let (session, _) = self.session(address, id)?;
        self.sessions.remove(session);
        Ok(())
    }

    /// SEQUENCE (RFC 8881 section 18.46).
    pub(super) fn take_turn(&mut self, address: IpAddr, call: Announced) -> Result<Turn, Status> {
        let (number, client) = self.session(address, &call.session)?;
        let session = self.sessions.sessions.get_mut(&number).ok_or(Status::BADSESSION)?;
        session.used = Instant::now();
        let limits = session.limits;
        let slot = session.slots.get_mut(call.slot as usize).ok_or(Status::BADSLOT)?;
        if call.sequence == slot.sequence && slot.busy {
            return Err(Status::DELAY);
        }
        if call.sequence == slot.sequence && slot.sequence != 0 {
            return match &slot.reply {
                Some(reply) => Ok(Turn::Again(reply.to_vec())),
                None => Err(Status::RETRY_UNCACHED_REP),
            };
        }
        if call.sequence != slot.sequence.wrapping_add(1) || slot.busy {
            return Err(Status::SEQ_MISORDERED);
        }
        if call.operations > limits.operations {
            return Err(Status::TOO_MANY_OPS);
        }
        if call.bytes > limits.request as usize {
            return Err(Status::REQ_TOO_BIG);
        }
        slot.sequence = call.sequence;
        slot.busy = true;
        let forgotten = slot.reply.take().map_or(0, |reply| reply.len());
        self.sessions.kept -= forgotten;
        Ok(Turn::New { client, session: number, limits })
    }

    /// A call has its answer, which is kept if there is room.
    pub(super) fn finish(&mut self, session: u32, slot: u32, reply: Option<&[u8]>) {
        let Sessions { sessions, kept, .. } = &mut self.sessions;
        let Some(session) = sessions.get_mut(&session) else { return };
        let limit = session.limits.kept as usize;
        let Some(slot) = session.slots.get_mut(slot as usize) else { return };
        slot.busy = false;
        if let Some(reply) = reply
            && reply.len() <= limit
            && *kept + reply.len() <= REPLIES_KEPT_MAX
        {
            *kept += reply.len();
            slot.reply = Some(reply.into());
        }
    }
}

impl Sessions {
    pub(super) fn has(&self, client: u32) -> bool {
        self.sessions.values().any(|session| session.client == client)
    }

    /// A client with too many sessions loses the one it has not used for the longest time.
    fn add(&mut self, client: u32, limits: Limits) -> u32 {
        let mine = self.sessions.iter().filter(|(_, session)| session.client == client);
        let mine: Vec<_> = mine.map(|(number, session)| (session.used, *number)).collect();
        if mine.len() >= SESSIONS_PER_CLIENT
            && let Some((_, oldest)) = mine.iter().min()
        {
            self.remove(*oldest);
        }
        self.next = self.next.wrapping_add(1);
        let slots = (0..limits.slots).map(|_| Slot::default()).collect();
        let session = Session { client, limits, slots, used: Instant::now() };
        self.remove(self.next);
        self.sessions.insert(self.next, session);
        self.next
    }

    fn remove(&mut self, number: u32) {
        if let Some(session) = self.sessions.remove(&number) {
            let replies = session.slots.iter().filter_map(|slot| slot.reply.as_ref());
            self.kept -= replies.map(|reply| reply.len()).sum::<usize>();
        }
    }

    pub(super) fn drop_client(&mut self, client: u32) {
        let mine = self.sessions.iter().filter(|(_, session)| session.client == client);
        for number in mine.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.remove(number);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::nfs4::clients::{ClientName, Clients};

    const WANTED: Limits =
        Limits { request: 1 << 30, reply: 4096, kept: 1 << 20, operations: 16, slots: 1000 };

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn client(table: &mut Table, last: u8) -> u64 {
        let name = ClientName {
            address: address(last),
            sessions: true,
            owner: b"Linux NFSv4.1 (none)".as_slice().into(),
        };
        table.exchange_id(name, [1; 8], false).unwrap().client_id
    }

    fn announced(session: SessionId, sequence: u32) -> Announced {
        Announced { session, sequence, slot: 0, operations: 2, bytes: 100 }
    }

    #[test]
    fn a_slot_carries_each_call_out_once() {
        let clients = Clients::new([1; 8]);
        let mut table = clients.lock();
        let id = client(&mut table, 1);
        let created = table.create_session(address(1), id, 1, WANTED).unwrap();
        assert_eq!(created.limits.slots, SLOTS_MAX);
        assert_eq!(created.limits.request, MESSAGE_MAX);
        let mut turn = |sequence| table.take_turn(address(1), announced(created.id, sequence));
        let Ok(Turn::New { session, .. }) = turn(1) else { panic!("new") };
        assert_eq!(turn(1).unwrap_err(), Status::DELAY);
        assert_eq!(turn(2).unwrap_err(), Status::SEQ_MISORDERED);
        table.finish(session, 0, Some(b"answer"));
        let mut turn = |sequence| table.take_turn(address(1), announced(created.id, sequence));
        assert!(matches!(turn(1), Ok(Turn::Again(reply)) if reply == b"answer"));
        assert_eq!(turn(3).unwrap_err(), Status::SEQ_MISORDERED);
        assert!(matches!(turn(2), Ok(Turn::New { .. })));
        table.finish(session, 0, Some(&[0; REPLY_KEPT_MAX as usize + 1]));
        let again = table.take_turn(address(1), announced(created.id, 2));
        assert_eq!(again.unwrap_err(), Status::RETRY_UNCACHED_REP);
        assert_eq!(table.sessions.kept, 0);
    }

    #[test]
    fn limits_are_kept() {
        let clients = Clients::new([1; 8]);
        let mut table = clients.lock();
        let id = client(&mut table, 1);
        let small = Limits { reply: 10, ..WANTED };
        assert_eq!(table.create_session(address(1), id, 1, small), Err(Status::TOOSMALL));
        let none = Limits { slots: 0, ..WANTED };
        assert_eq!(table.create_session(address(1), id, 1, none), Err(Status::INVAL));
        let session = table.create_session(address(1), id, 1, WANTED).unwrap().id;
        let call = announced(session, 1);
        for (call, expected) in [
            (Announced { slot: SLOTS_MAX, ..call }, Status::BADSLOT),
            (Announced { operations: 17, ..call }, Status::TOO_MANY_OPS),
            (Announced { bytes: MESSAGE_MAX as usize + 1, ..call }, Status::REQ_TOO_BIG),
            (Announced { session: [7; 16], ..call }, Status::BADSESSION),
        ] {
            assert_eq!(table.take_turn(address(1), call).unwrap_err(), expected);
        }
        let stranger = table.take_turn(address(2), call).unwrap_err();
        assert_eq!(stranger, Status::BADSESSION, "sessions belong to an address");
        assert!(matches!(table.take_turn(address(1), call), Ok(Turn::New { .. })));
    }

    #[test]
    fn a_repeated_create_session_makes_one() {
        let clients = Clients::new([1; 8]);
        let mut table = clients.lock();
        let id = client(&mut table, 1);
        let first = table.create_session(address(1), id, 1, WANTED).unwrap();
        assert_eq!(table.create_session(address(1), id, 1, WANTED), Ok(first));
        assert_eq!(table.create_session(address(1), id, 3, WANTED), Err(Status::SEQ_MISORDERED));
        for sequence in 2..20 {
            table.create_session(address(1), id, sequence, WANTED).unwrap();
        }
        assert_eq!(table.sessions.sessions.len(), SESSIONS_PER_CLIENT);
        assert_eq!(table.destroy(address(1), id), Err(Status::CLIENTID_BUSY));
    }
}
