//! Bootup notification (request 14).
//!
//! The server answers `OK` at once. The node is booted when a first byte follows its request line (so that an
//! immediate disconnection does not count); it sends one every 20 s from then on, and is down when the
//! connection ends. The server writes nothing after `OK`, and never closes.

use std::time::Duration;

/// The only bytes the server ever sends.
pub const ANSWER: &[u8] = b"OK\n";

/// How often a node writes.
pub const NODE_PERIOD: Duration = Duration::from_secs(20);

/// Follows one notification connection.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct BootupConnection {
    confirmed: bool,
}

impl BootupConnection {
    /// The request line was read, nothing after it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes received bytes; true when they confirm that the node is booted, which happens once.
    pub fn feed(&mut self, chunk: &[u8]) -> bool {
        !chunk.is_empty() && !std::mem::replace(&mut self.confirmed, true)
    }

    /// Was it confirmed? Only then does its end mean that the node is down.
    pub fn is_confirmed(self) -> bool {
        self.confirmed
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::request::{HeaderReader, StreamRequest};

    /// The bytes of the protocol description.
    #[test]
    fn transcript() {
        let client = [
            0x52, 0x45, 0x51, 0x5f, 0x4e, 0x4f, 0x54, 0x49, 0x46, 0x59, 0x5f, 0x42, 0x4f, 0x4f,
            0x54, 0x55, 0x50, 0x5f, 0x53, 0x54, 0x41, 0x54, 0x55, 0x53, 0x0a, 0x0a,
        ];
        let mut header = HeaderReader::new();
        header.feed(&client);
        let request = StreamRequest::parse(&header.line().unwrap().unwrap());
        assert_eq!(request, Some(StreamRequest::NotifyBootupStatus));
        assert_eq!(ANSWER, [0x4f, 0x4b, 0x0a]);
        let mut connection = BootupConnection::new();
        assert!(!connection.feed(b""));
        assert!(!connection.is_confirmed());
        assert!(connection.feed(&header.into_rest()));
        assert!(!connection.feed(b"\n"));
        assert!(connection.is_confirmed());
    }
}
