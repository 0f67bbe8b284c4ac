//! Python pickles of plain data: a reader of data opcodes only, and a protocol 4 writer.
//!
//! Opcodes are those of CPython's `Lib/pickletools.py`. Nothing that names a class or calls anything is known here:
//! such an opcode is an error like any unknown byte. Pickles have no length prefix, so [`PickleReader`] takes bytes as
//! they come, one opcode at a time, and keeps what follows the end.

mod read;
mod write;

pub use read::PickleReader;
pub use write::write;

/// What a reader accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PickleLimits {
    /// Size of the pickle, in bytes.
    pub bytes: usize,
    /// Number of values, shared ones counted as often as they are used.
    pub items: usize,
    /// Nesting.
    pub depth: usize,
}

impl Default for PickleLimits {
    fn default() -> Self {
        Self { bytes: 64 * 1024, items: 10_000, depth: 32 }
    }
}

/// Why bytes are no pickle we take: close the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PickleError {
    /// An opcode that is not plain data.
    #[error("pickle opcode {0:#04x} is refused: only plain data is accepted")]
    Opcode(u8),
    /// Opcodes that do not fit together.
    #[error("malformed pickle: {0}")]
    Malformed(&'static str),
    /// Beyond the limits.
    #[error("pickle over the limit of {0}")]
    Limit(&'static str),
}

const MEMOIZE: u8 = 0x94;

/// An integer of at most 8 bytes, little endian, two's complement.
fn signed(bytes: &[u8]) -> Result<i64, PickleError> {
    if bytes.len() > 8 {
        return Err(PickleError::Limit("integers"));
    }
    let negative = bytes.last().is_some_and(|b| *b >= 0x80);
    let mut extended = if negative { [0xff; 8] } else { [0; 8] };
    extended[..bytes.len()].copy_from_slice(bytes);
    Ok(i64::from_le_bytes(extended))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
