//! What each client has already done since it mounted a target, for the boot time line.

use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::Mutex;

use crate::TargetId;

/// Pairs of client and target remembered. Past it all are forgotten: a few steps are told again.
const REMEMBERED: usize = 16 * 1024;

/// A kind of first step.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Lookup = 1,
    Read = 2,
    Mount = 4,
}

/// Steps seen, by client and target.
#[derive(Default)]
pub(crate) struct FirstSteps {
    seen: Mutex<HashMap<(IpAddr, TargetId), u8>>,
}

impl FirstSteps {
    /// The client mounts the target: it starts over.
    pub(crate) fn forget(&self, client: IpAddr, target: TargetId) {
        self.seen.lock().remove(&(client, target));
    }

    /// Notes a step; `true` when it is the first of its kind.
    pub(crate) fn is_first(&self, client: IpAddr, target: TargetId, step: Step) -> bool {
        let mut seen = self.seen.lock();
        if seen.len() >= REMEMBERED && !seen.contains_key(&(client, target)) {
            seen.clear();
        }
        let steps = seen.entry((client, target)).or_default();
        let first = *steps & step as u8 == 0;
        *steps |= step as u8;
        first
    }
}

/// What one connection has already told, so that calls do not all meet at one lock.
#[derive(Default)]
pub(crate) struct ToldSteps {
    told: Vec<(TargetId, u8)>,
}

impl ToldSteps {
    /// Targets remembered by one connection: a node uses an image and a persistent directory.
    const REMEMBERED: usize = 8;

    /// Notes a step; `true` when this connection had not done it.
    pub(crate) fn is_new(&mut self, target: TargetId, step: Step) -> bool {
        if let Some((_, steps)) = self.told.iter_mut().find(|(known, _)| *known == target) {
            let new = *steps & step as u8 == 0;
            *steps |= step as u8;
            return new;
        }
        if self.told.len() >= Self::REMEMBERED {
            self.told.clear();
        }
        self.told.push((target, step as u8));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RootId;

    #[test]
    fn a_step_is_first_once_per_mount() {
        let steps = FirstSteps::default();
        let client = IpAddr::from([10, 0, 0, 1]);
        let target = TargetId::Image(RootId::derive("a"));
        assert!(steps.is_first(client, target, Step::Lookup));
        assert!(!steps.is_first(client, target, Step::Lookup));
        assert!(steps.is_first(client, target, Step::Read));
        steps.forget(client, target);
        assert!(steps.is_first(client, target, Step::Lookup));
    }

    #[test]
    fn a_connection_tells_once() {
        let mut told = ToldSteps::default();
        let target = TargetId::Image(RootId::derive("a"));
        assert!(told.is_new(target, Step::Read));
        assert!(!told.is_new(target, Step::Read));
        assert!(told.is_new(target, Step::Lookup));
    }
}
