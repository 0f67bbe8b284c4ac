//! Which nodes are booted.
//!
//! A node is booted while it holds its bootup notification connection. Only its latest connection
//! counts: the late end of an older one must not mark a node down that has rebooted meanwhile. After a
//! restart of the server, nodes that were booted are believed to be for a while, until they connect again.

use std::collections::HashMap;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::watch;
use walt_model::Mac;

/// A number that tells the connections of a node apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection(pub u64);

/// The booted nodes.
#[derive(Debug)]
pub struct Presence {
    inner: Mutex<Inner>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    nodes: HashMap<Mac, State>,
    last: u64,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// The latest connection; `None` while a node believed to be booted has not connected again.
    connection: Option<Connection>,
    /// When to stop believing, without a connection.
    believed_until: Option<Instant>,
    booted: bool,
}

impl Default for Presence {
    fn default() -> Self {
        Self { inner: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl Presence {
    /// Nobody is booted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Is this node booted?
    pub fn is_booted(&self, mac: Mac) -> bool {
        let inner = self.inner.lock();
        inner.nodes.get(&mac).is_some_and(|state| state.booted)
    }

    /// Changes each time a node becomes booted or down.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// A node confirmed its notification. Gives the number of its connection, and whether the node was
    /// down before.
    pub fn connected(&self, mac: Mac) -> (Connection, bool) {
        let mut inner = self.inner.lock();
        inner.last += 1;
        let connection = Connection(inner.last);
        let before = inner.nodes.insert(
            mac,
            State { connection: Some(connection), believed_until: None, booted: true },
        );
        let changed = !before.is_some_and(|state| state.booted);
        drop(inner);
        if changed {
            self.tell();
        }
        (connection, changed)
    }

    /// A connection ended. True when the node is down because of that.
    pub fn disconnected(&self, mac: Mac, connection: Connection) -> bool {
        let latest = |state: &State| state.connection == Some(connection);
        self.down_if(mac, latest)
    }

    /// A node is known to go down (it accepted a reboot, its machine was reset). True when it was up.
    pub fn went_down(&self, mac: Mac) -> bool {
        self.down_if(mac, |_| true)
    }

    /// After a restart: believes that this node is still booted until `until`.
    pub fn believe(&self, mac: Mac, until: Instant) {
        self.inner
            .lock()
            .nodes
            .insert(mac, State { connection: None, believed_until: Some(until), booted: true });
        self.tell();
    }

    /// The nodes believed in for too long; they are down from now on.
    pub fn expire(&self, now: Instant) -> Vec<Mac> {
        let mut inner = self.inner.lock();
        let mut gone = Vec::new();
        for (mac, state) in &mut inner.nodes {
            if state.booted && state.believed_until.is_some_and(|until| until <= now) {
                state.booted = false;
                state.believed_until = None;
                gone.push(*mac);
            }
        }
        drop(inner);
        if !gone.is_empty() {
            self.tell();
        }
        gone
    }

    /// Forgets a node.
    pub fn forget(&self, mac: Mac) {
        self.inner.lock().nodes.remove(&mac);
        self.tell();
    }

    fn down_if(&self, mac: Mac, applies: impl Fn(&State) -> bool) -> bool {
        let mut inner = self.inner.lock();
        let Some(state) = inner.nodes.get_mut(&mac) else {
            return false;
        };
        if !state.booted || !applies(state) {
            return false;
        }
        state.booted = false;
        state.connection = None;
        state.believed_until = None;
        drop(inner);
        self.tell();
        true
    }

    fn tell(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    #[test]
    fn only_the_latest_connection_counts() {
        let presence = Presence::new();
        let (old, changed) = presence.connected(MAC);
        assert!(changed);
        let (new, changed) = presence.connected(MAC);
        assert!(!changed);
        assert!(!presence.disconnected(MAC, old));
        assert!(presence.is_booted(MAC));
        assert!(presence.disconnected(MAC, new));
        assert!(!presence.is_booted(MAC));
        assert!(!presence.disconnected(MAC, new));
    }

    #[test]
    fn the_disconnection_after_a_reboot_is_silent() {
        let presence = Presence::new();
        let (connection, _) = presence.connected(MAC);
        assert!(presence.went_down(MAC));
        assert!(!presence.disconnected(MAC, connection));
        assert!(!presence.went_down(MAC));
    }

    #[test]
    fn a_restart_is_a_pause() {
        let presence = Presence::new();
        let now = Instant::now();
        presence.believe(MAC, now + Duration::from_secs(30));
        assert!(presence.is_booted(MAC));
        let (_, changed) = presence.connected(MAC);
        assert!(!changed);
        assert!(presence.expire(now + Duration::from_secs(60)).is_empty());

        presence.believe(MAC, now + Duration::from_secs(30));
        assert!(presence.expire(now).is_empty());
        assert_eq!(presence.expire(now + Duration::from_secs(60)), [MAC]);
        assert!(!presence.is_booted(MAC));
    }
}
