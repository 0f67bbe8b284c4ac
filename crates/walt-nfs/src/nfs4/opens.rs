//! Open files and locks of a client (RFC 7530 section 9).
//!
//! Nothing can be written, so no open and no lock ever conflicts with another one: every lock for reading is
//! granted. What is kept is what the protocol makes clients expect: stateids whose numbers go up, and, in
//! minor version 0, calls of an owner that are carried out once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::BufMut;

use super::clients::Table;
use super::object::FileKey;
use super::operation::Operation;
use super::status::Status;
use crate::xdr::{Malformed, Reader};

/// Open files and locks of one client. Past any of these limits a client is asked to try again later.
const STATES_PER_CLIENT: usize = 8192;
/// Open files and locks in all. When they are used up, a client may still have [`STATES_SHARE`].
const STATES_MAX: usize = 256 * 1024;
/// Open files and locks that every client may have.
const STATES_SHARE: usize = 64;
/// Open and lock owners of one client.
const OWNERS_PER_CLIENT: usize = 2048;

/// A `stateid4`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StateId {
    pub(super) sequence: u32,
    other: [u8; 12],
}

impl StateId {
    /// "The one of this compound", in minor version 1 and above (RFC 8881 section 8.2.3).
    pub(super) const CURRENT: Self = Self { sequence: 1, other: [0; 12] };
    /// What is left of a state that was closed (RFC 8881 section 18.2.4).
    pub(super) const INVALID: Self = Self { sequence: u32::MAX, other: [0; 12] };

    fn new(instance: u32, client: u32, state: u32, sequence: u32) -> Self {
        let mut other = [0; 12];
        for (place, word) in other.chunks_exact_mut(4).zip([instance, client, state]) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        Self { sequence, other }
    }

    pub(super) fn read(args: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { sequence: args.u32()?, other: args.fixed()? })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_u32(self.sequence);
        out.put_slice(&self.other);
    }

    fn words(&self) -> [u32; 3] {
        let mut words = Reader::new(&self.other);
        // Twelve bytes are three words.
        std::array::from_fn(|_| words.u32().unwrap_or_default())
    }
}

/// Name of an open owner or lock owner.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct OwnerName {
    pub(super) lock: bool,
    pub(super) name: Arc<[u8]>,
}

struct Owner {
    number: u32,
    states: u32,
    last: Option<Last>,
}

/// The last call of an owner, for one that is sent again.
#[derive(Clone, Copy)]
struct Last {
    sequence: u32,
    operation: Operation,
    /// State it was about.
    state: u32,
    done: Result<Done, Status>,
}

/// What a call of an owner gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) stateid: StateId,
    /// The file, for OPEN.
    pub(super) file: Option<FileKey>,
}

struct State {
    owner: OwnerName,
    file: FileKey,
    sequence: u32,
    /// The open state a lock belongs to.
    open: Option<u32>,
    /// Lock states that belong to this open state.
    locks: u32,
}

/// Open files and locks of one client.
#[derive(Default)]
pub(super) struct OpenFiles {
    owners: HashMap<OwnerName, Owner>,
    states: HashMap<u32, State>,
    by_file: HashMap<(u32, FileKey), u32>,
    next: u32,
}

/// Who makes a call: an address, and with sessions a client.
#[derive(Clone, Copy)]
pub(super) struct From {
    pub(super) address: IpAddr,
    pub(super) client: Option<u32>,
}

impl Table {
    /// OPEN of a file: one state for each owner and file. `sequence` is the owner's (minor version 0).
    pub(super) fn open(
        &mut self,
        client: u32,
        owner: &[u8],
        sequence: Option<u32>,
        found: Result<FileKey, Status>,
    ) -> Result<Done, Status> {
        let name = OwnerName { lock: false, name: owner.into() };
        let (instance, opens) = (self.instance, self.opens);
        let files = &mut self.client(client)?.files;
        if let Some(done) = files.again(&name, sequence, Operation::Open)? {
            return done;
        }
        let done = found.and_then(|file| {
            let (state, number) = files.enter(&name, file, None, opens)?;
            let stateid = StateId::new(instance, client, state, number);
            Ok((state, Done { stateid, file: Some(file) }))
        });
        files.note(&name, sequence, Operation::Open, done);
        let states = files.states();
        self.count(states, client);
        done.map(|(_, done)| done)
    }

    /// A call about a state, by its owner: CLOSE, OPEN_CONFIRM, OPEN_DOWNGRADE, LOCKU, and LOCK by a known
    /// owner. Gives the stateid with its next number.
    pub(super) fn change(
        &mut self,
        from: From,
        stateid: StateId,
        sequence: Option<u32>,
        operation: Operation,
        check: impl FnOnce() -> Result<(), Status>,
    ) -> Result<Done, Status> {
        self.step(from, stateid, sequence, operation, |files, state, _| {
            check()?;
            let number = files.next_sequence(state);
            if operation == Operation::Close {
                files.close(state);
            }
            Ok((state, number))
        })
    }

    /// LOCK by an owner that is new to the server: gives the stateid of its locks on the file.
    pub(super) fn lock_new(
        &mut self,
        from: From,
        open: StateId,
        sequence: Option<u32>,
        (owner, lock_sequence): (&[u8], Option<u32>),
        check: impl FnOnce() -> Result<(), Status>,
    ) -> Result<Done, Status> {
        self.step(from, open, sequence, Operation::Lock, |files, open, opens| {
            check()?;
            let state = files.states.get(&open).ok_or(Status::BAD_STATEID)?;
            if state.open.is_some() {
                return Err(Status::BAD_STATEID);
            }
            let name = OwnerName { lock: true, name: owner.into() };
            let (file, open) = (state.file, Some(open));
            let (state, number) = files.enter(&name, file, open, opens)?;
            // Nobody can ask for this call again under the lock owner's number: only the number counts.
            files.note(&name, lock_sequence, Operation::Open, Err(Status::BAD_SEQID));
            Ok((state, number))
        })
    }

    /// RELEASE_LOCKOWNER: the owner will not come back.
    pub(super) fn release_lock_owner(&mut self, client: u32, owner: &[u8]) -> Result<(), Status> {
        let name = OwnerName { lock: true, name: owner.into() };
        let files = &mut self.client(client)?.files;
        if files.owners.get(&name).is_some_and(|owner| owner.states > 0) {
            let locks = files.states.iter().filter(|(_, state)| state.owner == name);
            for lock in locks.map(|(number, _)| *number).collect::<Vec<_>>() {
                files.remove(lock);
            }
        }
        files.owners.remove(&name);
        let states = files.states();
        self.count(states, client);
        Ok(())
    }

    /// FREE_STATEID: locks can be let go, open files must be closed.
    pub(super) fn free(&mut self, from: From, stateid: StateId) -> Result<(), Status> {
        let (client, state) = self.state_of(from, stateid)?;
        let files = &mut self.client(client)?.files;
        match files.states.get(&state) {
            Some(State { open: Some(_), .. }) => files.remove(state),
            Some(_) => return Err(Status::LOCKS_HELD),
            None => return Err(Status::BAD_STATEID),
        }
        let states = files.states();
        self.count(states, client);
        Ok(())
    }

    /// TEST_STATEID, and the check of a stateid.
    pub(super) fn test(&mut self, from: From, stateid: StateId) -> Result<(), Status> {
        let (client, state) = self.state_of(from, stateid)?;
        let files = &self.client(client)?.files;
        files.check(state, stateid.sequence, from.client.is_some())
    }

    /// A READ tells that the client is alive, whatever its stateid is worth.
    pub(super) fn renew_by(&mut self, address: IpAddr, stateid: StateId) {
        let [instance, client, _] = stateid.words();
        if instance == self.instance {
            self.renew(address, client);
        }
    }

    fn step(
        &mut self,
        from: From,
        stateid: StateId,
        sequence: Option<u32>,
        operation: Operation,
        act: impl FnOnce(&mut OpenFiles, u32, usize) -> Result<(u32, u32), Status>,
    ) -> Result<Done, Status> {
        let (client, state) = self.state_of(from, stateid)?;
        let (instance, opens) = (self.instance, self.opens);
        let files = &mut self.client(client)?.files;
        let name = files.owner_of(state).ok_or(Status::BAD_STATEID)?;
        if let Some(done) = files.again(&name, sequence, operation)? {
            return done;
        }
        let done = files
            .check(state, stateid.sequence, from.client.is_some())
            .and_then(|()| act(files, state, opens))
            .map(|(new, number)| {
                (state, Done { stateid: StateId::new(instance, client, new, number), file: None })
            });
        files.note(&name, sequence, operation, done);
        let states = files.states();
        self.count(states, client);
        done.map(|(_, done)| done)
    }

    /// The client and the number of a state.
    fn state_of(&mut self, from: From, stateid: StateId) -> Result<(u32, u32), Status> {
        let [instance, client, state] = stateid.words();
        match from.client {
            Some(caller) if instance == self.instance && client == caller => Ok((client, state)),
            Some(_) => Err(Status::BAD_STATEID),
            None if instance == 0 || instance == u32::MAX => Err(Status::BAD_STATEID),
            None if instance != self.instance => Err(Status::STALE_STATEID),
            None => {
                self.renew(from.address, client).ok_or(Status::EXPIRED)?;
                Ok((client, state))
            }
        }
    }

    /// Counts the states of a client anew.
    fn count(&mut self, states: usize, client: u32) {
        if let Ok(client) = self.client(client) {
            let counted = std::mem::replace(&mut client.counted, states);
            self.opens = self.opens + states - counted;
        }
    }
}

impl OpenFiles {
    pub(super) fn states(&self) -> usize {
        self.states.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    fn owner_of(&self, state: u32) -> Option<OwnerName> {
        if let Some(state) = self.states.get(&state) {
            return Some(state.owner.clone());
        }
        // A CLOSE that is sent again.
        let closed = |owner: &Owner| {
            owner.last.is_some_and(|last| {
                last.operation == Operation::Close && last.state == state && last.done.is_ok()
            })
        };
        self.owners.iter().find(|(_, owner)| closed(owner)).map(|(name, _)| name.clone())
    }

    /// What the owner was answered if it sends its last call again; an error if calls are missing.
    fn again(
        &self,
        name: &OwnerName,
        sequence: Option<u32>,
        operation: Operation,
    ) -> Result<Option<Result<Done, Status>>, Status> {
        let (Some(sequence), Some(owner)) = (sequence, self.owners.get(name)) else {
            return Ok(None);
        };
        match owner.last {
            None => Ok(None),
            Some(last) if sequence == last.sequence.wrapping_add(1) => Ok(None),
            Some(last) if sequence == last.sequence && operation == last.operation => {
                Ok(Some(last.done))
            }
            Some(_) => Err(Status::BAD_SEQID),
        }
    }

    /// Remembers a call and its answer. Some errors do not count as calls (RFC 7530 section 9.1.7).
    fn note(
        &mut self,
        name: &OwnerName,
        sequence: Option<u32>,
        operation: Operation,
        done: Result<(u32, Done), Status>,
    ) {
        let Some(sequence) = sequence else { return };
        if let Err(
            Status::STALE_CLIENTID
            | Status::STALE_STATEID
            | Status::BAD_STATEID
            | Status::BADXDR
            | Status::RESOURCE
            | Status::NOFILEHANDLE,
        ) = done
        {
            return;
        }
        if let Ok(owner) = self.owner(name) {
            let state = done.map_or(0, |(state, _)| state);
            let done = done.map(|(_, done)| done);
            owner.last = Some(Last { sequence, operation, state, done });
        }
    }

    fn owner(&mut self, name: &OwnerName) -> Result<&mut Owner, Status> {
        if !self.owners.contains_key(name) {
            if self.owners.len() >= OWNERS_PER_CLIENT {
                self.owners.retain(|_, owner| owner.states > 0);
            }
            if self.owners.len() >= OWNERS_PER_CLIENT {
                return Err(Status::DELAY);
            }
            self.next = self.next.wrapping_add(1);
            let owner = Owner { number: self.next, states: 0, last: None };
            self.owners.insert(name.clone(), owner);
        }
        self.owners.get_mut(name).ok_or(Status::DELAY)
    }

    /// The state of an owner and a file, made if there is none: its number, and the next one of its stateid.
    fn enter(
        &mut self,
        name: &OwnerName,
        file: FileKey,
        open: Option<u32>,
        in_all: usize,
    ) -> Result<(u32, u32), Status> {
        let owner = self.owner(name)?.number;
        if let Some(state) = self.by_file.get(&(owner, file)).copied() {
            return Ok((state, self.next_sequence(state)));
        }
        let count = self.states.len();
        if count >= STATES_PER_CLIENT || (in_all >= STATES_MAX && count >= STATES_SHARE) {
            return Err(Status::DELAY);
        }
        self.next = self.next.wrapping_add(1);
        let number = self.next;
        self.owner(name)?.states += 1;
        self.by_file.insert((owner, file), number);
        if let Some(open) = open.and_then(|open| self.states.get_mut(&open)) {
            open.locks += 1;
        }
        let state = State { owner: name.clone(), file, sequence: 1, open, locks: 0 };
        self.states.insert(number, state);
        Ok((number, 1))
    }

    fn check(&self, state: u32, sequence: u32, sessions: bool) -> Result<(), Status> {
        let state = self.states.get(&state).ok_or(Status::BAD_STATEID)?;
        match sequence.cmp(&state.sequence) {
            std::cmp::Ordering::Equal => Ok(()),
            // With sessions, 0 stands for the latest (RFC 8881 section 8.2.2).
            std::cmp::Ordering::Less if sessions && sequence == 0 => Ok(()),
            std::cmp::Ordering::Less => Err(Status::OLD_STATEID),
            std::cmp::Ordering::Greater => Err(Status::BAD_STATEID),
        }
    }

    fn next_sequence(&mut self, state: u32) -> u32 {
        let Some(state) = self.states.get_mut(&state) else { return 1 };
        // 0 is special.
        state.sequence = state.sequence.checked_add(1).unwrap_or(1);
        state.sequence
    }

    /// Ends an open file and its locks.
    fn close(&mut self, state: u32) {
        if self.states.get(&state).is_some_and(|state| state.locks > 0) {
            let locks = self.states.iter().filter(|(_, lock)| lock.open == Some(state));
            for lock in locks.map(|(number, _)| *number).collect::<Vec<_>>() {
                self.remove(lock);
            }
        }
        self.remove(state);
    }

    fn remove(&mut self, number: u32) {
        let Some(state) = self.states.remove(&number) else { return };
        if let Some(open) = state.open.and_then(|open| self.states.get_mut(&open)) {
            open.locks -= 1;
        }
        if let Some(owner) = self.owners.get_mut(&state.owner) {
            owner.states -= 1;
            let key = (owner.number, state.file);
            // Without numbers of calls to remember, nobody misses the owner.
            if owner.states == 0 && owner.last.is_none() {
                self.owners.remove(&state.owner);
            }
            self.by_file.remove(&key);
        }
    }
}
