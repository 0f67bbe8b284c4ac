//! Packets of clients, and what is agreed with them. Pure; packets are those of the `tftpd` crate.

use tftpd::{ErrorCode, OptionType, Packet, TransferOption};

use super::TftpConfig;

/// Block size without option (RFC 1350).
const DEFAULT_BLOCK: u16 = 512;
/// Smallest block a client may ask for (RFC 2348).
const MIN_BLOCK: u64 = 8;
/// Longest request: a name, a mode and the known options are far shorter.
pub(crate) const MAX_REQUEST: usize = 2048;

/// A read request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ReadRequest {
    pub name: String,
    pub options: Vec<TransferOption>,
}

/// A datagram on the service's port.
#[derive(Debug, PartialEq)]
pub(crate) enum Received {
    Read(ReadRequest),
    /// Answer with this error.
    Refuse(ErrorCode, &'static str),
    /// Not a request.
    Ignore,
}

/// Reads a datagram sent to the service's port.
pub(crate) fn request(bytes: &[u8]) -> Received {
    let malformed = Received::Refuse(ErrorCode::IllegalOperation, "malformed request");
    match packet(bytes) {
        Some(Packet::Rrq { filename, mode, options }) => match mode.to_ascii_lowercase().as_str() {
            // Boot files are binary; clients that say netascii mean their bytes.
            "octet" | "netascii" => Received::Read(ReadRequest { name: filename, options }),
            _ => Received::Refuse(ErrorCode::IllegalOperation, "unknown transfer mode"),
        },
        Some(Packet::Wrq { .. }) => {
            Received::Refuse(ErrorCode::AccessViolation, "this server is read-only")
        }
        Some(_) => Received::Ignore,
        None if matches!(bytes, [0, 1 | 2, ..]) => malformed,
        None => Received::Ignore,
    }
}

/// Decodes a packet; `None` when it is malformed.
pub(crate) fn packet(bytes: &[u8]) -> Option<Packet> {
    // The decoder of the crate takes for granted that blocks and errors have their number.
    if bytes.len() < 4 || bytes.len() > MAX_REQUEST {
        return None;
    }
    Packet::deserialize(bytes).ok()
}

/// The bytes of an error.
pub(crate) fn error(code: ErrorCode, message: &str) -> Vec<u8> {
    let packet = Packet::Error { code, msg: message.to_owned() };
    packet.serialize().unwrap_or_default()
}

/// What was agreed for a transfer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Agreed {
    /// Bytes per block.
    pub block: u16,
    /// Blocks per acknowledgement.
    pub window: u16,
    /// The client's time-out in seconds.
    pub timeout: Option<u8>,
    /// The answer to the options, when there is one.
    pub oack: Option<Vec<u8>>,
}

/// Takes of the options what this server can do (RFC 2347: those not named in the answer are refused).
pub(crate) fn agree(options: &[TransferOption], size: u64, config: &TftpConfig) -> Agreed {
    let mut agreed = Agreed { block: DEFAULT_BLOCK, window: 1, timeout: None, oack: None };
    let mut accepted: Vec<TransferOption> = Vec::new();
    for TransferOption { option, value } in options {
        if accepted.iter().any(|known| known.option == *option) {
            continue;
        }
        let value = match option {
            OptionType::BlockSize if *value >= MIN_BLOCK => {
                agreed.block = at_most(*value, config.max_block_size);
                u64::from(agreed.block)
            }
            OptionType::WindowSize if *value >= 1 => {
                agreed.window = at_most(*value, config.max_window_size);
                u64::from(agreed.window)
            }
            OptionType::Timeout if (1..=255).contains(value) => {
                agreed.timeout = u8::try_from(*value).ok();
                *value
            }
            OptionType::TransferSize => size,
            _ => continue,
        };
        accepted.push(TransferOption { option: *option, value });
    }
    if !accepted.is_empty() {
        agreed.oack = Packet::Oack(accepted).serialize().ok();
    }
    agreed
}

fn at_most(value: u64, bound: u16) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX).min(bound)
}

#[cfg(test)]
mod tests {
    // Octal escapes: texts of TFTP packets end with NUL bytes.
    #![allow(clippy::unwrap_used, clippy::octal_escapes)]

    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn read(bytes: &[u8]) -> ReadRequest {
        match request(bytes) {
            Received::Read(read) => read,
            other => panic!("{other:?}"),
        }
    }

    fn agreed(bytes: &[u8]) -> Agreed {
        agree(&read(bytes).options, 1_000_000, &TftpConfig::new(Ipv4Addr::LOCALHOST))
    }

    #[test]
    fn options_are_taken_within_bounds() {
        let agreed =
            agreed(b"\0\x01k\0octet\0blksize\01432\0tsize\00\0windowsize\016\0timeout\05\0");
        assert_eq!((agreed.block, agreed.window, agreed.timeout), (1432, 16, Some(5)));
        let oack = b"\0\x06blksize\01432\0tsize\01000000\0windowsize\016\0timeout\05\0";
        assert_eq!(agreed.oack.as_deref(), Some(&oack[..]));
    }

    #[test]
    fn large_wishes_are_cut_and_wrong_ones_left_out() {
        let cut = agreed(b"\0\x01k\0OCTET\0BLKSIZE\065464\0windowsize\065535\0");
        assert_eq!(cut.oack.as_deref(), Some(&b"\0\x06blksize\01468\0windowsize\064\0"[..]));
        let left_out =
            agreed(b"\0\x01k\0octet\0blksize\07\0windowsize\00\0timeout\0256\0multicast\0\0");
        assert_eq!(left_out, Agreed { block: 512, window: 1, timeout: None, oack: None });
    }

    #[test]
    fn no_option_no_answer_to_them() {
        let plain = agreed(b"\0\x01k\0netascii\0");
        assert_eq!((plain.block, plain.window, plain.oack), (512, 1, None));
    }

    #[test]
    fn what_is_not_a_read_request() {
        assert!(matches!(
            request(b"\0\x02k\0octet\0"),
            Received::Refuse(ErrorCode::AccessViolation, _)
        ));
        assert!(matches!(
            request(b"\0\x01k\0mail\0"),
            Received::Refuse(ErrorCode::IllegalOperation, _)
        ));
        assert!(matches!(request(b"\0\x01k"), Received::Refuse(..)));
        assert!(matches!(
            request(b"\0\x01kernel"),
            Received::Refuse(ErrorCode::IllegalOperation, _)
        ));
        assert_eq!(request(b"\0\x04\0\x01"), Received::Ignore);
        assert_eq!(request(b"\0\x03"), Received::Ignore);
        assert_eq!(request(b""), Received::Ignore);
    }

    proptest! {
        #[test]
        fn random_bytes_do_no_harm(
            opcode in 0_u8..8, tail in proptest::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..80)
        ) {
            let mut bytes = vec![0, opcode];
            bytes.extend_from_slice(&tail);
            for length in 0..=bytes.len() {
                let _ = request(&bytes[..length]);
                let _ = packet(&bytes[..length]);
            }
        }
    }
}
