//! Attributes of files as NFSv4 tells them: a bit map and the values of its bits (RFC 7530 section 5).

use bytes::BufMut;

use super::LEASE;
use super::object::Object;
use super::status::Status;
use crate::handle::HandleKey;
use crate::nfs::{NAME_MAX, TRANSFER_MAX};
use crate::xdr::{self, Malformed, Reader};

/// Words of a bit map that are looked at: attributes 0 to 95.
const WORDS: usize = 3;
/// Words of a bit map that are taken from a call.
const WORDS_READ: u32 = 16;

/// A set of attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bitmap([u32; WORDS]);

impl Bitmap {
    pub(crate) const fn of(attributes: &[u32]) -> Self {
        let mut words = [0; WORDS];
        let mut at = 0;
        while at < attributes.len() {
            words[attributes[at] as usize / 32] |= 1 << (attributes[at] % 32);
            at += 1;
        }
        Self(words)
    }

    /// Takes a bit map; bits of attributes that we never heard of are dropped.
    pub(crate) fn read(args: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = args.u32()?;
        if count > WORDS_READ {
            return Err(Malformed);
        }
        let mut words = [0; WORDS];
        for at in 0..count as usize {
            let word = args.u32()?;
            if let Some(place) = words.get_mut(at) {
                *place = word;
            }
        }
        Ok(Self(words))
    }

    pub(crate) fn put(self, out: &mut Vec<u8>) {
        let count = self.0.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        out.put_u32(count as u32);
        for word in &self.0[..count] {
            out.put_u32(*word);
        }
    }

    fn and(self, other: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] & other.0[at]))
    }

    fn numbers(self) -> impl Iterator<Item = u32> {
        (0..WORDS as u32 * 32).filter(move |n| self.0[*n as usize / 32] & 1 << (n % 32) != 0)
    }
}

/// Numbers of the attributes (RFC 7530 section 5.6 and 5.7, RFC 8881 section 5.6).
mod number {
    pub(super) const SUPPORTED_ATTRS: u32 = 0;
    pub(super) const TYPE: u32 = 1;
    pub(super) const FH_EXPIRE_TYPE: u32 = 2;
    pub(super) const CHANGE: u32 = 3;
    pub(super) const SIZE: u32 = 4;
    pub(super) const LINK_SUPPORT: u32 = 5;
    pub(super) const SYMLINK_SUPPORT: u32 = 6;
    pub(super) const NAMED_ATTR: u32 = 7;
    pub(super) const FSID: u32 = 8;
    pub(super) const UNIQUE_HANDLES: u32 = 9;
    pub(super) const LEASE_TIME: u32 = 10;
    pub(super) const RDATTR_ERROR: u32 = 11;
    pub(super) const CANSETTIME: u32 = 15;
    pub(super) const CASE_INSENSITIVE: u32 = 16;
    pub(super) const CASE_PRESERVING: u32 = 17;
    pub(super) const CHOWN_RESTRICTED: u32 = 18;
    pub(super) const FILEHANDLE: u32 = 19;
    pub(super) const FILEID: u32 = 20;
    pub(super) const FILES_AVAIL: u32 = 21;
    pub(super) const FILES_FREE: u32 = 22;
    pub(super) const FILES_TOTAL: u32 = 23;
    pub(super) const HOMOGENEOUS: u32 = 26;
    pub(super) const MAXFILESIZE: u32 = 27;
    pub(super) const MAXLINK: u32 = 28;
    pub(super) const MAXNAME: u32 = 29;
    pub(super) const MAXREAD: u32 = 30;
    pub(super) const MAXWRITE: u32 = 31;
    pub(super) const MODE: u32 = 33;
    pub(super) const NO_TRUNC: u32 = 34;
    pub(super) const NUMLINKS: u32 = 35;
    pub(super) const OWNER: u32 = 36;
    pub(super) const OWNER_GROUP: u32 = 37;
    pub(super) const RAWDEV: u32 = 41;
    pub(super) const SPACE_AVAIL: u32 = 42;
    pub(super) const SPACE_FREE: u32 = 43;
    pub(super) const SPACE_TOTAL: u32 = 44;
    pub(super) const SPACE_USED: u32 = 45;
    pub(super) const TIME_ACCESS: u32 = 47;
    pub(super) const TIME_DELTA: u32 = 51;
    pub(super) const TIME_METADATA: u32 = 52;
    pub(super) const TIME_MODIFY: u32 = 53;
    pub(super) const MOUNTED_ON_FILEID: u32 = 55;
    pub(super) const SUPPATTR_EXCLCREAT: u32 = 75;
}
use number::*;

/// What can be asked in minor version 0. There is no `acl`: the mode says all, and a client that is told of
/// access lists copies them to file systems that have none (overlays on such a root then refuse to write).
const SUPPORTED: Bitmap = Bitmap::of(&[
    SUPPORTED_ATTRS,
    TYPE,
    FH_EXPIRE_TYPE,
    CHANGE,
    SIZE,
    LINK_SUPPORT,
    SYMLINK_SUPPORT,
    NAMED_ATTR,
    FSID,
    UNIQUE_HANDLES,
    LEASE_TIME,
    RDATTR_ERROR,
    CANSETTIME,
    CASE_INSENSITIVE,
    CASE_PRESERVING,
    CHOWN_RESTRICTED,
    FILEHANDLE,
    FILEID,
    FILES_AVAIL,
    FILES_FREE,
    FILES_TOTAL,
    HOMOGENEOUS,
    MAXFILESIZE,
    MAXLINK,
    MAXNAME,
    MAXREAD,
    MAXWRITE,
    MODE,
    NO_TRUNC,
    NUMLINKS,
    OWNER,
    OWNER_GROUP,
    RAWDEV,
    SPACE_AVAIL,
    SPACE_FREE,
    SPACE_TOTAL,
    SPACE_USED,
    TIME_ACCESS,
    TIME_DELTA,
    TIME_METADATA,
    TIME_MODIFY,
    MOUNTED_ON_FILEID,
]);

/// What can be asked in a minor version.
fn supported(minor: u32) -> Bitmap {
    let mut all = SUPPORTED;
    if minor > 0 {
        all.0[2] |= Bitmap::of(&[SUPPATTR_EXCLCREAT]).0[2];
    }
    all
}

/// Seconds and nanoseconds.
pub(super) type Time = (i64, u32);

/// What is known about one file or folder.
pub(super) struct Facts {
    /// `nfs_ftype4`: the numbers are those of version 3.
    pub(super) kind: u32,
    pub(super) mode: u32,
    pub(super) links: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) used: u64,
    pub(super) device: (u32, u32),
    pub(super) fsid: (u64, u64),
    pub(super) file_id: u64,
    /// File id of the folder that an image root hides in the tree of exports.
    pub(super) mounted_on: u64,
    pub(super) accessed: Time,
    pub(super) modified: Time,
    pub(super) changed: Time,
    pub(super) change: u64,
    /// Files and bytes of its file system.
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// Appends a `fattr4`: what was asked and is known.
pub(crate) fn put(
    out: &mut Vec<u8>,
    object: &Object,
    key: &HandleKey,
    minor: u32,
    asked: Bitmap,
) -> Result<(), Status> {
    let told = asked.and(supported(minor));
    told.put(out);
    let length = out.len();
    out.put_u32(0);
    let facts = object.facts();
    for attribute in told.numbers() {
        put_value(out, attribute, object, &facts, key, minor)?;
    }
    let len = out.len() - length - 4;
    xdr::patch_u32(out, length, len as u32);
    xdr::put_padding(out, len);
    Ok(())
}

/// VERIFY and NVERIFY: whether the attributes in the call are those of the file.
pub(crate) fn same(
    args: &mut Reader<'_>,
    object: &Object,
    key: &HandleKey,
    minor: u32,
) -> Result<bool, Status> {
    /// Longest value list: it holds an owner, a group and a handle.
    const VALUES_MAX: usize = 4096;
    let asked = Bitmap::read(args)?;
    let theirs = args.opaque(VALUES_MAX)?;
    if asked.and(supported(minor)) != asked {
        return Err(Status::ATTRNOTSUPP);
    }
    if asked.numbers().any(|attribute| attribute == RDATTR_ERROR) {
        return Err(Status::INVAL);
    }
    let (mut ours, facts) = (Vec::new(), object.facts());
    for attribute in asked.numbers() {
        put_value(&mut ours, attribute, object, &facts, key, minor)?;
    }
    Ok(ours == theirs)
}

fn put_value(
    out: &mut Vec<u8>,
    attribute: u32,
    object: &Object,
    facts: &Facts,
    key: &HandleKey,
    minor: u32,
) -> Result<(), Status> {
    /// File handles never expire (RFC 7530 section 4.2.3).
    const FH4_PERSISTENT: u32 = 0;
    match attribute {
        SUPPORTED_ATTRS => supported(minor).put(out),
        TYPE => out.put_u32(facts.kind),
        FH_EXPIRE_TYPE => out.put_u32(FH4_PERSISTENT),
        CHANGE => out.put_u64(facts.change),
        SIZE => out.put_u64(facts.size),
        LINK_SUPPORT | SYMLINK_SUPPORT | UNIQUE_HANDLES | CASE_PRESERVING | CHOWN_RESTRICTED
        | HOMOGENEOUS | NO_TRUNC => out.put_u32(1),
        NAMED_ATTR | CANSETTIME | CASE_INSENSITIVE => out.put_u32(0),
        FSID => {
            out.put_u64(facts.fsid.0);
            out.put_u64(facts.fsid.1);
        }
        LEASE_TIME => out.put_u32(LEASE.as_secs() as u32),
        RDATTR_ERROR => out.put_u32(Status::OK.0),
        FILEHANDLE => xdr::put_opaque(out, &object.handle(key)?),
        FILEID => out.put_u64(facts.file_id),
        FILES_AVAIL | FILES_FREE | SPACE_AVAIL | SPACE_FREE => out.put_u64(0),
        FILES_TOTAL => out.put_u64(facts.files),
        SPACE_TOTAL => out.put_u64(facts.bytes),
        MAXFILESIZE => out.put_u64(i64::MAX as u64),
        MAXLINK => out.put_u32(32_000),
        MAXNAME => out.put_u32(NAME_MAX as u32),
        MAXREAD | MAXWRITE => out.put_u64(TRANSFER_MAX.into()),
        MODE => out.put_u32(facts.mode),
        NUMLINKS => out.put_u32(facts.links),
        OWNER => put_number(out, facts.uid),
        OWNER_GROUP => put_number(out, facts.gid),
        RAWDEV => {
            out.put_u32(facts.device.0);
            out.put_u32(facts.device.1);
        }
        SPACE_USED => out.put_u64(facts.used),
        TIME_ACCESS => put_time(out, facts.accessed),
        TIME_DELTA => put_time(out, (0, 1)),
        TIME_METADATA => put_time(out, facts.changed),
        TIME_MODIFY => put_time(out, facts.modified),
        MOUNTED_ON_FILEID => out.put_u64(facts.mounted_on),
        // Nothing can be made here.
        SUPPATTR_EXCLCREAT => Bitmap::default().put(out),
        // Only supported attributes come here.
        _ => return Err(Status::SERVERFAULT),
    }
    Ok(())
}

/// A user or group as a number in digits, as clients with AUTH_SYS expect (RFC 7530 section 5.9).
fn put_number(out: &mut Vec<u8>, id: u32) {
    let mut digits = [0; 10];
    let mut at = digits.len();
    let mut rest = id;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    xdr::put_opaque(out, &digits[at..]);
}

fn put_time(out: &mut Vec<u8>, (seconds, nanoseconds): Time) {
    out.put_i64(seconds);
    out.put_u32(nanoseconds);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn bit_maps_go_and_come_back() {
        for (map, wire) in [
            (Bitmap::default(), vec![0]),
            (Bitmap::of(&[0, 31]), vec![1, 0x8000_0001]),
            (Bitmap::of(&[33]), vec![2, 0, 2]),
            (Bitmap::of(&[75]), vec![3, 0, 0, 1 << 11]),
        ] {
            let mut out = Vec::new();
            map.put(&mut out);
            let words: Vec<u8> = wire.iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
            assert_eq!(out, words);
            assert_eq!(Bitmap::read(&mut Reader::new(&out)).unwrap(), map);
        }
    }

    #[test]
    fn long_bit_maps_are_read_and_endless_ones_refused() {
        let mut bytes = 5_u32.to_be_bytes().to_vec();
        bytes.extend([0xff; 20]);
        let mut reader = Reader::new(&bytes);
        assert_eq!(Bitmap::read(&mut reader).unwrap().numbers().count(), 96);
        assert_eq!(reader.remaining(), 0);
        assert_eq!(Bitmap::read(&mut Reader::new(&[0xff; 400])), Err(Malformed));
    }

    #[test]
    fn owners_are_numbers() {
        for id in [0, 7, 10, 1000, 65_534, u32::MAX] {
            let mut out = Vec::new();
            put_number(&mut out, id);
            assert_eq!(Reader::new(&out).opaque(10).unwrap(), id.to_string().as_bytes());
        }
    }
}
