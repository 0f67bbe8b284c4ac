//! The transmission phase: requests and simple replies.

use super::{NbdError, u32_at, u64_at};

/// Largest read or write accepted, in bytes: what clients send that know no limit of the server.
pub const REQUEST_MAX: u32 = 32 << 20;

/// Size of a request header, in bytes.
pub const REQUEST_LEN: usize = 28;

/// Size of a reply header, in bytes.
pub const SIMPLE_REPLY_LEN: usize = 16;

const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;

/// What a request asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NbdCommand {
    /// Read `length` bytes at `offset`.
    Read,
    /// Write the `length` bytes that follow at `offset`.
    Write,
    /// End.
    Disconnect,
    /// Put what was written on the disk.
    Flush,
    /// The `length` bytes at `offset` are not needed any more.
    Trim,
    /// Write `length` zeroes at `offset`.
    WriteZeroes,
    /// Anything else; it is answered by an error.
    Other(u16),
}

const CODES: [(u16, NbdCommand); 6] = [
    (0, NbdCommand::Read),
    (1, NbdCommand::Write),
    (2, NbdCommand::Disconnect),
    (3, NbdCommand::Flush),
    (4, NbdCommand::Trim),
    (6, NbdCommand::WriteZeroes),
];

impl NbdCommand {
    fn from_code(code: u16) -> Self {
        let known = CODES.iter().find(|(known, _)| *known == code);
        known.map_or(Self::Other(code), |(_, command)| *command)
    }

    fn code(self) -> u16 {
        match self {
            Self::Other(code) => code,
            known => {
                CODES.iter().find(|(_, command)| *command == known).map_or(0, |(code, _)| *code)
            }
        }
    }
}

/// A request of the transmission phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NbdRequest {
    /// What.
    pub command: NbdCommand,
    /// To be sent back with the reply.
    pub cookie: u64,
    /// Where, in bytes.
    pub offset: u64,
    /// How much, in bytes; at most [`REQUEST_MAX`] for reads and writes.
    pub length: u32,
}

impl NbdRequest {
    /// Reads a request header.
    ///
    /// # Errors
    /// Not the protocol, or data of more than [`REQUEST_MAX`] bytes.
    pub fn parse(header: &[u8; REQUEST_LEN]) -> Result<Self, NbdError> {
        let fields = || {
            Some((u32_at(header, 0)?, u64_at(header, 8)?, u64_at(header, 16)?, u32_at(header, 24)?))
        };
        let (magic, cookie, offset, length) = fields().ok_or(NbdError::Magic("short request"))?;
        if magic != REQUEST_MAGIC {
            return Err(NbdError::Magic("a request was expected"));
        }
        let command = NbdCommand::from_code(u16::from_be_bytes([header[6], header[7]]));
        if matches!(command, NbdCommand::Read | NbdCommand::Write) && length > REQUEST_MAX {
            return Err(NbdError::Limit("request"));
        }
        Ok(Self { command, cookie, offset, length })
    }

    /// The header as a client sends it.
    pub fn encode(&self) -> [u8; REQUEST_LEN] {
        let mut out = [0; REQUEST_LEN];
        out[..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
        out[6..8].copy_from_slice(&self.command.code().to_be_bytes());
        out[8..16].copy_from_slice(&self.cookie.to_be_bytes());
        out[16..24].copy_from_slice(&self.offset.to_be_bytes());
        out[24..].copy_from_slice(&self.length.to_be_bytes());
        out
    }

    /// Does the request stay inside an export of that size?
    pub fn fits(&self, size: u64) -> bool {
        self.offset.checked_add(u64::from(self.length)).is_some_and(|end| end <= size)
    }
}

/// Error numbers of replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum NbdReplyError {
    /// Done.
    None = 0,
    /// `EIO`: the backing file failed.
    Io = 5,
    /// `EINVAL`: unknown command, or outside of the export.
    Invalid = 22,
    /// `ENOSPC`: no room left on the server.
    NoSpace = 28,
}

/// The header of a reply; the data of a successful read follows it.
pub fn simple_reply(cookie: u64, error: NbdReplyError) -> [u8; SIMPLE_REPLY_LEN] {
    let mut out = [0; SIMPLE_REPLY_LEN];
    out[..4].copy_from_slice(&SIMPLE_REPLY_MAGIC.to_be_bytes());
    out[4..8].copy_from_slice(&(error as u32).to_be_bytes());
    out[8..].copy_from_slice(&cookie.to_be_bytes());
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::hex;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests() {
        let write = NbdRequest { command: NbdCommand::Write, cookie: 7, offset: 4096, length: 512 };
        assert_eq!(write.encode()[..8], hex("25 60 95 13 00 00 00 01"));
        assert_eq!(NbdRequest::parse(&write.encode()), Ok(write));
        assert!(write.fits(4608) && !write.fits(4607));
        assert!(!NbdRequest { offset: u64::MAX, ..write }.fits(u64::MAX));
        let huge = NbdRequest { length: REQUEST_MAX + 1, ..write };
        assert_eq!(NbdRequest::parse(&huge.encode()), Err(NbdError::Limit("request")));
        // Nothing follows these: any length will do.
        let trim = NbdRequest { command: NbdCommand::Trim, length: u32::MAX, ..write };
        assert_eq!(NbdRequest::parse(&trim.encode()), Ok(trim));
        assert!(NbdRequest::parse(&[0; REQUEST_LEN]).is_err());
        assert_eq!(
            simple_reply(7, NbdReplyError::None)[..],
            hex("67 44 66 98 00 00 00 00 00 00 00 00 00 00 00 07")
        );
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read(code: u16, cookie: u64, offset: u64, length in 0..=REQUEST_MAX) {
            let request = NbdRequest { command: NbdCommand::from_code(code), cookie, offset, length };
            prop_assert_eq!(request.command.code(), code);
            prop_assert_eq!(NbdRequest::parse(&request.encode()), Ok(request));
        }

        #[test]
        fn never_panics(header: [u8; REQUEST_LEN]) {
            let _ = NbdRequest::parse(&header);
        }
    }
}
