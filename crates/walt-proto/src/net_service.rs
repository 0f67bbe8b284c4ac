//! What the server asks of the small service that nodes run on TCP port 12346.

use std::time::Duration;

/// Port of the service, on the node.
pub const PORT: u16 = 12346;

/// Longest time to connect, and then to get the answer.
pub const TIMEOUT: Duration = Duration::from_secs(15);

/// Longest answer line accepted, in bytes.
pub const REPLY_MAX: usize = 4096;

/// A request; one connection each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetServiceRequest {
    /// Reboot; the answer comes before the node acts.
    Reboot,
    /// Make a light blink, or stop.
    Blink(bool),
}

impl NetServiceRequest {
    /// The bytes to send, all at once.
    pub fn encode(self) -> &'static [u8] {
        match self {
            Self::Reboot => b"MODE single\nREBOOT\n",
            Self::Blink(true) => b"MODE single\nBLINK 1\n",
            Self::Blink(false) => b"MODE single\nBLINK 0\n",
        }
    }
}

/// Why a node did not do what was asked, in the words that users know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetServiceError {
    /// No connection in time, or no way to the node.
    #[error("Connection timed out")]
    ConnectTimedOut,
    /// Nothing listens there.
    #[error("Connection refused")]
    ConnectRefused,
    /// Connected, but no answer in time.
    #[error("Timed out waiting for reply")]
    ReplyTimedOut,
    /// The connection ended before the answer.
    #[error("Broken connection")]
    Broken,
    /// The answer makes no sense.
    #[error("Node did not respond properly")]
    Improper,
    /// The node refused, and said why.
    #[error("{0}")]
    Refused(String),
}

/// Reads the answer line, without its line break.
///
/// # Errors
/// [`NetServiceError::Refused`] or [`NetServiceError::Improper`].
pub fn parse_reply(line: &[u8]) -> Result<(), NetServiceError> {
    let line = crate::lines::to_text(line);
    let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let rest: String = rest.trim().chars().filter(|c| !c.is_control()).take(500).collect();
    match word {
        "OK" => Ok(()),
        "" => Err(NetServiceError::Improper),
        _ if rest.is_empty() => Err(NetServiceError::Improper),
        _ => Err(NetServiceError::Refused(rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transcript() {
        let reboot = [
            0x4d, 0x4f, 0x44, 0x45, 0x20, 0x73, 0x69, 0x6e, 0x67, 0x6c, 0x65, 0x0a, 0x52, 0x45,
            0x42, 0x4f, 0x4f, 0x54, 0x0a,
        ];
        assert_eq!(NetServiceRequest::Reboot.encode(), reboot);
        assert_eq!(parse_reply(b"OK"), Ok(()));
        assert_eq!(parse_reply(b"OK Closing on my side.\r"), Ok(()));
        let refused = parse_reply(b"KO /bin/blink unavailable or not executable on image");
        assert_eq!(
            refused,
            Err(NetServiceError::Refused(
                "/bin/blink unavailable or not executable on image".to_owned()
            ))
        );
        for bad in [&b""[..], b"KO", b"KO ", b"\xff"] {
            assert_eq!(parse_reply(bad), Err(NetServiceError::Improper));
        }
    }
}
