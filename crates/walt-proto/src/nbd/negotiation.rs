//! The negotiation: options until one of them starts the transmission.

use super::{NbdError, u32_at};

/// Largest data of one option, in bytes.
pub const OPTION_MAX: u32 = 4096;

/// Largest read or write that clients are asked for, in bytes; those that ignore it may send more.
pub const REQUEST_PREFERRED_MAX: u32 = 1 << 20;

const OPTION_MAGIC: [u8; 8] = *b"IHAVEOPT";
const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;

const FLAG_FIXED_NEWSTYLE: u32 = 1;
const FLAG_NO_ZEROES: u32 = 2;

const OPT_EXPORT_NAME: u32 = 1;
const OPT_ABORT: u32 = 2;
const OPT_LIST: u32 = 3;
const OPT_INFO: u32 = 6;
const OPT_GO: u32 = 7;

const REP_ACK: u32 = 1;
const REP_SERVER: u32 = 2;
const REP_INFO: u32 = 3;
const REP_ERR_UNSUP: u32 = 0x8000_0001;
const REP_ERR_POLICY: u32 = 0x8000_0002;
const REP_ERR_INVALID: u32 = 0x8000_0003;
const REP_ERR_UNKNOWN: u32 = 0x8000_0006;

const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

/// Transmission flags: HAS_FLAGS, SEND_FLUSH, SEND_TRIM, SEND_WRITE_ZEROES.
const FLAGS: u16 = 1 | 1 << 2 | 1 << 5 | 1 << 6;

/// The name `LIST` tells: the one existing images ask for.
const USUAL_NAME: &[u8] = b"swap-16G";

/// Longest identity of a boot, in bytes.
const BOOT_MAX: usize = 64;

const GIB: u64 = 1 << 30;

/// What the server sends first.
pub const GREETING: [u8; 18] = *b"NBDMAGICIHAVEOPT\x00\x03";

/// An export, by its name: `swap-<N>G`, or `swap-<N>G@<boot>` for a client that tells which boot of its node
/// it belongs to (letters, digits and dashes).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Its size in bytes: at least 1 GiB, at most what the server offers.
    pub size: u64,
    /// The boot, if the client tells it.
    pub boot: Option<String>,
}

impl Export {
    /// The export of that name, of at most `limit_gib` GiB; `None` for any other name.
    pub fn parse(name: &str, limit_gib: u64) -> Option<Self> {
        let (name, boot) = match name.split_once('@') {
            Some((name, boot)) => (name, Some(boot)),
            None => (name, None),
        };
        let word = |text: &str| {
            (1..=BOOT_MAX).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if !boot.is_none_or(word) {
            return None;
        }
        let gib = name.strip_prefix("swap-")?.strip_suffix('G')?;
        let digits = (1..=6).contains(&gib.len()) && gib.bytes().all(|b| b.is_ascii_digit());
        let gib: u64 = gib.parse().ok().filter(|_| digits)?;
        let size = gib.clamp(1, limit_gib.max(1)) * GIB;
        Some(Self { size, boot: boot.map(str::to_owned) })
    }

    /// The transmission flags. Clients of the plain name have always been told 0.
    fn flags(&self) -> u16 {
        if self.boot.is_some() { FLAGS } else { 0 }
    }
}

/// What the client wants after negotiation bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NegotiationEvent {
    /// Send this and go on.
    Reply(Vec<u8>),
    /// Decide whether it may have this, and send the answer of [`Wanted`].
    Wanted(Wanted),
    /// Send this and close.
    Abort(Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Go,
    Info,
    Name { zeroes: bool },
}

/// An export that a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Which.
    pub export: Export,
    how: How,
}

impl Wanted {
    /// Does the transmission start once it is granted? Otherwise the client only asks about it.
    pub fn starts(&self) -> bool {
        self.how != How::Info
    }

    /// The answer when it may have it.
    pub fn granted(&self) -> Vec<u8> {
        let (size, flags) = (self.export.size, self.export.flags());
        let option = match self.how {
            How::Go => OPT_GO,
            How::Info => OPT_INFO,
            How::Name { zeroes } => {
                let mut out = size.to_be_bytes().to_vec();
                out.extend(flags.to_be_bytes());
                out.resize(out.len() + if zeroes { 124 } else { 0 }, 0);
                return out;
            }
        };
        let mut blocks = INFO_BLOCK_SIZE.to_be_bytes().to_vec();
        for size in [1u32, 4096, REQUEST_PREFERRED_MAX] {
            blocks.extend(size.to_be_bytes());
        }
        let mut export = INFO_EXPORT.to_be_bytes().to_vec();
        export.extend(size.to_be_bytes());
        export.extend(flags.to_be_bytes());
        let mut out = reply(option, REP_INFO, &blocks);
        out.extend(reply(option, REP_INFO, &export));
        out.extend(reply(option, REP_ACK, &[]));
        out
    }

    /// The answer when it may not, with a reason for people; `None` when all that can be done is to close.
    pub fn refused(&self, why: &str) -> Option<Vec<u8>> {
        let option = match self.how {
            How::Go => OPT_GO,
            How::Info => OPT_INFO,
            How::Name { .. } => return None,
        };
        Some(reply(option, REP_ERR_POLICY, why.as_bytes()))
    }
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
        let export = |name| Export::parse(std::str::from_utf8(name).ok()?, self.limit_gib);
        let error = |kind| NegotiationEvent::Reply(reply(option, kind, &[]));
        match option {
            OPT_GO | OPT_INFO => {
                let length = u32_at(data, 0).map_or(0, |length| length as usize);
                // Name, then a count of information types and the types, which are ignored.
                let Some(name) = data.get(4..).and_then(|rest| rest.get(..length)) else {
                    return error(REP_ERR_INVALID);
                };
                let how = if option == OPT_GO { How::Go } else { How::Info };
                match export(name) {
                    Some(export) => NegotiationEvent::Wanted(Wanted { export, how }),
                    None => error(REP_ERR_UNKNOWN),
                }
            }
            OPT_EXPORT_NAME => match export(data) {
                Some(export) => {
                    let how = How::Name { zeroes: flags & FLAG_NO_ZEROES == 0 };
                    NegotiationEvent::Wanted(Wanted { export, how })
                }
                // This option has no error answer.
                None => NegotiationEvent::Abort(Vec::new()),
            },
            OPT_LIST if !data.is_empty() => error(REP_ERR_INVALID),
            OPT_LIST => {
                let mut server = (USUAL_NAME.len() as u32).to_be_bytes().to_vec();
                server.extend(USUAL_NAME);
                let mut out = reply(option, REP_SERVER, &server);
                out.extend(reply(option, REP_ACK, &[]));
                NegotiationEvent::Reply(out)
            }
            OPT_ABORT => NegotiationEvent::Abort(reply(option, REP_ACK, &[])),
            _ => error(REP_ERR_UNSUP),
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::hex;
    use super::*;
    use proptest::prelude::*;

    fn wanted(negotiation: &mut Negotiation) -> Wanted {
        match negotiation.next_event() {
            Ok(Some(NegotiationEvent::Wanted(wanted))) => wanted,
            other => panic!("{other:?}"),
        }
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
            let wanted = wanted(&mut negotiation);
            assert!(wanted.starts());
            assert_eq!(wanted.export, Export { size: 16 * GIB, boot: None });
            assert_eq!(negotiation.into_rest(), b"rest");
            let mut reply = hex(
                "00 03 e8 89 04 55 65 a9 00 00 00 07 00 00 00 03 00 00 00 0e 00 03 00 00 00 01 00 00 10 00 00 10 00 00",
            );
            reply.extend(hex(
                "00 03 e8 89 04 55 65 a9 00 00 00 07 00 00 00 03 00 00 00 0c 00 00 00 00 00 04 00 00 00 00 00 00",
            ));
            reply.extend(hex("00 03 e8 89 04 55 65 a9 00 00 00 07 00 00 00 01 00 00 00 00"));
            assert_eq!(wanted.granted(), reply);
        }
    }

    /// What one option does, after flags 1.
    fn option(code: u32, data: &[u8]) -> Result<Option<NegotiationEvent>, NbdError> {
        let mut negotiation = Negotiation::new(64);
        negotiation.feed(&[0, 0, 0, 1]);
        negotiation.feed(&OPTION_MAGIC);
        negotiation.feed(&code.to_be_bytes());
        negotiation.feed(&(data.len() as u32).to_be_bytes());
        negotiation.feed(data);
        negotiation.next_event()
    }

    #[test]
    fn other_options() {
        let replied =
            |code, kind, data: &[u8]| Ok(Some(NegotiationEvent::Reply(reply(code, kind, data))));
        for unknown in [0, 4, 5, 8, 9, 10, 99] {
            assert_eq!(option(unknown, b"some data"), replied(unknown, REP_ERR_UNSUP, &[]));
        }
        assert_eq!(option(2, &[]), Ok(Some(NegotiationEvent::Abort(reply(2, REP_ACK, &[])))));
        for code in [OPT_GO, OPT_INFO] {
            assert_eq!(option(code, b"\0\0\0\x04etc/"), replied(code, REP_ERR_UNKNOWN, &[]));
            assert_eq!(option(code, b"\xff\xff\xff\xffx"), replied(code, REP_ERR_INVALID, &[]));
            assert_eq!(option(code, b""), replied(code, REP_ERR_INVALID, &[]));
        }
        assert_eq!(option(OPT_LIST, b"x"), replied(OPT_LIST, REP_ERR_INVALID, &[]));
        let mut list = reply(OPT_LIST, REP_SERVER, b"\0\0\0\x08swap-16G");
        list.extend(reply(OPT_LIST, REP_ACK, &[]));
        assert_eq!(option(OPT_LIST, b""), Ok(Some(NegotiationEvent::Reply(list))));
        assert_eq!(option(1, b"disk"), Ok(Some(NegotiationEvent::Abort(Vec::new()))));
        assert_eq!(option(1, &[0; OPTION_MAX as usize + 1]), Err(NbdError::Limit("option")));
        let mut old = Negotiation::new(64);
        old.feed(&[0; 4]);
        assert_eq!(old.next_event(), Err(NbdError::OldStyle));
        let mut other = Negotiation::new(64);
        other.feed(b"\0\0\0\x03GET /");
        assert!(matches!(other.next_event(), Err(NbdError::Magic(_))));
    }

    #[test]
    fn granted_or_refused() {
        let Ok(Some(NegotiationEvent::Wanted(name))) = option(1, b"swap-2G") else { panic!() };
        assert_eq!(name.granted().len(), 134);
        assert_eq!(name.refused("no"), None);
        assert!(name.starts());
        let info = b"\0\0\0\x0cswap-3G@ab-1\0\0";
        let Ok(Some(NegotiationEvent::Wanted(info))) = option(OPT_INFO, info) else { panic!() };
        assert!(!info.starts());
        assert_eq!(info.export, Export { size: 3 * GIB, boot: Some("ab-1".into()) });
        assert_eq!(info.refused("no"), Some(reply(OPT_INFO, REP_ERR_POLICY, b"no")));
        // Flags are for clients that know of them.
        assert_eq!(info.granted()[64..66], FLAGS.to_be_bytes());
    }

    #[test]
    fn names() {
        let size = |name| Export::parse(name, 64).map(|export| export.size / GIB);
        assert_eq!(size("swap-16G"), Some(16));
        assert_eq!(size("swap-999G"), Some(64));
        assert_eq!(size("swap-0G"), Some(1));
        assert_eq!(size("swap-16G@0d8d0a4c-6b2e-4a53-b3f4-4a1f0d9d3c55"), Some(16));
        let long = format!("swap-1G@{}", "a".repeat(65));
        for bad in [
            "",
            "swap-G",
            "swap--1G",
            "swap-16",
            "swap-9999999G",
            "swap-1.5G",
            "disk-1G",
            "swap-1G@",
            "swap-1G@a/b",
            "swap-1G@..",
            "swap-1G@a@b",
            &long,
        ] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let mut negotiation = Negotiation::new(16);
            negotiation.feed(&[0, 0, 0, 3]);
            negotiation.feed(&bytes);
            while let Ok(Some(_)) = negotiation.next_event() {}
        }
    }
}
