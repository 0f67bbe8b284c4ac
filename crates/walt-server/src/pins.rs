//! What a node boots stays the same from its first boot file to its root.
//!
//! An image can change between the kernel and the root of one boot: the node would then run a kernel with the modules
//! of another one. So what a node is given first is what it is given until that boot is over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use walt_model::{ImageFullName, Mac};

/// Without a request for that long, a boot is over whatever is known of it.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// One boot of a node: its number, and when it ended if it did (a system that starts another kernel by itself asks for
/// boot files after the end of its own boot).
pub type BootKey = (u64, Option<u64>);

#[derive(Debug)]
struct Pin<T> {
    boot: BootKey,
    name: ImageFullName,
    what: Arc<T>,
    used: Instant,
}

/// What each node that boots was given.
#[derive(Debug)]
pub struct Pins<T>(HashMap<Mac, Pin<T>>);

impl<T> Default for Pins<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Pins<T> {
    /// What this boot of a node was given before, else `current`, which it gets from now on.
    pub fn take(
        &mut self,
        node: Mac,
        boot: BootKey,
        name: &ImageFullName,
        current: Option<Arc<T>>,
        now: Instant,
    ) -> Option<Arc<T>> {
        if let Some(pin) = self.0.get_mut(&node)
            && pin.boot == boot
            && pin.name == *name
            && now.duration_since(pin.used) < PATIENCE
        {
            pin.used = now;
            return Some(pin.what.clone());
        }
        let what = current?;
        let pin = Pin { boot, name: name.clone(), what: what.clone(), used: now };
        self.0.insert(node, pin);
        Some(what)
    }

    /// Forgets a node.
    pub fn forget(&mut self, node: Mac) {
        self.0.remove(&node);
    }

    /// Forgets boots that are over for sure.
    pub fn expire(&mut self, now: Instant) {
        self.0.retain(|_, pin| now.duration_since(pin.used) < PATIENCE);
    }

    /// Everything some node is booting.
    pub fn values(&self) -> impl Iterator<Item = &Arc<T>> {
        self.0.values().map(|pin| &pin.what)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NODE: Mac = Mac([2, 0, 0, 0, 0, 1]);

    #[test]
    fn one_boot_gets_one_root() {
        let (old, new) = (Arc::new("old"), Arc::new("new"));
        let name: ImageFullName = "me/a:latest".parse().unwrap();
        let other: ImageFullName = "me/b:latest".parse().unwrap();
        let start = Instant::now();
        let mut pins = Pins::default();
        let mut take = |boot, name: &ImageFullName, current: &Arc<&'static str>, now| {
            *pins.take(NODE, boot, name, Some(current.clone()), now).unwrap()
        };
        assert_eq!(take((1, None), &name, &old, start), "old");
        assert_eq!(take((1, None), &name, &new, start), "old", "the image changed meanwhile");
        assert_eq!(take((1, Some(5)), &name, &new, start), "new", "it has booted");
        assert_eq!(take((2, None), &name, &old, start), "old", "another boot");
        assert_eq!(take((2, None), &other, &new, start), "new", "it was given another image");
        assert_eq!(take((2, None), &other, &old, start + PATIENCE), "old", "long ago");
        assert_eq!(pins.values().count(), 1);
        pins.expire(start + PATIENCE * 3);
        assert_eq!(pins.values().count(), 0);
        assert!(pins.take(NODE, (3, None), &name, None, start).is_none());
    }
}
