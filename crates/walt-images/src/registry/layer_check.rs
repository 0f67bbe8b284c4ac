//! A layer is read from end to end before the store sees it: its digest once uncompressed, its size, the paths in it.
//!
//! The store unpacks in a chroot, so that nothing here is the only barrier; but it unpacks such paths somewhere else without a
//! word, and an archive that grows without end fills the disk.
//! Device nodes are accepted: images have `/dev/console`, and nothing opens them on the server.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::reference::Digest;
use super::zstd;

const BLOCK: usize = 512;
/// Fields of a header (POSIX.1-1988, ustar; star(5)).
const NAME: Range<usize> = 0..100;
const TYPE: usize = 156;
const LINK_NAME: Range<usize> = 157..257;
const PREFIX: Range<usize> = 345..500;
const PREFIX_OF_STAR: Range<usize> = 345..476;
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

/// What extended headers say of the next entry. Readers differ in which of them counts: each is checked by itself.
#[derive(Default)]
struct Extended {
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

/// The records that matter. An empty one says nothing (POSIX.1-2001, pax).
#[derive(Default)]
struct Pax {
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
        // Of two in a row, readers take the first, the last, or both.
        let once = |before: bool| match before {
            true => Err(hostile("two headers for one file")),
            false => Ok(()),
        };
        match header.entry_type() {
            EntryType::GNULongName => {
                once(extended.long_path.is_some())?;
                extended.long_path = Some(c_text(data(from, size)?));
            }
            EntryType::GNULongLink => {
                once(extended.long_link.is_some())?;
                extended.long_link = Some(c_text(data(from, size)?));
            }
            EntryType::XHeader => {
                once(extended.pax.is_some())?;
                extended.pax = Some(records(&data(from, size)?)?);
            }
            EntryType::XGlobalHeader => {
                let pax = records(&data(from, size)?)?;
                if pax.path.is_some() || pax.link.is_some() || pax.size.is_some() {
                    return Err(hostile("a PAX header that names all files"));
                }
            }
            kind => {
                let extended = std::mem::take(&mut extended);
                let left = entry(&block, kind, size, &extended)?;
                skip(from, left.checked_next_multiple_of(BLOCK as u64).unwrap_or(u64::MAX))?;
            }
        }
    }
}

/// Checks an entry; answers how many bytes of content follow.
fn entry(block: &[u8; BLOCK], kind: EntryType, size: u64, extended: &Extended) -> io::Result<u64> {
    let is_directory = kind == EntryType::Directory;
    let pax = extended.pax.as_ref();
    let given = |long: &Option<Vec<u8>>, pax: Option<&Vec<u8>>| -> Vec<Vec<u8>> {
        long.iter().chain(pax).filter(|text| !text.is_empty()).cloned().collect()
    };
    let mut paths = given(&extended.long_path, pax.and_then(|pax| pax.path.as_ref()));
    paths.extend(header_paths(block, !paths.is_empty()));
    for path in &paths {
        check_path(path, is_directory)?;
    }
    let path = paths.first().map(Vec::as_slice).unwrap_or_default();
    if kind == EntryType::Link {
        let mut links = given(&extended.long_link, pax.and_then(|pax| pax.link.as_ref()));
        let link = c_text(block[LINK_NAME].to_vec());
        if !links.is_empty() {
            links.extend(Some(whole_parts(link)).filter(|link| !link.is_empty()));
        } else {
            links.push(link);
        }
        for link in &links {
            check_link(path, link)?;
        }
    }
    if kind == EntryType::GNUSparse {
        return Err(hostile(format!("{}: old sparse format", shown(path))));
    }
    let size = pax.and_then(|pax| pax.size).unwrap_or(size);
    // A directory in old archives: to some readers, nothing follows it.
    let old_directory = block[TYPE] == 0 && paths.iter().any(|path| path.ends_with(b"/"));
    if old_directory && size > 0 {
        return Err(hostile(format!("{}: a directory with content", shown(path))));
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
    Ok(if has_data { size } else { 0 })
}

/// The paths that readers could take from a header: without prefix, with that of POSIX, with the shorter one of star;
/// some look for one in headers of GNU as well. `overridden`: another header has the whole path.
fn header_paths(block: &[u8; BLOCK], overridden: bool) -> Vec<Vec<u8>> {
    let name = c_text(block[NAME].to_vec());
    let name = if overridden { whole_parts(name) } else { name };
    let prefixes = [PREFIX, PREFIX_OF_STAR].map(|place| c_text(block[place].to_vec()));
    let prefixed = prefixes.iter().filter(|prefix| !prefix.is_empty());
    let prefixed = prefixed.map(|prefix| [prefix.as_slice(), b"/", &name].concat());
    std::iter::once(name.clone()).chain(prefixed).collect()
}

/// A name that fills its field may be cut: without its last part.
fn whole_parts(mut name: Vec<u8>) -> Vec<u8> {
    if name.len() == NAME.len() {
        let end = name.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        name.truncate(end);
    }
    name
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
fn records(bytes: &[u8]) -> io::Result<Pax> {
    let bad = || hostile("a PAX header that makes no sense");
    let mut pax = Pax::default();
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
        let twice = match key {
            b"path" => pax.path.replace(value.to_vec()).is_some(),
            b"linkpath" => pax.link.replace(value.to_vec()).is_some(),
            b"size" => {
                let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                pax.size.replace(size.ok_or_else(bad)?).is_some()
            }
            // The file has another name and another size than its headers say.
            _ if key.starts_with(b"GNU.sparse.") => {
                return Err(hostile("a file in a sparse format"));
            }
            _ => false,
        };
        if twice {
            return Err(bad());
        }
    }
    Ok(pax)
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
    fn whatever_a_reader_takes_for_the_name() {
        let pax = |text: &str| {
            let digits = (1..4).find(|n| (text.len() + 2 + n).to_string().len() == *n).unwrap();
            let record = format!("{} {text}\n", text.len() + 2 + digits);
            entry(b"x", EntryType::XHeader, b"", record.as_bytes())
        };
        let long = |path: &[u8]| entry(b"x", EntryType::GNULongName, b"", path);
        let after = |about: &[Vec<u8>], path: &[u8]| refusal([about.concat(), file(path)].concat());
        assert!(after(&[pax("GNU.sparse.major=1")], b"fine").contains("sparse"));
        assert!(after(&[pax("GNU.sparse.name=../x")], b"fine").contains("sparse"));
        assert!(after(&[pax("path=")], b"../x").contains("leaves the image"));
        assert!(after(&[long(b"\0")], b"../x").contains("leaves the image"));
        assert!(after(&[long(b"a/../../x\0"), pax("path=ok")], b"fine").contains("leaves"));
        assert!(after(&[pax("path=.."), long(b"ok\0")], b"fine").contains("leaves"));
        assert!(after(&[pax("path=ok")], b"/abs").contains("absolute"));
        assert!(after(&[pax("size=9"), pax("path=ok")], b"fine").contains("two headers"));
        assert!(after(&[long(b"a\0"), long(b"a\0")], b"fine").contains("two headers"));
        let mut all = pax("path=ok");
        all = changed(all, |header| header[TYPE] = b'g');
        assert!(after(&[all], b"fine").contains("all files"));
        let hard = entry(b"hard", EntryType::Link, b"../../x", b"");
        for about in ["linkpath=ok", "linkpath="] {
            assert!(refusal([pax(about), hard.clone()].concat()).contains("a link to"));
        }
        for prefix in [PREFIX, PREFIX_OF_STAR] {
            let mut path = vec![b'a'; prefix.len()];
            path[prefix.len() - 3..].copy_from_slice(b"/..");
            let with = |header: &mut [u8]| header[prefix.clone()].copy_from_slice(&path);
            assert!(refusal(changed(file(b"fine"), with)).contains("leaves the image"));
        }
        let old = changed(file(b"directory/"), |header| header[TYPE] = 0);
        assert!(refusal(old).contains("a directory with content"));

        // What tools write for long names: the beginning, wherever it is cut.
        let mut cut = vec![b'a'; 100];
        cut[97..].copy_from_slice(b"/..");
        let whole = [cut.as_slice(), b"hidden/file\0"].concat();
        assert_eq!(checked([long(&whole), file(&cut)].concat(), 1 << 20), Ok(()));
        let comment = changed(pax("comment=x"), |header| header[TYPE] = b'g');
        assert_eq!(checked([comment, file(b"fine")].concat(), 1 << 20), Ok(()));
        let times =
            |header: &mut [u8]| header[PREFIX.start..][..11].copy_from_slice(b"14213376000");
        assert_eq!(checked(changed(file(b"fine"), times), 1 << 20), Ok(()));
    }

    /// An archive with another first header.
    fn changed(mut tar: Vec<u8>, change: impl Fn(&mut [u8])) -> Vec<u8> {
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(&tar[..BLOCK]);
        change(header.as_mut_bytes());
        header.set_cksum();
        tar[..BLOCK].copy_from_slice(header.as_bytes());
        tar
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
