//! Kernel messages over UDP (port 12342): plain netconsole datagrams, put together into lines per sender.

use crate::lines::{LineSplitter, to_text};
use std::collections::HashMap;
use std::hash::Hash;

/// Largest datagram, in bytes.
pub const DATAGRAM_MAX: usize = 9000;

/// Longest line, in bytes; longer ones become several records.
pub const LINE_MAX: usize = 16 * 1024;

/// Puts datagrams of many senders together into lines.
#[derive(Debug)]
pub struct Netconsole<K> {
    partial: HashMap<K, LineSplitter>,
    senders_max: usize,
}

impl<K: Hash + Eq + Clone> Netconsole<K> {
    /// For at most so many senders with an unfinished line.
    pub fn new(senders_max: usize) -> Self {
        Self { partial: HashMap::new(), senders_max }
    }

    /// Takes a datagram; gives the lines it completes.
    pub fn feed(&mut self, sender: &K, datagram: &[u8]) -> Vec<String> {
        let mut splitter =
            self.partial.remove(sender).unwrap_or_else(|| LineSplitter::new(LINE_MAX));
        splitter.feed(datagram);
        let mut lines = Vec::new();
        while let Some(line) = splitter.next_line() {
            lines.push(to_text(&line));
        }
        if splitter.has_partial() {
            if self.partial.len() < self.senders_max {
                self.partial.insert(sender.clone(), splitter);
            } else {
                // No room to wait for the end: better a cut line than a lost one.
                lines.push(to_text(&splitter.take_rest()));
            }
        }
        lines
    }

    /// Drops the unfinished line of a sender that is gone.
    pub fn forget(&mut self, sender: &K) {
        self.partial.remove(sender);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_per_sender() {
        let mut netconsole = Netconsole::new(2);
        assert_eq!(
            netconsole.feed(&1, b"[    1.234567] eth0: link up\n"),
            ["[    1.234567] eth0: link up"]
        );
        assert!(netconsole.feed(&1, b"abc \xc3").is_empty());
        assert!(netconsole.feed(&2, b"x").is_empty());
        assert_eq!(netconsole.feed(&1, b"\xa9\nd\ne"), ["abc é", "d"]);
        assert_eq!(netconsole.feed(&3, b"y\nz"), ["y", "z"]);
        netconsole.forget(&2);
        assert_eq!(netconsole.feed(&2, b"\xff\n"), ["\u{fffd}"]);
    }
}
