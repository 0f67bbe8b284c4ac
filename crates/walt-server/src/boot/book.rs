//! The boots of all nodes.

use std::collections::{HashMap, HashSet, VecDeque};

use parking_lot::Mutex;
use walt_model::Mac;

use super::timeline::{Boot, End, Loader, UNASKED};

/// Boots kept per node.
pub const KEPT: usize = 10;

/// A boot and its number among those of its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The number, growing.
    pub id: u64,
    /// The boot.
    pub boot: Boot,
}

/// The latest boots of every node, in memory. What changed is taken by [`BootBook::take_changed`] and
/// written to the state.
#[derive(Debug, Default)]
pub struct BootBook {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    boots: HashMap<Mac, VecDeque<Entry>>,
    changed: HashSet<(Mac, u64)>,
}

impl Inner {
    fn begin(&mut self, mac: Mac, boot: Boot) {
        let boots = self.boots.entry(mac).or_default();
        let id = boots.back().map_or(1, |entry| entry.id + 1);
        if boots.len() >= KEPT {
            boots.pop_front();
        }
        boots.push_back(Entry { id, boot });
        self.changed.insert((mac, id));
    }

    fn current(&mut self, mac: Mac) -> Option<&mut Boot> {
        let entry = self.boots.get_mut(&mac)?.back_mut()?;
        self.changed.insert((mac, entry.id));
        Some(&mut entry.boot)
    }
}

impl BootBook {
    /// The boots of the state, oldest first for each node.
    pub fn new(entries: impl IntoIterator<Item = (Mac, Entry)>) -> Self {
        let mut inner = Inner::default();
        for (mac, entry) in entries {
            let boots = inner.boots.entry(mac).or_default();
            if boots.len() >= KEPT {
                boots.pop_front();
            }
            boots.push_back(entry);
        }
        Self { inner: Mutex::new(inner) }
    }

    /// A boot starts now, because of `cause`.
    pub fn begin(&self, mac: Mac, cause: &str, image: &str, at_ms: u64) {
        self.inner.lock().begin(mac, Boot::begin(cause, image, at_ms));
    }

    /// A loader of this node asks for an address: its current boot goes on, or another one begins.
    pub fn discover(&self, mac: Mac, image: &str, loader: Loader, at_ms: u64) {
        let mut inner = self.inner.lock();
        let over = match inner.boots.get(&mac).and_then(|boots| boots.back()) {
            Some(entry) => entry.boot.is_over_for(loader, at_ms),
            None => true,
        };
        if over {
            inner.begin(mac, Boot::begin(UNASKED, image, at_ms));
        }
        if let Some(boot) = inner.current(mac) {
            boot.discover(loader, at_ms);
        }
    }

    /// Something about the current boot of a node, if it has one.
    pub fn observe(&self, mac: Mac, change: impl FnOnce(&mut Boot)) {
        if let Some(boot) = self.inner.lock().current(mac) {
            change(boot);
        }
    }

    /// The latest boot of a node.
    pub fn current(&self, mac: Mac) -> Option<Entry> {
        let inner = self.inner.lock();
        inner.boots.get(&mac)?.back().cloned()
    }

    /// The boots of a node, newest first.
    pub fn of(&self, mac: Mac) -> Vec<Entry> {
        let inner = self.inner.lock();
        let boots = inner.boots.get(&mac);
        boots.map_or_else(Vec::new, |boots| boots.iter().rev().cloned().collect())
    }

    /// Nodes whose latest boot ended well and which were not seen going down.
    pub fn up(&self) -> Vec<Mac> {
        let inner = self.inner.lock();
        let up = |boots: &VecDeque<Entry>| {
            matches!(boots.back().map(|e| &e.boot.end), Some(Some(End::Up(_))))
        };
        let nodes = inner.boots.iter().filter(|(_, boots)| up(boots));
        nodes.map(|(mac, _)| *mac).collect()
    }

    /// What changed since the last call.
    pub fn take_changed(&self) -> Vec<(Mac, Entry)> {
        let mut inner = self.inner.lock();
        let changed = std::mem::take(&mut inner.changed);
        let found = changed.into_iter().filter_map(|(mac, id)| {
            let entry = inner.boots.get(&mac)?.iter().find(|entry| entry.id == id)?;
            Some((mac, entry.clone()))
        });
        found.collect()
    }

    /// Forgets a node.
    pub fn forget(&self, mac: Mac) {
        let mut inner = self.inner.lock();
        inner.boots.remove(&mac);
        inner.changed.retain(|(changed, _)| *changed != mac);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    #[test]
    fn a_command_begins_a_boot_that_the_loader_continues() {
        let book = BootBook::default();
        book.begin(MAC, "created", "me/img:latest", 1_000);
        book.discover(MAC, "me/img:latest", Loader::Ipxe, 2_000);
        assert_eq!(book.of(MAC).len(), 1);
        book.observe(MAC, |boot| boot.up(9_000));
        assert_eq!(book.up(), [MAC]);
        book.discover(MAC, "me/img:latest", Loader::Ipxe, 20_000);
        let boots = book.of(MAC);
        assert_eq!(boots.len(), 2);
        assert_eq!(boots[0].id, 2);
        assert_eq!(boots[0].boot.cause, "unknown");
        assert!(book.up().is_empty());
    }

    #[test]
    fn changes_are_given_once_and_only_the_latest_boots_are_kept() {
        let book = BootBook::default();
        for at in 0..30 {
            book.begin(MAC, "x", "i", at);
        }
        assert_eq!(book.of(MAC).len(), KEPT);
        assert_eq!(book.take_changed().len(), KEPT);
        assert!(book.take_changed().is_empty());
        let again = BootBook::new(book.of(MAC).into_iter().rev().map(|entry| (MAC, entry)));
        again.begin(MAC, "x", "i", 31);
        assert_eq!(again.current(MAC).unwrap().id, 31);
    }
}
