//! Swap space for nodes: the part of the NBD protocol that they need.
//!
//! "Fixed newstyle" negotiation and simple replies of the NBD protocol description
//! (<https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>), big endian.

/// Largest read or write, in bytes.
pub const REQUEST_MAX: u32 = 1 << 20;

/// Largest data of one option, in bytes.
pub const OPTION_MAX: u32 = 4096;

/// Size of a request header, in bytes.
pub const REQUEST_LEN: usize = 28;

const OPTION_MAGIC: [u8; 8] = *b"IHAVEOPT";
const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;

const FLAG_FIXED_NEWSTYLE: u32 = 1;
const FLAG_NO_ZEROES: u32 = 2;

const OPT_EXPORT_NAME: u32 = 1;
const OPT_ABORT: u32 = 2;
const OPT_GO: u32 = 7;

const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_ERR_UNSUP: u32 = 0x8000_0001;
const REP_ERR_INVALID: u32 = 0x8000_0003;
const REP_ERR_UNKNOWN: u32 = 0x8000_0006;

const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

const GIB: u64 = 1 << 30;

/// What the server sends first.
pub const GREETING: [u8; 18] = *b"NBDMAGICIHAVEOPT\x00\x03";

/// The size in bytes of the export of that name, `swap-<N>G`; `None` for any other name. At least 1 GiB,
/// at most `limit_gib`.
pub fn swap_size(name: &str, limit_gib: u64) -> Option<u64> {
    let gib = name.strip_prefix("swap-")?.strip_suffix('G')?;
    let digits = (1..=6).contains(&gib.len()) && gib.bytes().all(|b| b.is_ascii_digit());
    let gib: u64 = gib.parse().ok().filter(|_| digits)?;
    Some(gib.clamp(1, limit_gib.max(1)) * GIB)
}

/// What the client wants after negotiation bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NegotiationEvent {
    /// Send this and go on.
    Reply(Vec<u8>),
    /// Send this; the transmission phase starts, with an export of this many bytes.
    Start {
        /// Answer to the client.
        reply: Vec<u8>,
        /// Size of the export, in bytes.
        size: u64,
    },
    /// Send this and close.
    Abort(Vec<u8>),
}

/// Why a connection cannot go on: close it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NbdError {
    /// Not the protocol.
    #[error("not an NBD client: {0}")]
    Magic(&'static str),
    /// The client speaks an older negotiation.
    #[error("the client does not speak fixed newstyle negotiation")]
    OldStyle,
    /// Beyond the limits.
    #[error("NBD {0} over the limit")]
    Limit(&'static str),
}

/// The server's end of the negotiation, after the greeting was sent.
#[derive(Debug)]
pub struct Negotiation {
    buffer: Vec<u8>,
    flags: Option<u32>,
    limit_gib: u64,
}

impl Negotiation {
    /// Offers exports of at most so many GiB.
    pub fn new(limit_gib: u64) -> Self {
        Self { buffer: Vec::new(), flags: None, limit_gib }
    }

    /// Adds received bytes.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// What was received after the negotiation.
    pub fn into_rest(self) -> Vec<u8> {
        self.buffer
    }

    /// What to do next, if enough was received.
    ///
    /// # Errors
    /// See [`NbdError`].
    pub fn next_event(&mut self) -> Result<Option<NegotiationEvent>, NbdError> {
        let flags = match self.flags {
            Some(flags) => flags,
            None => {
                let Some(flags) = u32_at(&self.buffer, 0) else { return Ok(None) };
                if flags & FLAG_FIXED_NEWSTYLE == 0 {
                    return Err(NbdError::OldStyle);
                }
                self.buffer.drain(..4);
                *self.flags.insert(flags)
            }
        };
        let magic = self.buffer.len().min(OPTION_MAGIC.len());
        if self.buffer[..magic] != OPTION_MAGIC[..magic] {
            return Err(NbdError::Magic("an option was expected"));
        }
        let (Some(option), Some(length)) = (u32_at(&self.buffer, 8), u32_at(&self.buffer, 12))
        else {
            return Ok(None);
        };
        if length > OPTION_MAX {
            return Err(NbdError::Limit("option"));
        }
        let end = 16 + length as usize;
        if self.buffer.len() < end {
            return Ok(None);
        }
        let data = self.buffer.drain(..end).skip(16).collect::<Vec<u8>>();
        Ok(Some(self.answer(option, &data, flags)))
    }

    fn answer(&self, option: u32, data: &[u8], flags: u32) -> NegotiationEvent {
        let size_of = |name: &[u8]| swap_size(std::str::from_utf8(name).ok()?, self.limit_gib);
        match option {
            OPT_GO => {
                let length = u32_at(data, 0).map_or(0, |length| length as usize);
                // Name, then a count of information types and the types, which are ignored.
                let Some(name) = data.get(4..).and_then(|rest| rest.get(..length)) else {
                    return NegotiationEvent::Reply(reply(option, REP_ERR_INVALID, &[]));
                };
                match size_of(name) {
                    Some(size) => NegotiationEvent::Start { reply: go_reply(size), size },
                    None => NegotiationEvent::Reply(reply(option, REP_ERR_UNKNOWN, &[])),
                }
            }
            OPT_EXPORT_NAME => match size_of(data) {
                Some(size) => {
                    let mut reply = size.to_be_bytes().to_vec();
                    reply.extend(0u16.to_be_bytes());
                    if flags & FLAG_NO_ZEROES == 0 {
                        reply.extend([0; 124]);
                    }
                    NegotiationEvent::Start { reply, size }
                }
                // This option has no error answer.
                None => NegotiationEvent::Abort(Vec::new()),
            },
            OPT_ABORT => NegotiationEvent::Abort(reply(option, REP_ACK, &[])),
            _ => NegotiationEvent::Reply(reply(option, REP_ERR_UNSUP, &[])),
        }
    }
}

fn reply(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let mut out = REPLY_MAGIC.to_be_bytes().to_vec();
    out.extend(option.to_be_bytes());
    out.extend(kind.to_be_bytes());
    out.extend((data.len() as u32).to_be_bytes());
    out.extend(data);
    out
}

/// Block sizes, then the export, then the acknowledgement.
fn go_reply(size: u64) -> Vec<u8> {
    let mut blocks = INFO_BLOCK_SIZE.to_be_bytes().to_vec();
    for size in [1u32, 4096, REQUEST_MAX] {
        blocks.extend(size.to_be_bytes());
    }
    let mut export = INFO_EXPORT.to_be_bytes().to_vec();
    export.extend(size.to_be_bytes());
    export.extend(0u16.to_be_bytes());
    let mut out = reply(OPT_GO, REP_INFO, &blocks);
    out.extend(reply(OPT_GO, REP_INFO, &export));
    out.extend(reply(OPT_GO, REP_ACK, &[]));
    out
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(four))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let eight: [u8; 8] = bytes.get(at..at + 8)?.try_into().ok()?;
    Some(u64::from_be_bytes(eight))
}

/// What a request asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NbdCommand {
    /// Read `length` bytes at `offset`.
    Read,
    /// Write the `length` bytes that follow at `offset`.
    Write,
    /// End.
    Disconnect,
    /// Anything else; it is answered by an error.
    Other(u16),
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
    /// Not the protocol, or more than [`REQUEST_MAX`] bytes.
    pub fn parse(header: &[u8; REQUEST_LEN]) -> Result<Self, NbdError> {
        let fields = || {
            Some((u32_at(header, 0)?, u64_at(header, 8)?, u64_at(header, 16)?, u32_at(header, 24)?))
        };
        let (magic, cookie, offset, length) = fields().ok_or(NbdError::Magic("short request"))?;
        if magic != REQUEST_MAGIC {
            return Err(NbdError::Magic("a request was expected"));
        }
        let command = match u16::from_be_bytes([header[6], header[7]]) {
            0 => NbdCommand::Read,
            1 => NbdCommand::Write,
            2 => NbdCommand::Disconnect,
            other => NbdCommand::Other(other),
        };
        if matches!(command, NbdCommand::Read | NbdCommand::Write) && length > REQUEST_MAX {
            return Err(NbdError::Limit("request"));
        }
        Ok(Self { command, cookie, offset, length })
    }

    /// The header as a client sends it.
    pub fn encode(&self) -> [u8; REQUEST_LEN] {
        let code = match self.command {
            NbdCommand::Read => 0,
            NbdCommand::Write => 1,
            NbdCommand::Disconnect => 2,
            NbdCommand::Other(code) => code,
        };
        let mut out = [0; REQUEST_LEN];
        out[..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
        out[6..8].copy_from_slice(&u16::to_be_bytes(code));
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
pub fn simple_reply(cookie: u64, error: NbdReplyError) -> [u8; 16] {
    let mut out = [0; 16];
    out[..4].copy_from_slice(&SIMPLE_REPLY_MAGIC.to_be_bytes());
    out[4..8].copy_from_slice(&(error as u32).to_be_bytes());
    out[8..].copy_from_slice(&cookie.to_be_bytes());
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(text: &str) -> Vec<u8> {
        text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    /// The bytes of the protocol description.
    #[test]
    fn transcript() {
        assert_eq!(GREETING[..], hex("4e 42 44 4d 41 47 49 43 49 48 41 56 45 4f 50 54 00 03"));
        let go = hex(
            "49 48 41 56 45 4f 50 54 00 00 00 07 00 00 00 0e 00 00 00 08 73 77 61 70 2d 31 36 47 00 00",
        );
        let mut bytes = hex("00 00 00 03");
        bytes.extend(go);
        for cut in 0..bytes.len() {
            let mut negotiation = Negotiation::new(64);
            negotiation.feed(&bytes[..cut]);
            assert_eq!(negotiation.next_event(), Ok(None));
            negotiation.feed(&bytes[cut..]);
            negotiation.feed(b"rest");
            let Some(NegotiationEvent::Start { reply, size }) = negotiation.next_event().unwrap()
            else {
                panic!()
            };
            assert_eq!(size, 16 * GIB);
            assert_eq!(negotiation.into_rest(), b"rest");
            let export = hex(
                "00 03 e8 89 04 55 65 a9 00 00 00 07 00 00 00 03 00 00 00 0c 00 00 00 00 00 04 00 00 00 00 00 00",
            );
            assert_eq!(reply[34..66], export);
            let blocks = hex(
                "00 03 e8 89 04 55 65 a9 00 00 00 07 00 00 00 03 00 00 00 0e 00 03 00 00 00 01 00 00 10 00 00 10 00 00",
            );
            assert_eq!(reply[..34], blocks);
            assert_eq!(
                reply[66..],
                hex("00 03 e8 89 04 55 65 a9 00 00 00 07 00 00 00 01 00 00 00 00")
            );
        }
    }

    #[test]
    fn other_options() {
        let option = |code: u32, data: &[u8]| {
            let mut negotiation = Negotiation::new(64);
            negotiation.feed(&[0, 0, 0, 1]);
            negotiation.feed(&OPTION_MAGIC);
            negotiation.feed(&code.to_be_bytes());
            negotiation.feed(&(data.len() as u32).to_be_bytes());
            negotiation.feed(data);
            negotiation.next_event()
        };
        assert_eq!(option(8, &[]), Ok(Some(NegotiationEvent::Reply(reply(8, REP_ERR_UNSUP, &[])))));
        assert_eq!(option(2, &[]), Ok(Some(NegotiationEvent::Abort(reply(2, REP_ACK, &[])))));
        assert_eq!(
            option(7, b"\0\0\0\x04etc/"),
            Ok(Some(NegotiationEvent::Reply(reply(7, REP_ERR_UNKNOWN, &[]))))
        );
        assert_eq!(
            option(7, b"\xff\xff\xff\xffx"),
            Ok(Some(NegotiationEvent::Reply(reply(7, REP_ERR_INVALID, &[]))))
        );
        let Ok(Some(NegotiationEvent::Start { reply, .. })) = option(1, b"swap-2G") else {
            panic!()
        };
        assert_eq!(reply.len(), 134);
        assert_eq!(option(1, &[0; OPTION_MAX as usize + 1]), Err(NbdError::Limit("option")));
        let mut old = Negotiation::new(64);
        old.feed(&[0; 4]);
        assert_eq!(old.next_event(), Err(NbdError::OldStyle));
        let mut other = Negotiation::new(64);
        other.feed(b"\0\0\0\x03GET /");
        assert!(matches!(other.next_event(), Err(NbdError::Magic(_))));
    }

    #[test]
    fn sizes() {
        assert_eq!(swap_size("swap-16G", 64), Some(16 * GIB));
        assert_eq!(swap_size("swap-999G", 64), Some(64 * GIB));
        assert_eq!(swap_size("swap-0G", 64), Some(GIB));
        for bad in ["", "swap-G", "swap--1G", "swap-16", "swap-9999999G", "swap-1.5G", "disk-1G"] {
            assert_eq!(swap_size(bad, 64), None, "{bad}");
        }
    }

    #[test]
    fn requests() {
        let write = NbdRequest { command: NbdCommand::Write, cookie: 7, offset: 4096, length: 512 };
        assert_eq!(write.encode()[..8], hex("25 60 95 13 00 00 00 01"));
        assert_eq!(NbdRequest::parse(&write.encode()), Ok(write));
        assert!(write.fits(4608) && !write.fits(4607));
        assert!(!NbdRequest { offset: u64::MAX, ..write }.fits(u64::MAX));
        let huge = NbdRequest { length: REQUEST_MAX + 1, ..write };
        assert_eq!(NbdRequest::parse(&huge.encode()), Err(NbdError::Limit("request")));
        assert!(NbdRequest::parse(&[0; REQUEST_LEN]).is_err());
        assert_eq!(
            simple_reply(7, NbdReplyError::None)[..],
            hex("67 44 66 98 00 00 00 00 00 00 00 00 00 00 00 07")
        );
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>, header: [u8; REQUEST_LEN]) {
            let mut negotiation = Negotiation::new(16);
            negotiation.feed(&[0, 0, 0, 3]);
            negotiation.feed(&bytes);
            while let Ok(Some(_)) = negotiation.next_event() {}
            let _ = NbdRequest::parse(&header);
        }
    }
}
