//! A layer being written: a tar in the POSIX format, its size bounded by the disk.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use super::ChangesError;
use super::entry::{BLOCK, Entry, padding};

/// Between two looks at the disk.
const LOOK: u64 = 16 << 20;
/// What is left free for others: half a gibibyte.
const RESERVE: u64 = 512 << 20;

/// A complete layer.
#[derive(Debug)]
pub struct Layer {
    /// The tar.
    pub path: PathBuf,
    /// sha256 of the tar, hexadecimal.
    pub digest: String,
    /// Its bytes.
    pub size: u64,
}

/// Writes a layer. Blocks.
#[derive(Debug)]
pub struct LayerWriter {
    path: PathBuf,
    file: BufWriter<File>,
    hash: Sha256,
    size: u64,
    looked: u64,
}

impl LayerWriter {
    /// A new layer in this file.
    ///
    /// # Errors
    /// The file cannot be made; the disk is full.
    pub fn create(path: &Path) -> Result<Self, ChangesError> {
        let file = File::create_new(path).map_err(ChangesError::Write)?;
        let mut layer = Self {
            path: path.to_owned(),
            file: BufWriter::with_capacity(256 << 10, file),
            hash: Sha256::new(),
            size: 0,
            looked: 0,
        };
        layer.look()?;
        Ok(layer)
    }

    /// The layer is unpacked beside what is written here: it needs its size once more.
    fn look(&mut self) -> Result<(), ChangesError> {
        self.looked = self.size;
        let disk = rustix::fs::fstatvfs(self.file.get_ref().as_fd())
            .map_err(|error| ChangesError::Write(error.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < self.size.saturating_add(RESERVE) {
            return Err(ChangesError::TooLarge(format!(
                "the disk of the server has {} MiB left, which is not enough",
                free >> 20
            )));
        }
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), ChangesError> {
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(ChangesError::Write)?;
        self.size += bytes.len() as u64;
        if self.size - self.looked >= LOOK { self.look() } else { Ok(()) }
    }

    fn zeros(&mut self, count: u64) -> Result<(), ChangesError> {
        let zeros = [0; 2 * BLOCK];
        let count = usize::try_from(count).unwrap_or(0).min(zeros.len());
        self.bytes(&zeros[..count])
    }

    /// Adds a member with `entry.size` bytes of `content`.
    pub(super) fn add(
        &mut self,
        entry: &Entry,
        content: &mut impl Read,
    ) -> Result<(), ChangesError> {
        let extended = extended(entry);
        if !extended.is_empty() {
            let mut header = Header::new_ustar();
            put_name(&mut header, b"PaxHeaders/walt", b"");
            header.set_entry_type(EntryType::XHeader);
            header.set_mode(0o644);
            header.set_size(extended.len() as u64);
            header.set_cksum();
            self.bytes(header.as_bytes())?;
            self.bytes(&extended)?;
            self.zeros(padding(extended.len() as u64))?;
        }
        let mut header = Header::new_ustar();
        put_name(&mut header, &entry.path, &entry.link);
        header.set_entry_type(EntryType::new(entry.kind));
        header.set_mode(entry.mode);
        header.set_uid(entry.uid.min(MAX_ID));
        header.set_gid(entry.gid.min(MAX_ID));
        header.set_mtime(u64::try_from(entry.mtime.0).unwrap_or(0).min(MAX_SIZE));
        header.set_size(entry.size.min(MAX_SIZE));
        header.set_cksum();
        self.bytes(header.as_bytes())?;
        let mut left = entry.size;
        let mut chunk = vec![0; 128 << 10];
        while left > 0 {
            let want = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match content.read(&mut chunk[..want]).map_err(ChangesError::Read)? {
                0 => return Err(ChangesError::Read(std::io::ErrorKind::UnexpectedEof.into())),
                count => {
                    self.bytes(&chunk[..count])?;
                    left -= count as u64;
                }
            }
        }
        self.zeros(padding(entry.size))
    }

    /// Ends the layer; it is on the disk then.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub fn finish(mut self) -> Result<Layer, ChangesError> {
        self.zeros(2 * BLOCK as u64)?;
        let file = self.file.into_inner().map_err(|e| ChangesError::Write(e.into_error()))?;
        file.sync_data().map_err(ChangesError::Write)?;
        Ok(Layer { path: self.path, digest: hex::encode(self.hash.finalize()), size: self.size })
    }
}

/// Largest number of seven octal digits.
const MAX_ID: u64 = 0o7_777_777;
/// Largest number of eleven octal digits.
const MAX_SIZE: u64 = 0o77_777_777_777;

/// Names that are too long are cut: the extended header has them.
fn put_name(header: &mut Header, path: &[u8], link: &[u8]) {
    if let Some(fields) = header.as_ustar_mut() {
        let length = path.len().min(fields.name.len());
        fields.name[..length].copy_from_slice(&path[..length]);
        let length = link.len().min(fields.linkname.len());
        fields.linkname[..length].copy_from_slice(&link[..length]);
    }
}

/// The records for what does not fit in the header.
fn extended(entry: &Entry) -> Vec<u8> {
    let mut records = Vec::new();
    if entry.path.len() > 99 || !entry.path.is_ascii() {
        record(&mut records, b"path", &entry.path);
    }
    if entry.link.len() > 99 || !entry.link.is_ascii() {
        record(&mut records, b"linkpath", &entry.link);
    }
    for (key, value, most) in
        [("uid", entry.uid, MAX_ID), ("gid", entry.gid, MAX_ID), ("size", entry.size, MAX_SIZE)]
    {
        if value > most {
            record(&mut records, key.as_bytes(), value.to_string().as_bytes());
        }
    }
    let (seconds, nanoseconds) = entry.mtime;
    if nanoseconds != 0 || seconds < 0 || seconds.unsigned_abs() > MAX_SIZE {
        let (sign, seconds, nanoseconds) = match (seconds < 0, nanoseconds) {
            (true, 1..) => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds),
            (true, 0) => ("-", seconds.unsigned_abs(), 0),
            _ => ("", seconds.unsigned_abs(), nanoseconds),
        };
        let text = format!("{sign}{seconds}.{nanoseconds:09}");
        record(&mut records, b"mtime", text.as_bytes());
    }
    for (name, value) in &entry.xattrs {
        record(&mut records, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    records
}

/// `<length> <key>=<value>\n`, the length counting itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_itself() {
        let mut records = Vec::new();
        record(&mut records, b"a", b"b");
        record(&mut records, b"path", &[b'x'; 89]);
        record(&mut records, b"path", &[b'x'; 90]);
        assert!(records.starts_with(b"6 a=b\n98 path="), "{records:?}");
        let third = records.len() - 6 - 98;
        assert_eq!(third, 99);
    }
}
