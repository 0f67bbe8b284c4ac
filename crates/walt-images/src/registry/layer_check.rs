//! A layer is read from end to end before the store sees it: its digest once uncompressed, its size, the paths in it.
//!
//! The store unpacks in a chroot, so that nothing here is the only barrier; but it unpacks such paths somewhere else without a
//! word, and an archive that grows without end fills the disk.
//! Device nodes are accepted: images have `/dev/console`, and nothing opens them on the server.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::reference::Digest;
use super::zstd;

const BLOCK: usize = 512;
/// Longest extended header (long names, PAX records), in bytes.
const EXTENDED_MAX: u64 = 1 << 20;
/// Longest path in an archive, in bytes (`PATH_MAX`).
const PATH_MAX: usize = 4096;

/// Why a layer is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its content.
    Hostile(String),
    /// It is not what the configuration announced.
    Other { got: Digest },
    /// It takes more room than there is.
    NoRoom,
    /// The operation was given up.
    Stopped,
    /// The file could not be read.
    File(String),
}

/// What all layers of an image share while they are checked.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// Bytes that may still be unpacked.
    pub room: AtomicU64,
    /// Set when the result is of no interest any more.
    pub stop: AtomicBool,
}

/// Reads a layer.
pub(super) fn check(path: &Path, diff_id: &Digest, budget: &Budget) -> Result<(), Refusal> {
    let file = File::open(path).map_err(|error| Refusal::File(error.to_string()))?;
    let mut file = BufReader::with_capacity(1 << 17, file);
    let magic = file.fill_buf().map_err(|error| Refusal::File(error.to_string()))?;
    let magic: [u8; 6] = std::array::from_fn(|at| magic.get(at).copied().unwrap_or(0));
    match magic {
        [0x1f, 0x8b, ..] => layer(flate2::bufread::MultiGzDecoder::new(file), diff_id, budget),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => layer(zstd::Frames::new(file), diff_id, budget),
        [0xfd, b'7', b'z', b'X', b'Z', 0] | [b'B', b'Z', b'h', ..] => {
            Err(Refusal::Hostile("compressed in another way than gzip or zstd".to_owned()))
        }
        _ => layer(file, diff_id, budget),
    }
}

fn layer(from: impl Read, diff_id: &Digest, budget: &Budget) -> Result<(), Refusal> {
    let mut from = Counted { from, hash: Sha256::new(), budget, refused: None };
    let result = archive(&mut from).and_then(|()| drain(&mut from));
    if let Some(refused) = from.refused.take() {
        return Err(refused);
    }
    result.map_err(|error| match error.downcast::<Hostile>() {
        Ok(hostile) => Refusal::Hostile(hostile.0),
        Err(error) => Refusal::Hostile(format!("cannot be read: {error}")),
    })?;
    let got = Digest::from_hash(from.hash.finalize().as_slice());
    if got == *diff_id { Ok(()) } else { Err(Refusal::Other { got }) }
}

/// What must not be unpacked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Hostile(String);

fn hostile(text: impl Into<String>) -> io::Error {
    io::Error::other(Hostile(text.into()))
}

/// Hashes and counts what is read.
struct Counted<'b, R> {
    from: R,
    hash: Sha256,
    budget: &'b Budget,
    refused: Option<Refusal>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.hash.update(&buffer[..count]);
        let taken = count as u64;
        let room = &self.budget.room;
        let enough =
            room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(taken));
        if enough.is_err() {
            self.refused = Some(Refusal::NoRoom);
        } else if self.budget.stop.load(Ordering::Relaxed) {
            self.refused = Some(Refusal::Stopped);
        } else {
            return Ok(count);
        }
        Err(io::Error::other("stopped"))
    }
}

fn drain(from: &mut impl Read) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    while from.read(&mut buffer)? > 0 {}
    Ok(())
}

/// What extended headers say of the next entry.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

/// Reads all entries.
fn archive(from: &mut impl Read) -> io::Result<()> {
    let mut extended = Extended::default();
    let mut block = [0; BLOCK];
    loop {
        if !read_block(from, &mut block)? || block.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let header = Header::from_byte_slice(&block);
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(
                |(at, byte)| {
                    if (148..156).contains(&at) { u32::from(b' ') } else { u32::from(*byte) }
                },
            )
            .sum();
        if header.cksum()? != sum {
            return Err(hostile("not a tar archive, or a damaged one"));
        }
        let size = header.entry_size()?;
        match header.entry_type() {
            EntryType::GNULongName => extended.path = Some(c_text(data(from, size)?)),
            EntryType::GNULongLink => extended.link = Some(c_text(data(from, size)?)),
            EntryType::XHeader => records(&data(from, size)?, &mut extended)?,
            EntryType::XGlobalHeader => drop(data(from, size)?),
            kind => {
                let extended = std::mem::take(&mut extended);
                let path = extended.path.unwrap_or_else(|| header.path_bytes().into_owned());
                check_path(&path, kind == EntryType::Directory)?;
                if kind == EntryType::Link {
                    let link = extended
                        .link
                        .or_else(|| header.link_name_bytes().map(|name| name.into_owned()));
                    check_link(&path, &link.unwrap_or_default())?;
                }
                let has_data = !matches!(
                    kind,
                    EntryType::Link
                        | EntryType::Symlink
                        | EntryType::Char
                        | EntryType::Block
                        | EntryType::Directory
                        | EntryType::Fifo
                );
                let size = if has_data { extended.size.unwrap_or(size) } else { 0 };
                if kind == EntryType::GNUSparse {
                    return Err(hostile(format!("{}: old sparse format", shown(&path))));
                }
                skip(from, size.checked_next_multiple_of(BLOCK as u64).unwrap_or(u64::MAX))?;
            }
        }
    }
}

/// Fills a block; false at the end of the archive.
fn read_block(from: &mut impl Read, block: &mut [u8; BLOCK]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < BLOCK {
        match from.read(&mut block[filled..])? {
            0 if filled == 0 => return Ok(false),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
    }
    Ok(true)
}

fn data(from: &mut impl Read, size: u64) -> io::Result<Vec<u8>> {
    if size > EXTENDED_MAX {
        return Err(hostile(format!("a header of {size} bytes")));
    }
    let mut bytes = Vec::new();
    from.take(size).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    skip(from, size.next_multiple_of(BLOCK as u64) - size)?;
    Ok(bytes)
}

fn skip(from: &mut impl Read, count: u64) -> io::Result<()> {
    let mut buffer = [0; 1 << 14];
    let mut left = count;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        match from.read(&mut buffer[..most])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => left -= count as u64,
        }
    }
    Ok(())
}

fn c_text(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

/// PAX records: `<length> <key>=<value>\n` (POSIX.1-2001, pax).
fn records(bytes: &[u8], into: &mut Extended) -> io::Result<()> {
    let bad = || hostile("a PAX header that makes no sense");
    let mut rest = bytes;
    while !rest.is_empty() {
        let blank = rest.iter().position(|byte| *byte == b' ').ok_or_else(bad)?;
        let length: usize = std::str::from_utf8(&rest[..blank])
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(bad)?;
        let record =
            rest.get(blank + 1..length).ok_or_else(bad)?.strip_suffix(b"\n").ok_or_else(bad)?;
        rest = &rest[length..];
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        match key {
            b"path" => into.path = Some(value.to_vec()),
            b"linkpath" => into.link = Some(value.to_vec()),
            b"size" => {
                let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                into.size = Some(size.ok_or_else(bad)?);
            }
            _ => {}
        }
    }
    Ok(())
}

fn shown(path: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(path).chars().take(120).collect();
    format!("{text:?}")
}

/// Paths stay below the root: relative, without `..`.
fn check_path(path: &[u8], is_directory: bool) -> io::Result<()> {
    if path.len() > PATH_MAX || path.contains(&0) {
        return Err(hostile(format!("{}: not usable as a path", shown(path))));
    }
    // Some tools write the root itself as `/`.
    if path.starts_with(b"/") && !(is_directory && path == b"/") {
        return Err(hostile(format!("{}: an absolute path", shown(path))));
    }
    if path.split(|byte| *byte == b'/').any(|part| part == b"..") {
        return Err(hostile(format!("{}: a path that leaves the image", shown(path))));
    }
    Ok(())
}

/// Hard links stay below the root as well; some tools write them with a first `/`, which means the root of the image.
fn check_link(path: &[u8], link: &[u8]) -> io::Result<()> {
    if link.is_empty()
        || link.len() > PATH_MAX
        || link.split(|byte| *byte == b'/').any(|part| part == b"..")
    {
        return Err(hostile(format!("{}: a link to {}", shown(path), shown(link))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;

    fn entry(path: &[u8], kind: EntryType, link: &[u8], content: &[u8]) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path);
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    fn file(path: &[u8]) -> Vec<u8> {
        entry(path, EntryType::Regular, b"", b"content")
    }

    /// Checks these bytes, as they are and in gzip.
    fn checked(mut tar: Vec<u8>, room: u64) -> Result<(), Refusal> {
        tar.extend([0; 2 * BLOCK]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("layer");
        let diff_id = Digest::of(&tar);
        let run = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let budget = Budget { room: room.into(), ..Budget::default() };
            check(&path, &diff_id, &budget)
        };
        let plain = run(&tar);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar).unwrap();
        assert_eq!(run(&gzip.finish().unwrap()), plain);
        plain
    }

    fn refusal(tar: Vec<u8>) -> String {
        match checked(tar, 1 << 20) {
            Err(Refusal::Hostile(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ordinary_layers_pass() {
        let mut tar = entry(b"./", EntryType::Directory, b"", b"");
        tar.extend(entry(b"/", EntryType::Directory, b"", b""));
        tar.extend(file(b"etc/..hidden"));
        tar.extend(entry(b"abs", EntryType::Symlink, b"/etc/../passwd", b""));
        tar.extend(entry(b"hard", EntryType::Link, b"/etc/..hidden", b""));
        tar.extend(entry(b"dev/null", EntryType::Char, b"", b""));
        tar.extend(entry(b"long", EntryType::GNULongName, b"", b"a/long/name\0"));
        tar.extend(file(b"short"));
        tar.extend(entry(b"pax", EntryType::XHeader, b"", b"17 path=some/dir\n"));
        tar.extend(file(b"short"));
        assert_eq!(checked(tar, 1 << 20), Ok(()));
        assert_eq!(checked(Vec::new(), 1 << 20), Ok(()));
    }

    #[test]
    fn hostile_layers_do_not() {
        assert!(refusal(file(b"../etc/passwd")).contains("leaves the image"));
        assert!(refusal(file(b"a/../../b")).contains("leaves the image"));
        assert!(refusal(file(b"/etc/passwd")).contains("absolute"));
        assert!(
            refusal(entry(b"x", EntryType::Link, b"../../etc/shadow", b"")).contains("a link to")
        );
        let mut long = entry(b"x", EntryType::GNULongName, b"", b"../x\0");
        long.extend(file(b"fine"));
        assert!(refusal(long).contains("leaves the image"));
        let mut pax = entry(b"x", EntryType::XHeader, b"", b"15 path=/abs/x\n");
        pax.extend(file(b"fine"));
        assert!(refusal(pax).contains("absolute"));
        assert!(refusal(entry(b"x", EntryType::XHeader, b"", b"9999 path=x\n")).contains("PAX"));
        assert!(
            refusal(vec![7; BLOCK]).contains("cannot be read")
                || refusal(vec![7; BLOCK]).contains("tar")
        );
        let mut huge = Header::new_gnu();
        huge.set_entry_type(EntryType::GNULongName);
        huge.set_size(1 << 40);
        huge.set_cksum();
        assert!(refusal(huge.as_bytes().to_vec()).contains("a header of"));
        let mut cut = Header::new_gnu();
        cut.as_gnu_mut().unwrap().name[0] = b'x';
        cut.set_size(1 << 40);
        cut.set_cksum();
        assert!(refusal(cut.as_bytes().to_vec()).contains("cannot be read"));
    }

    #[test]
    fn room_and_digest() {
        assert_eq!(
            checked(entry(b"x", EntryType::Regular, b"", &[0; 9000]), 4000),
            Err(Refusal::NoRoom)
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("layer");
        std::fs::write(&path, [0; 1024]).unwrap();
        let budget = Budget { room: 1_000_000.into(), ..Budget::default() };
        let got = Digest::of(&[0; 1024]);
        assert_eq!(check(&path, &Digest::of(b""), &budget), Err(Refusal::Other { got }));
        budget.stop.store(true, Ordering::Relaxed);
        assert_eq!(check(&path, &Digest::of(b""), &budget), Err(Refusal::Stopped));
    }
}
