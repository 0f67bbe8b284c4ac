//! Clients: who holds open files and sessions.
//!
//! All that this server remembers of a client is for the client's own book-keeping: image roots never change,
//! and no state decides whether a file may be read. So nothing is kept over a restart. Clients find out by a
//! stale id or session, introduce themselves again and go on: every reclaim is granted at once.
//!
//! A record belongs to the address it was made from. Kernels name themselves after their host name, which is
//! the same on many nodes while they boot: without the address they would end each other's sessions. And no
//! machine can end what belongs to another one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::LEASE;
use super::opens::OpenFiles;
use super::sessions::{Created, Sessions};
use super::status::Status;

/// Clients of one address. A kernel is one for each minor version it uses.
const CLIENTS_PER_ADDRESS: usize = 16;
/// Clients in all.
const CLIENTS_MAX: usize = 4096;
/// Silent clients are kept for longer than their lease: nothing conflicts with what they hold.
const KEPT: Duration = Duration::from_secs(3600);

/// Changed by clients at each of their starts (`verifier4`).
pub(super) type Verifier = [u8; 8];

/// How a client names itself.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct ClientName {
    pub(super) address: IpAddr,
    /// Whether it uses sessions (minor version 1 and above).
    pub(super) sessions: bool,
    pub(super) owner: Arc<[u8]>,
}

/// One client.
pub(super) struct Client {
    name: ClientName,
    verifier: Verifier,
    /// What SETCLIENTID_CONFIRM must tell.
    confirm: Verifier,
    confirmed: bool,
    seen: Instant,
    pub(super) files: OpenFiles,
    /// How many states of this client are in [`Table::opens`].
    pub(super) counted: usize,
    /// Number and result of its last CREATE_SESSION.
    pub(super) created: (u32, Option<Created>),
    /// Whether it said that it has reclaimed all it wants.
    pub(super) reclaimed: bool,
}

/// All clients, their open files and their sessions.
pub(crate) struct Clients {
    table: Mutex<Table>,
}

/// What is behind the lock.
pub(super) struct Table {
    /// Tells the ids of this run of the server from those of earlier ones.
    pub(super) instance: u32,
    clients: HashMap<u32, Client>,
    confirmed: HashMap<ClientName, u32>,
    unconfirmed: HashMap<ClientName, u32>,
    next: u32,
    /// Open states in all.
    pub(super) opens: usize,
    pub(super) sessions: Sessions,
}

/// What EXCHANGE_ID answers.
pub(super) struct Exchanged {
    pub(super) client_id: u64,
    /// Number of the CREATE_SESSION that comes next.
    pub(super) sequence: u32,
    pub(super) confirmed: bool,
}

impl Clients {
    /// Nobody yet. `start` differs between runs of the server.
    pub(crate) fn new(start: [u8; 8]) -> Self {
        let start = u64::from_be_bytes(start);
        let table = Table {
            // Never 0: special stateids start with zeros.
            instance: ((start >> 32) as u32 ^ start as u32).max(1),
            clients: HashMap::new(),
            confirmed: HashMap::new(),
            unconfirmed: HashMap::new(),
            next: 1,
            opens: 0,
            sessions: Sessions::default(),
        };
        Self { table: Mutex::new(table) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock()
    }
}

impl Table {
    fn client_id(&self, number: u32) -> u64 {
        u64::from(self.instance) << 32 | u64::from(number)
    }

    /// The number of a client which calls from its address; its lease is renewed.
    pub(super) fn find(&mut self, address: IpAddr, client_id: u64) -> Result<u32, Status> {
        let number = client_id as u32;
        if self.client_id(number) != client_id {
            return Err(Status::STALE_CLIENTID);
        }
        self.renew(address, number).ok_or(Status::STALE_CLIENTID)?;
        Ok(number)
    }

    /// The same, for a client known by its number.
    pub(super) fn renew(&mut self, address: IpAddr, number: u32) -> Option<&mut Client> {
        let client = self.clients.get_mut(&number)?;
        if client.name.address != address {
            return None;
        }
        client.seen = Instant::now();
        Some(client)
    }

    pub(super) fn client(&mut self, number: u32) -> Result<&mut Client, Status> {
        self.clients.get_mut(&number).ok_or(Status::EXPIRED)
    }

    /// SETCLIENTID (RFC 7530 section 16.33).
    pub(super) fn set_client_id(
        &mut self,
        name: ClientName,
        verifier: Verifier,
    ) -> Result<(u64, Verifier), Status> {
        let known = self.confirmed.get(&name).copied();
        let known = known.filter(|number| {
            self.clients.get(number).is_some_and(|client| client.verifier == verifier)
        });
        let number = match known {
            // The same run of the same client: only its callback changes, which is not used.
            Some(number) => number,
            None => self.add(name, verifier)?,
        };
        let id = self.client_id(number);
        self.next = self.next.wrapping_add(1);
        let confirm = self.client_id(self.next).to_be_bytes();
        self.client(number)?.confirm = confirm;
        Ok((id, confirm))
    }

    /// SETCLIENTID_CONFIRM (RFC 7530 section 16.34).
    pub(super) fn confirm_client_id(
        &mut self,
        address: IpAddr,
        client_id: u64,
        confirm: Verifier,
    ) -> Result<(), Status> {
        let number = self.find(address, client_id)?;
        if self.client(number)?.confirm != confirm {
            return Err(Status::STALE_CLIENTID);
        }
        self.confirm(number)
    }

    /// EXCHANGE_ID (RFC 8881 section 18.35).
    pub(super) fn exchange_id(
        &mut self,
        name: ClientName,
        verifier: Verifier,
        update: bool,
    ) -> Result<Exchanged, Status> {
        let confirmed = self.confirmed.get(&name).copied();
        let same = confirmed.filter(|number| {
            self.clients.get(number).is_some_and(|client| client.verifier == verifier)
        });
        let number = match (same, confirmed, update) {
            (Some(number), ..) => number,
            (None, Some(_), true) => return Err(Status::NOT_SAME),
            (None, None, true) => return Err(Status::NOENT),
            (None, _, false) => self.add(name, verifier)?,
        };
        let client_id = self.client_id(number);
        let client = self.client(number)?;
        client.seen = Instant::now();
        Ok(Exchanged {
            client_id,
            sequence: client.created.0.wrapping_add(1),
            confirmed: client.confirmed,
        })
    }

    /// The client has come back with its id: an earlier run of it is over.
    pub(super) fn confirm(&mut self, number: u32) -> Result<(), Status> {
        let client = self.client(number)?;
        if !client.confirmed {
            client.confirmed = true;
            let name = client.name.clone();
            self.unconfirmed.remove(&name);
            if let Some(former) = self.confirmed.insert(name, number) {
                self.drop_client(former);
            }
        }
        Ok(())
    }

    /// DESTROY_CLIENTID (RFC 8881 section 18.50).
    pub(super) fn destroy(&mut self, address: IpAddr, client_id: u64) -> Result<(), Status> {
        let number = self.find(address, client_id)?;
        if !self.client(number)?.files.is_empty() || self.sessions.has(number) {
            return Err(Status::CLIENTID_BUSY);
        }
        self.forget(number);
        Ok(())
    }

    fn add(&mut self, name: ClientName, verifier: Verifier) -> Result<u32, Status> {
        if let Some(number) = self.unconfirmed.get(&name).copied() {
            self.forget(number);
        }
        self.make_room(name.address)?;
        self.next = self.next.wrapping_add(1);
        let number = self.next;
        // After four thousand million clients of one run a number could be in use.
        self.forget(number);
        self.unconfirmed.insert(name.clone(), number);
        let client = Client {
            name,
            verifier,
            confirm: [0; 8],
            confirmed: false,
            seen: Instant::now(),
            files: OpenFiles::default(),
            counted: 0,
            created: (0, None),
            reclaimed: false,
        };
        self.clients.insert(number, client);
        Ok(number)
    }

    /// Lets old clients go until one more may come. An address loses its own oldest one first, and nobody
    /// loses one that has a lease to somebody else.
    fn make_room(&mut self, address: IpAddr) -> Result<(), Status> {
        let now = Instant::now();
        let silent = |client: &Client, time| now.duration_since(client.seen) > time;
        let gone = self.clients.iter().filter(|(_, client)| silent(client, KEPT));
        for number in gone.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.forget(number);
        }
        let mine = self.clients.iter().filter(|(_, client)| client.name.address == address);
        let mine: Vec<_> = mine.map(|(number, client)| (client.seen, *number)).collect();
        if mine.len() >= CLIENTS_PER_ADDRESS
            && let Some((_, oldest)) = mine.iter().min()
        {
            self.forget(*oldest);
        } else if self.clients.len() >= CLIENTS_MAX {
            let oldest = self.clients.iter().min_by_key(|(_, client)| client.seen);
            match oldest {
                Some((number, client)) if silent(client, LEASE) => self.forget(*number),
                _ => return Err(Status::DELAY),
            }
        }
        Ok(())
    }

    fn forget(&mut self, number: u32) {
        if let Some(name) = self.drop_client(number) {
            for names in [&mut self.confirmed, &mut self.unconfirmed] {
                if names.get(&name) == Some(&number) {
                    names.remove(&name);
                }
            }
        }
    }

    fn drop_client(&mut self, number: u32) -> Option<ClientName> {
        let client = self.clients.remove(&number)?;
        self.opens -= client.counted;
        self.sessions.drop_client(number);
        Some(client.name)
    }

    /// Numbers of clients, for tests.
    #[cfg(test)]
    pub(super) fn clients(&self) -> usize {
        self.clients.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn name(last: u8, owner: &[u8]) -> ClientName {
        ClientName { address: IpAddr::from([10, 0, 0, last]), sessions: false, owner: owner.into() }
    }

    fn confirmed(table: &mut Table, name: &ClientName, verifier: u8) -> u64 {
        let (id, confirm) = table.set_client_id(name.clone(), [verifier; 8]).unwrap();
        table.confirm_client_id(name.address, id, confirm).unwrap();
        id
    }

    #[test]
    fn a_client_that_restarts_replaces_itself_and_nobody_else() {
        let clients = Clients::new([1; 8]);
        let mut table = clients.lock();
        let (mine, other) = (name(1, b"(none)"), name(2, b"(none)"));
        let first = confirmed(&mut table, &mine, 1);
        let theirs = confirmed(&mut table, &other, 9);
        assert_eq!(confirmed(&mut table, &mine, 1), first, "the same run");
        let second = confirmed(&mut table, &mine, 2);
        assert_ne!(first, second);
        assert_eq!(table.find(mine.address, first), Err(Status::STALE_CLIENTID));
        table.find(mine.address, second).unwrap();
        table.find(other.address, theirs).unwrap();
        assert_eq!(table.find(other.address, second), Err(Status::STALE_CLIENTID));
        assert_eq!(table.clients(), 2);
    }

    #[test]
    fn an_unconfirmed_client_replaces_nobody() {
        let clients = Clients::new([1; 8]);
        let mut table = clients.lock();
        let mine = name(1, b"a");
        let first = confirmed(&mut table, &mine, 1);
        for verifier in 2..50 {
            table.set_client_id(mine.clone(), [verifier; 8]).unwrap();
        }
        table.find(mine.address, first).unwrap();
        assert_eq!(table.clients(), 2);
        let (id, _) = table.set_client_id(mine.clone(), [60; 8]).unwrap();
        let refused = table.confirm_client_id(mine.address, id, [0; 8]);
        assert_eq!(refused, Err(Status::STALE_CLIENTID));
    }

    #[test]
    fn ids_of_another_run_are_stale() {
        let clients = Clients::new([1, 0, 0, 0, 0, 0, 0, 7]);
        let id = confirmed(&mut clients.lock(), &name(1, b"a"), 1);
        let again = Clients::new([1, 0, 0, 0, 0, 0, 0, 8]);
        confirmed(&mut again.lock(), &name(1, b"a"), 1);
        assert_eq!(again.lock().find(name(1, b"").address, id), Err(Status::STALE_CLIENTID));
    }

    #[test]
    fn clients_are_bounded() {
        let clients = Clients::new([1; 8]);
        let mut table = clients.lock();
        let other = name(2, b"quiet");
        let quiet = confirmed(&mut table, &other, 1);
        for n in 0..1000_u32 {
            confirmed(&mut table, &name(1, &n.to_be_bytes()), 1);
        }
        assert_eq!(table.clients(), CLIENTS_PER_ADDRESS + 1);
        table.find(other.address, quiet).unwrap();
        for n in 0..CLIENTS_MAX as u32 + 50 {
            let [_, b, c, d] = n.to_be_bytes();
            let name = ClientName {
                address: IpAddr::from([11, b, c, d]),
                sessions: true,
                owner: Arc::from([]),
            };
            let full = table.clients() >= CLIENTS_MAX;
            assert_eq!(table.exchange_id(name, [0; 8], false).err(), full.then_some(Status::DELAY));
        }
        assert_eq!(table.clients(), CLIENTS_MAX);
        table.find(other.address, quiet).unwrap();
    }
}
