//! One member of a tar, read with bounds on everything.

use std::io::Read;

use tar::Header;

use super::ChangesError;

/// Size of a block of a tar.
pub(super) const BLOCK: usize = 512;
/// Longest path, as Linux has it.
const MAX_PATH: usize = 4096;
/// Most bytes of extended headers of one member: 64 KiB of attributes, as Linux has it, and names.
const MAX_EXTENDED: u64 = 1 << 20;

/// Seconds and nanoseconds since 1970.
pub type Moment = (i64, u32);

/// One member.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    /// Below the root: no leading `/` nor `./`, no `..`; empty for the root itself.
    pub path: Vec<u8>,
    /// Type of tar (POSIX `typeflag`).
    pub kind: u8,
    /// Target of a link.
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: Moment,
    /// When anything of it changed, if the tar says so.
    pub ctime: Option<Moment>,
    pub size: u64,
    pub device: (u32, u32),
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// Value of an extended attribute.
    pub fn xattr(&self, name: &[u8]) -> Option<&[u8]> {
        self.xattrs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_slice())
    }
}

/// Reads the header of the next member, its content being left to the caller. None at the end of the archive.
pub(super) fn next(from: &mut impl Read) -> Result<Option<Entry>, ChangesError> {
    let mut entry = Entry::default();
    let (mut path, mut link, mut size) = (None, None, None);
    let (mut uid, mut gid, mut mtime) = (None, None, None);
    let mut extended = 0;
    loop {
        let mut block = [0; BLOCK];
        from.read_exact(&mut block).map_err(ChangesError::Read)?;
        if block == [0; BLOCK] {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block);
        check_sum(&block, header)?;
        let kind = header.entry_type().as_byte();
        if let b'x' | b'g' | b'L' | b'K' = kind {
            let length = number(header.entry_size())?;
            extended += length;
            if extended > MAX_EXTENDED {
                return Err(ChangesError::Malformed("an extended header is too long".into()));
            }
            let mut bytes = Vec::new();
            from.take(length).read_to_end(&mut bytes).map_err(ChangesError::Read)?;
            skip(from, padding(length))?;
            match kind {
                b'L' => path = Some(until_nul(bytes)),
                b'K' => link = Some(until_nul(bytes)),
                b'x' => {
                    for (key, value) in records(&bytes)? {
                        match key {
                            b"path" => path = Some(value.to_vec()),
                            b"linkpath" => link = Some(value.to_vec()),
                            b"size" => size = Some(decimal(value)?),
                            b"uid" => uid = Some(decimal(value)?),
                            b"gid" => gid = Some(decimal(value)?),
                            b"mtime" => mtime = Some(moment(value)?),
                            b"ctime" => entry.ctime = Some(moment(value)?),
                            _ => {
                                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                                    entry.xattrs.push((name.to_vec(), value.to_vec()));
                                }
                            }
                        }
                    }
                }
                _ => {}
            }
            continue;
        }
        entry.kind = if kind == 0 { b'0' } else { kind };
        entry.path = inside(&path.unwrap_or_else(|| header.path_bytes().into_owned()))?;
        let short = header.link_name_bytes().map(|name| name.into_owned());
        entry.link = link.or(short).unwrap_or_default();
        if entry.link.len() > MAX_PATH || entry.link.contains(&0) {
            return Err(ChangesError::Malformed("a link is too long".into()));
        }
        entry.mode = number(header.mode())? & 0o7777;
        entry.uid = uid.map_or_else(|| number(header.uid()), Ok)?;
        entry.gid = gid.map_or_else(|| number(header.gid()), Ok)?;
        let seconds = header.mtime().unwrap_or_default();
        entry.mtime = mtime.unwrap_or((i64::try_from(seconds).unwrap_or_default(), 0));
        entry.size = size.map_or_else(|| number(header.entry_size()), Ok)?;
        let part = |value: std::io::Result<Option<u32>>| value.ok().flatten().unwrap_or_default();
        entry.device = (part(header.device_major()), part(header.device_minor()));
        if !matches!(entry.kind, b'0' | b'7') {
            entry.size = 0;
        }
        return Ok(Some(entry));
    }
}

fn check_sum(block: &[u8; BLOCK], header: &Header) -> Result<(), ChangesError> {
    let sum = |byte: usize| if (148..156).contains(&byte) { 32 } else { u32::from(block[byte]) };
    let sum: u32 = (0..BLOCK).map(sum).sum();
    match header.cksum() {
        Ok(told) if told == sum => Ok(()),
        _ => Err(ChangesError::Malformed("it is not a tar archive".into())),
    }
}

/// A path of the archive, below its root.
fn inside(path: &[u8]) -> Result<Vec<u8>, ChangesError> {
    let refused = || {
        let shown = String::from_utf8_lossy(&path[..path.len().min(200)]).into_owned();
        ChangesError::Malformed(format!("the path {shown:?}"))
    };
    if path.len() > MAX_PATH || path.first() == Some(&b'/') || path.contains(&0) {
        return Err(refused());
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(refused()),
            name if name.len() > 255 => return Err(refused()),
            name => parts.push(name),
        }
    }
    Ok(parts.join(&b'/'))
}

/// The target of a hard link, as a path of the archive.
pub(super) fn hard_link_target(entry: &Entry) -> Result<Vec<u8>, ChangesError> {
    inside(&entry.link)
}

/// Key and value of a record of an extended header.
type Record<'a> = (&'a [u8], &'a [u8]);

/// Records of an extended header: `<length> <key>=<value>\n`.
fn records(mut bytes: &[u8]) -> Result<Vec<Record<'_>>, ChangesError> {
    let wrong = || ChangesError::Malformed("an extended header".into());
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let blank = bytes.iter().position(|&byte| byte == b' ').ok_or_else(wrong)?;
        let length = usize::try_from(decimal(&bytes[..blank])?).map_err(|_| wrong())?;
        let record = bytes.get(blank + 1..length).ok_or_else(wrong)?;
        let record = record.strip_suffix(b"\n").ok_or_else(wrong)?;
        let equal = record.iter().position(|&byte| byte == b'=').ok_or_else(wrong)?;
        records.push((&record[..equal], &record[equal + 1..]));
        bytes = &bytes[length..];
    }
    Ok(records)
}

fn decimal(text: &[u8]) -> Result<u64, ChangesError> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() < 20);
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| ChangesError::Malformed("a number of an extended header".into()))
}

fn moment(text: &[u8]) -> Result<Moment, ChangesError> {
    std::str::from_utf8(text)
        .ok()
        .and_then(parse_moment)
        .ok_or_else(|| ChangesError::Malformed("a time of an extended header".into()))
}

/// `<seconds>[.<fraction>]`, digits beyond nanoseconds dropped.
pub fn parse_moment(text: &str) -> Option<Moment> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) || seconds.len() > 15 {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let (whole, nanoseconds): (i64, u32) = (seconds.parse().ok()?, digits.parse().ok()?);
    Some(match (seconds.starts_with('-'), nanoseconds) {
        (true, 1..) => (whole - 1, 1_000_000_000 - nanoseconds),
        _ => (whole, nanoseconds),
    })
}

fn number<T>(value: std::io::Result<T>) -> Result<T, ChangesError> {
    value.map_err(|error| ChangesError::Malformed(error.to_string()))
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

/// Bytes after a content of so many bytes, up to the next block.
pub(super) fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

/// Reads over so many bytes; fewer are an error.
pub(super) fn skip(from: &mut impl Read, count: u64) -> Result<(), ChangesError> {
    let copied = std::io::copy(&mut from.take(count), &mut std::io::sink());
    match copied.map_err(ChangesError::Read)? {
        all if all == count => Ok(()),
        _ => Err(ChangesError::Read(std::io::ErrorKind::UnexpectedEof.into())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn moments() {
        assert_eq!(parse_moment("12"), Some((12, 0)));
        assert_eq!(parse_moment("12.5"), Some((12, 500_000_000)));
        assert_eq!(parse_moment("12.1234567891"), Some((12, 123_456_789)));
        assert_eq!(parse_moment("-2.25"), Some((-3, 750_000_000)));
        for wrong in ["", "x", "1.x", "1 2", "99999999999999999999"] {
            assert_eq!(parse_moment(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn paths_stay_inside() {
        assert_eq!(inside(b"./etc//a/./b/").unwrap(), b"etc/a/b");
        assert_eq!(inside(b"./").unwrap(), b"");
        for bad in ["/etc", "../x", "a/../../x", "a\0b", &"x".repeat(300), &"x/".repeat(3000)] {
            assert!(inside(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn extended_headers_that_lie_are_refused() {
        assert_eq!(records(b"8 a=b\xffc\n").unwrap(), [(&b"a"[..], &b"b\xffc"[..])]);
        for bad in ["9 a=b\n", "3 a=b\n", "99999999999999999999 a=b\n", "a=b", "8 abcde\n", "0 a"] {
            assert!(records(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(next(&mut &[7_u8; 512][..]).is_err());
        assert!(next(&mut &[0_u8; 100][..]).is_err());
    }
}
