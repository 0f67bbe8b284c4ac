//! Answers of calls that must not be carried out twice, kept for clients that send them again.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Answers kept, over all clients. They have some hundred bytes each.
const KEPT: usize = 8192;
/// Age past which an answer is not given again: the client has a new call with an old number.
const AGE_MAX: Duration = Duration::from_secs(180);
/// Longest wait for the answer of a call that is being carried out.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Bytes of a call that count for its checksum (with its length): a WRITE may have a megabyte.
const CHECKED: usize = 512;

/// Tells calls apart: the number alone is not enough, clients start over with small ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CallKey {
    client: IpAddr,
    xid: u32,
    procedure: u32,
    checksum: u64,
    len: usize,
}

/// A call being carried out, or its answer.
#[derive(Default)]
struct Slot {
    answer: Mutex<Option<Arc<[u8]>>>,
    answered: Condvar,
}

/// What to do with a call.
pub(crate) enum Seen {
    /// Carry it out and tell the answer.
    New(Pending),
    /// It was carried out: this is the answer.
    Answered(Arc<[u8]>),
    /// It is being carried out by somebody who takes very long; the client will ask again.
    Busy,
}

/// The calls of the last minutes.
pub(crate) struct ReplayCache {
    hasher: RandomState,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    slots: HashMap<CallKey, (Arc<Slot>, Instant)>,
    order: VecDeque<(CallKey, Instant)>,
}

/// The duty to tell the answer of a call. Dropped without one, the call counts as not made.
pub(crate) struct Pending {
    slot: Arc<Slot>,
    told: bool,
}

impl Default for ReplayCache {
    fn default() -> Self {
        Self { hasher: RandomState::new(), calls: Mutex::default() }
    }
}

impl ReplayCache {
    pub(crate) fn key(&self, client: IpAddr, xid: u32, procedure: u32, record: &[u8]) -> CallKey {
        CallKey {
            client,
            xid,
            procedure,
            checksum: self.hasher.hash_one(&record[..record.len().min(CHECKED)]),
            len: record.len(),
        }
    }

    /// Looks a call up and notes it. Blocks while the same call is being carried out.
    pub(crate) fn see(&self, key: CallKey) -> Seen {
        let slot = {
            let mut calls = self.calls.lock();
            let now = Instant::now();
            match calls.slots.get(&key) {
                Some((slot, since)) if since.elapsed() < AGE_MAX => slot.clone(),
                _ => return Seen::New(calls.add(key, now)),
            }
        };
        let mut answer = slot.answer.lock();
        if answer.is_none() {
            slot.answered.wait_for(&mut answer, WAIT_MAX);
        }
        match &*answer {
            // The call failed without an answer: what it did is unknown, so it is not repeated here.
            Some(answer) if answer.is_empty() => Seen::Busy,
            Some(answer) => Seen::Answered(answer.clone()),
            None => Seen::Busy,
        }
    }
}

impl Calls {
    fn add(&mut self, key: CallKey, now: Instant) -> Pending {
        while self.order.len() >= KEPT {
            if let Some((oldest, since)) = self.order.pop_front()
                && self.slots.get(&oldest).is_some_and(|slot| slot.1 == since)
            {
                self.slots.remove(&oldest);
            }
        }
        let slot = Arc::new(Slot::default());
        self.slots.insert(key, (slot.clone(), now));
        self.order.push_back((key, now));
        Pending { slot, told: false }
    }
}

impl Pending {
    /// The whole answer, as it goes on the wire.
    pub(crate) fn answer(mut self, bytes: &[u8]) {
        self.tell(bytes);
    }

    fn tell(&mut self, bytes: &[u8]) {
        self.told = true;
        *self.slot.answer.lock() = Some(bytes.into());
        self.slot.answered.notify_all();
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.told {
            self.tell(&[]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn a_repeated_call_gets_the_first_answer() {
        let cache = ReplayCache::default();
        let key = cache.key(client(1), 5, 12, b"remove x");
        let Seen::New(pending) = cache.see(key) else {
            panic!("new");
        };
        pending.answer(b"done");
        for _ in 0..2 {
            assert!(matches!(cache.see(key), Seen::Answered(a) if &*a == b"done"));
        }
    }

    #[test]
    fn other_clients_numbers_procedures_and_arguments_are_other_calls() {
        let cache = ReplayCache::default();
        for key in [
            cache.key(client(1), 5, 12, b"remove x"),
            cache.key(client(2), 5, 12, b"remove x"),
            cache.key(client(1), 6, 12, b"remove x"),
            cache.key(client(1), 5, 13, b"remove x"),
            cache.key(client(1), 5, 12, b"remove y"),
        ] {
            assert!(matches!(cache.see(key), Seen::New(_)));
        }
    }

    #[test]
    fn a_repetition_waits_for_the_answer() {
        let cache = ReplayCache::default();
        let key = cache.key(client(1), 5, 12, b"x");
        let Seen::New(pending) = cache.see(key) else {
            panic!("new");
        };
        std::thread::scope(|scope| {
            let repeated = scope.spawn(|| cache.see(key));
            std::thread::sleep(Duration::from_millis(20));
            pending.answer(b"late");
            assert!(matches!(repeated.join(), Ok(Seen::Answered(a)) if &*a == b"late"));
        });
    }

    #[test]
    fn the_cache_is_bounded() {
        let cache = ReplayCache::default();
        for xid in 0..KEPT as u32 + 100 {
            if let Seen::New(pending) = cache.see(cache.key(client(1), xid, 1, b"")) {
                pending.answer(b"a");
            }
        }
        assert!(cache.calls.lock().slots.len() <= KEPT);
        assert!(matches!(cache.see(cache.key(client(1), 0, 1, b"")), Seen::New(_)));
    }
}
