//! Calls of NFSv4 as bytes, and their results.

use super::{Client, NFS};

/// A `stateid4`.
pub type StateId = [u8; 16];

/// Numbers of the operations (RFC 7530 section 16, RFC 8881 section 18).
pub mod op {
    pub const ACCESS: u32 = 3;
    pub const CLOSE: u32 = 4;
    pub const GETATTR: u32 = 9;
    pub const GETFH: u32 = 10;
    pub const LOCK: u32 = 12;
    pub const LOCKT: u32 = 13;
    pub const LOCKU: u32 = 14;
    pub const LOOKUP: u32 = 15;
    pub const LOOKUPP: u32 = 16;
    pub const NVERIFY: u32 = 17;
    pub const OPEN: u32 = 18;
    pub const OPEN_CONFIRM: u32 = 20;
    pub const OPEN_DOWNGRADE: u32 = 21;
    pub const PUTFH: u32 = 22;
    pub const PUTPUBFH: u32 = 23;
    pub const PUTROOTFH: u32 = 24;
    pub const READ: u32 = 25;
    pub const READDIR: u32 = 26;
    pub const READLINK: u32 = 27;
    pub const RENEW: u32 = 30;
    pub const RESTOREFH: u32 = 31;
    pub const SAVEFH: u32 = 32;
    pub const SECINFO: u32 = 33;
    pub const SETATTR: u32 = 34;
    pub const SETCLIENTID: u32 = 35;
    pub const SETCLIENTID_CONFIRM: u32 = 36;
    pub const VERIFY: u32 = 37;
    pub const RELEASE_LOCKOWNER: u32 = 39;
    pub const BIND_CONN_TO_SESSION: u32 = 41;
    pub const EXCHANGE_ID: u32 = 42;
    pub const CREATE_SESSION: u32 = 43;
    pub const DESTROY_SESSION: u32 = 44;
    pub const FREE_STATEID: u32 = 45;
    pub const SECINFO_NO_NAME: u32 = 52;
    pub const SEQUENCE: u32 = 53;
    pub const TEST_STATEID: u32 = 55;
    pub const DESTROY_CLIENTID: u32 = 57;
    pub const RECLAIM_COMPLETE: u32 = 58;
}

/// Operations of a call.
#[derive(Clone, Default)]
pub struct Ops {
    pub bytes: Vec<u8>,
    pub count: u32,
}

impl Ops {
    pub fn op(mut self, number: u32) -> Self {
        self.count += 1;
        self.u32(number)
    }

    pub fn u32(mut self, word: u32) -> Self {
        self.bytes.extend(word.to_be_bytes());
        self
    }

    pub fn u64(mut self, word: u64) -> Self {
        self.bytes.extend(word.to_be_bytes());
        self
    }

    pub fn fixed(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    pub fn opaque(self, bytes: &[u8]) -> Self {
        let mut ops = self.u32(bytes.len() as u32).fixed(bytes);
        ops.bytes.resize(ops.bytes.len().next_multiple_of(4), 0);
        ops
    }

    pub fn root() -> Self {
        Self::default().op(op::PUTROOTFH)
    }

    pub fn file(handle: &[u8]) -> Self {
        Self::default().op(op::PUTFH).opaque(handle)
    }

    pub fn lookup(self, name: &str) -> Self {
        self.op(op::LOOKUP).opaque(name.as_bytes())
    }

    pub fn walk(self, path: &str) -> Self {
        path.split('/').filter(|name| !name.is_empty()).fold(self, Self::lookup)
    }

    pub fn handle(self) -> Self {
        self.op(op::GETFH)
    }

    pub fn attributes(self, numbers: &[u32]) -> Self {
        self.op(op::GETATTR).bitmap(numbers)
    }

    pub fn bitmap(self, numbers: &[u32]) -> Self {
        let mut words = [0_u32; 3];
        for number in numbers {
            words[*number as usize / 32] |= 1 << (number % 32);
        }
        words.iter().fold(self.u32(3), |ops, word| ops.u32(*word))
    }

    pub fn read(self, offset: u64, count: u32) -> Self {
        self.op(op::READ).fixed(&[0; 16]).u64(offset).u32(count)
    }

    pub fn list(self, cookie: u64, max: u32, numbers: &[u32]) -> Self {
        self.op(op::READDIR).u64(cookie).u64(0).u32(max).u32(max).bitmap(numbers)
    }

    /// OPEN by name, for reading, by owner "me".
    pub fn open(self, client: u64, sequence: u32, name: &str) -> Self {
        self.open_with(client, sequence, 1, 0).u32(0).opaque(name.as_bytes())
    }

    /// OPEN up to the kind of claim.
    pub fn open_with(self, client: u64, sequence: u32, access: u32, create: u32) -> Self {
        self.op(op::OPEN).u32(sequence).u32(access).u32(0).u64(client).opaque(b"me").u32(create)
    }

    pub fn close(self, sequence: u32, stateid: &StateId) -> Self {
        self.op(op::CLOSE).u32(sequence).fixed(stateid)
    }

    /// SEQUENCE, which must come first: put before the operations that are there.
    pub fn in_slot(self, session: &[u8; 16], sequence: u32, keep: bool) -> Self {
        let mut all = Self::default().op(op::SEQUENCE).fixed(session);
        all = all.u32(sequence).u32(0).u32(0).u32(keep.into());
        all.bytes.extend(self.bytes);
        all.count += self.count;
        all
    }

    /// The arguments of COMPOUND.
    pub fn compound(&self, minor: u32) -> Vec<u8> {
        let head = Self::default().opaque(b"tag").u32(minor).u32(self.count);
        [head.bytes, self.bytes.clone()].concat()
    }
}

/// Results of a call, taken one after the other.
#[derive(Debug)]
pub struct Results {
    pub status: u32,
    pub count: u32,
    pub bytes: Vec<u8>,
    at: usize,
}

impl Results {
    pub fn of(bytes: Vec<u8>) -> Self {
        let mut results = Self { status: 0, count: 0, bytes, at: 0 };
        results.status = results.u32();
        assert_eq!(results.opaque(), b"tag");
        results.count = results.u32();
        results
    }

    pub fn fixed(&mut self, len: usize) -> Vec<u8> {
        self.at += len;
        self.bytes[self.at - len..self.at].to_vec()
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.fixed(4).try_into().unwrap())
    }

    pub fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.fixed(8).try_into().unwrap())
    }

    pub fn opaque(&mut self) -> Vec<u8> {
        let len = self.u32() as usize;
        let bytes = self.fixed(len);
        self.at = self.at.next_multiple_of(4);
        bytes
    }

    /// The head of the result of an operation: its status.
    pub fn status_of(&mut self, number: u32) -> u32 {
        assert_eq!(self.u32(), number);
        self.u32()
    }

    pub fn ok(&mut self, number: u32) -> &mut Self {
        assert_eq!(self.status_of(number), 0, "operation {number}");
        self
    }

    /// Skips the results of PUTROOTFH or PUTFH, and lookups.
    pub fn walked(&mut self, lookups: usize) -> &mut Self {
        let first = self.u32();
        assert!(matches!(first, op::PUTROOTFH | op::PUTFH));
        assert_eq!(self.u32(), 0);
        for _ in 0..lookups {
            self.ok(op::LOOKUP);
        }
        self
    }

    pub fn handle(&mut self) -> Vec<u8> {
        self.ok(op::GETFH).opaque()
    }

    /// Skips a bit map; the values follow as opaque data.
    pub fn values(&mut self) -> Values {
        let words = self.u32() as usize;
        let map = (0..words).map(|_| self.u32()).collect();
        Values { map, values: Self { status: 0, count: 0, bytes: self.opaque(), at: 0 } }
    }

    pub fn attributes(&mut self) -> Values {
        self.ok(op::GETATTR).values()
    }

    pub fn stateid(&mut self) -> StateId {
        self.fixed(16).try_into().unwrap()
    }

    pub fn opened(&mut self) -> StateId {
        let stateid = self.ok(op::OPEN).stateid();
        self.fixed(20);
        assert_eq!(self.u32() & !4, 0, "nothing to confirm");
        assert_eq!((self.u32(), self.u32()), (0, 0), "no attributes set, no delegation");
        stateid
    }

    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }
}

/// Values of attributes.
pub struct Values {
    pub map: Vec<u32>,
    pub values: Results,
}

impl Client {
    /// The results of a compound of a minor version.
    pub fn compound(&mut self, minor: u32, ops: &Ops) -> Results {
        self.xid += 1;
        let mut message = self.message(NFS, 4, 1, &nfs3_types::xdr_codec::Void);
        message.extend(ops.compound(minor));
        self.send(&message);
        Results::of(super::results(self.xid, &self.receive().unwrap()))
    }

    /// A client id of minor version 0, confirmed.
    pub fn client_id(&mut self, verifier: u8) -> u64 {
        let ops = Ops::default().op(op::SETCLIENTID).fixed(&[verifier; 8]).opaque(b"a test");
        let ops = ops.u32(0x4000_0000).opaque(b"tcp").opaque(b"127.0.0.1.0.0").u32(1);
        let mut results = self.compound(0, &ops);
        let id = results.ok(op::SETCLIENTID).u64();
        let confirm = results.fixed(8);
        let ops = Ops::default().op(op::SETCLIENTID_CONFIRM).u64(id).fixed(&confirm);
        assert_eq!(self.compound(0, &ops).status, 0);
        id
    }

    /// A client id of minor version 1, and the number of its next CREATE_SESSION.
    pub fn exchange_id(&mut self, verifier: u8) -> (u64, u32) {
        let ops = Ops::default().op(op::EXCHANGE_ID).fixed(&[verifier; 8]).opaque(b"a test");
        let mut results = self.compound(1, &ops.u32(0).u32(0).u32(0));
        results.ok(op::EXCHANGE_ID);
        (results.u64(), results.u32())
    }

    /// A session of a client.
    pub fn session(&mut self, (client, sequence): (u64, u32)) -> [u8; 16] {
        let ops = create_session(client, sequence);
        self.compound(1, &ops).ok(op::CREATE_SESSION).stateid()
    }
}

pub fn create_session(client: u64, sequence: u32) -> Ops {
    let mut ops = Ops::default().op(op::CREATE_SESSION).u64(client).u32(sequence).u32(2);
    for _ in ["calls", "callbacks"] {
        for word in [0, 1 << 21, 1 << 21, 4096, 16, 32, 0] {
            ops = ops.u32(word);
        }
    }
    ops.u32(0x4000_0000).u32(1).u32(0)
}
