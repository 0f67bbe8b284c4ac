//! zstd streams of several frames, as layers are (RFC 8878; podman writes a frame per chunk, with tables in skippable ones).

use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Largest window, in bytes: it is kept in memory.
const WINDOW_MAX: u64 = 64 << 20;

/// Reads all frames.
pub(super) struct Frames<R> {
    state: State<R>,
}

enum State<R> {
    Between(R),
    Inside(R, Box<FrameDecoder>),
    Ended,
}

impl<R: BufRead> Frames<R> {
    pub fn new(from: R) -> Self {
        Self { state: State::Between(from) }
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Ok(0),
                State::Between(from) => self.state = start(from)?,
                State::Inside(mut from, mut decoder) => {
                    while decoder.can_collect() == 0 && !decoder.is_finished() {
                        decoder
                            .decode_blocks(&mut from, BlockDecodingStrategy::UptoBlocks(1))
                            .map_err(io::Error::other)?;
                    }
                    let count = decoder.read(buffer)?;
                    if count > 0 || buffer.is_empty() {
                        self.state = State::Inside(from, decoder);
                        return Ok(count);
                    }
                    self.state = State::Between(from);
                }
            }
        }
    }
}

/// The next frame with content, or the end.
fn start<R: BufRead>(mut from: R) -> io::Result<State<R>> {
    loop {
        if from.fill_buf()?.is_empty() {
            return Ok(State::Ended);
        }
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_MAX);
        match decoder.init(&mut from) {
            Ok(()) => return Ok(State::Inside(from, Box::new(decoder))),
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let length = u64::from(length);
                if io::copy(&mut from.by_ref().take(length), &mut io::sink())? < length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// `printf hello | zstd` and `printf world | zstd`, made by hand: one raw block each, no checksum.
    fn frame(content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd, 0x20, content.len() as u8];
        let block = (content.len() as u32) << 3 | 1;
        bytes.extend(&block.to_le_bytes()[..3]);
        bytes.extend(content);
        bytes
    }

    #[test]
    fn frames_follow_each_other() {
        let mut bytes = frame(b"hello ");
        bytes.extend([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
        bytes.extend(frame(b"world"));
        let mut text = String::new();
        Frames::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello world");
        let mut cut = Frames::new(&bytes[..bytes.len() - 2]);
        assert!(cut.read_to_string(&mut text).is_err());
        assert!(Frames::new(b"garbage".as_slice()).read_to_string(&mut text).is_err());
        // A window of 2 GiB is refused.
        let large = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0, 0];
        assert!(Frames::new(large.as_slice()).read_to_string(&mut text).is_err());
    }
}
