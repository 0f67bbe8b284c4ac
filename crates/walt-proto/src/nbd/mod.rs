//! Swap space for nodes: the part of the NBD protocol that they need.
//!
//! "Fixed newstyle" negotiation and simple replies of the NBD protocol description
//! (<https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>), big endian.

mod negotiation;
mod request;

pub use negotiation::{
    Export, GREETING, Negotiation, NegotiationEvent, OPTION_MAX, REQUEST_PREFERRED_MAX, Wanted,
};
pub use request::{
    NbdCommand, NbdReplyError, NbdRequest, REQUEST_LEN, REQUEST_MAX, SIMPLE_REPLY_LEN, simple_reply,
};

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

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(u32::from_be_bytes(four))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let eight: [u8; 8] = bytes.get(at..at.checked_add(8)?)?.try_into().ok()?;
    Some(u64::from_be_bytes(eight))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}
