//! Lines that are not yet known to be safe, on a file system in memory: they outlive the daemon, not the node.
//!
//! A folder with `session` (the name of this spool, never used again), `acked` (the number of the last safe line)
//! and segments: text files of records `<number> TAB <date> TAB <stream> TAB <text>`, named by their first number.

mod cursor;
mod shared;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use walt_proto::spooled::Date;

pub use cursor::Cursor;
pub use shared::SharedSpool;

/// A segment is not grown past this.
const SEGMENT_BYTES: u64 = 256 * 1024;

/// Streams whose lost lines are counted apart; those of further streams are counted together.
const LOST_STREAMS: usize = 256;

/// Where lost lines of too many streams are told.
const DAEMON_STREAM: &str = "walt-logs-daemon";

/// A line of the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number: one more than the line before it.
    pub seq: u64,
    /// When.
    pub date: Date,
    /// Its stream, without control characters.
    pub stream: String,
    /// Text, without line break.
    pub text: String,
}

impl Entry {
    fn to_record(&self) -> String {
        format!("{}\t{}\t{}\t{}\n", self.seq, self.date.to_wire(), self.stream, self.text)
    }

    /// Reads a record, without its line break.
    pub fn parse(record: &str) -> Option<Self> {
        let mut fields = record.splitn(4, '\t');
        let seq = fields.next()?.parse().ok()?;
        let date = Date::parse(fields.next()?)?;
        let stream = fields.next()?.to_owned();
        Some(Self { seq, date, stream, text: fields.next()?.to_owned() })
    }
}

struct Segment {
    first: u64,
    bytes: u64,
}

/// The spool, used by one process at a time.
pub struct Spool {
    dir: PathBuf,
    limit: u64,
    session: String,
    segments: VecDeque<Segment>,
    /// The last segment, written at its end.
    tail: File,
    acked_file: File,
    acked: u64,
    next: u64,
    bytes: u64,
    /// Lines that found no room and are not yet told, by stream.
    lost: BTreeMap<String, u64>,
    /// Held as long as the spool is open.
    _lock: File,
}

impl Spool {
    /// Opens the spool of a folder, or makes a new one; at most `limit` bytes of lines are kept.
    ///
    /// # Errors
    /// The folder cannot be used, or another process uses it.
    pub fn open(dir: &Path, limit: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let lock = writable(&dir.join("lock"))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(
            |_| io::Error::other(format!("{} is used by another daemon", dir.display())),
        )?;
        let session = fs::read_to_string(dir.join("session")).unwrap_or_default();
        let session = session.trim().to_owned();
        let acked = fs::read_to_string(dir.join("acked")).ok();
        let acked = acked.and_then(|text| text.trim().parse::<u64>().ok());
        let Some(acked) = acked.filter(|_| walt_proto::spooled::is_session(&session)) else {
            return Self::create(dir, limit, lock);
        };
        let mut segments = VecDeque::new();
        for first in firsts(dir)? {
            let bytes = fs::metadata(path_of(dir, first))?.len();
            segments.push_back(Segment { first, bytes });
        }
        let mut next = acked + 1;
        if let Some(last) = segments.back_mut() {
            let (whole, end) = recover(&path_of(dir, last.first), last.first)?;
            last.bytes = whole;
            next = next.max(end);
        } else {
            segments.push_back(Segment { first: next, bytes: 0 });
        }
        let first = segments.back().map_or(next, |segment| segment.first);
        let mut spool = Self {
            tail: appendable(&path_of(dir, first))?,
            acked_file: writable(&dir.join("acked"))?,
            dir: dir.to_owned(),
            limit,
            session,
            bytes: segments.iter().map(|segment| segment.bytes).sum(),
            segments,
            acked,
            next,
            lost: BTreeMap::new(),
            _lock: lock,
        };
        spool.drop_safe_segments();
        Ok(spool)
    }

    fn create(dir: &Path, limit: u64, lock: File) -> io::Result<Self> {
        for first in firsts(dir)? {
            fs::remove_file(path_of(dir, first))?;
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let unique = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        let session = format!("{}_{}", boot.trim(), &unique.trim()[..8]);
        let acked_file = writable(&dir.join("acked"))?;
        acked_file.write_all_at(acked_text(0).as_bytes(), 0)?;
        // The name comes last, and at once: without it there is no spool here.
        fs::write(dir.join("session.new"), &session)?;
        fs::rename(dir.join("session.new"), dir.join("session"))?;
        Ok(Self {
            tail: appendable(&path_of(dir, 1))?,
            acked_file,
            dir: dir.to_owned(),
            limit,
            session,
            segments: VecDeque::from([Segment { first: 1, bytes: 0 }]),
            acked: 0,
            next: 1,
            bytes: 0,
            lost: BTreeMap::new(),
            _lock: lock,
        })
    }

    /// Keeps a line; `false` when there is no room.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn append(&mut self, stream: &str, date: Date, text: &str) -> io::Result<bool> {
        let entry =
            Entry { seq: self.next, date, stream: stream.to_owned(), text: text.to_owned() };
        let record = entry.to_record();
        let length = record.len() as u64;
        if self.bytes + length > self.limit {
            return Ok(false);
        }
        let full = self.segments.back().is_some_and(|tail| tail.bytes >= SEGMENT_BYTES);
        if full {
            self.tail = appendable(&path_of(&self.dir, self.next))?;
            self.segments.push_back(Segment { first: self.next, bytes: 0 });
        }
        let written = self.tail.write_all(record.as_bytes());
        if let (Err(_), Some(tail)) = (&written, self.segments.back()) {
            // The next record must not be glued to a part of this one.
            self.tail.set_len(tail.bytes)?;
        }
        written?;
        if let Some(tail) = self.segments.back_mut() {
            tail.bytes += length;
        }
        self.bytes += length;
        self.next += 1;
        Ok(true)
    }

    /// All lines up to this number are safe: their room is free again.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn acknowledge(&mut self, seq: u64) -> io::Result<()> {
        let seq = seq.min(self.next - 1);
        if seq > self.acked {
            self.acked = seq;
            self.acked_file.write_all_at(acked_text(seq).as_bytes(), 0)?;
            self.drop_safe_segments();
        }
        Ok(())
    }

    fn drop_safe_segments(&mut self) {
        while self.segments.get(1).is_some_and(|second| second.first <= self.acked + 1) {
            let Some(safe) = self.segments.pop_front() else { return };
            self.bytes -= safe.bytes;
            // A segment that stays is found again at the next start.
            let _ = fs::remove_file(path_of(&self.dir, safe.first));
        }
        // The last segment is emptied by starting another: readers may be in it.
        let Some(tail) = self.segments.front() else { return };
        if self.segments.len() > 1 || self.acked + 1 < self.next || tail.bytes < SEGMENT_BYTES {
            return;
        }
        if let Ok(file) = appendable(&path_of(&self.dir, self.next)) {
            let _ = fs::remove_file(path_of(&self.dir, tail.first));
            self.tail = file;
            self.segments = VecDeque::from([Segment { first: self.next, bytes: 0 }]);
            self.bytes = 0;
        }
    }

    /// Counts a line that found no room.
    fn count_lost(&mut self, stream: &str) {
        let known = self.lost.contains_key(stream) || self.lost.len() < LOST_STREAMS;
        let stream = if known { stream } else { DAEMON_STREAM };
        *self.lost.entry(stream.to_owned()).or_default() += 1;
    }

    /// Tells in each stream how many of its lines were lost, once there is room; `false` while there is none.
    fn tell_lost(&mut self) -> io::Result<bool> {
        // Not as soon as a note fits: there would be one for each lost line.
        if !self.lost.is_empty() && self.bytes + self.limit / 16 > self.limit {
            return Ok(false);
        }
        while let Some((stream, count)) = self.lost.first_key_value() {
            let (stream, count) = (stream.clone(), *count);
            let note = format!("<{count} lines lost: the spool of the node was full>");
            if !self.append(&stream, Date::Arrival(super::clock::now()), &note)? {
                return Ok(false);
            }
            self.lost.remove(&stream);
        }
        Ok(true)
    }
}

fn writable(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn appendable(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Always the same length: it is written over.
fn acked_text(seq: u64) -> String {
    format!("{seq:020}\n")
}

fn path_of(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("lines-{first:020}"))
}

/// First numbers of the segments of a folder, in order.
fn firsts(dir: &Path) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for file in fs::read_dir(dir)? {
        let name = file?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("lines-"));
        firsts.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// Cuts what a crash left half-written at the end of a segment. Gives its length and the number after its last line.
fn recover(path: &Path, first: u64) -> io::Result<(u64, u64)> {
    let content = fs::read(path)?;
    let (mut whole, mut next) = (0, first);
    for record in content.split_inclusive(|byte| *byte == b'\n') {
        let entry = record
            .strip_suffix(b"\n")
            .and_then(|record| Entry::parse(&String::from_utf8_lossy(record)));
        let Some(entry) = entry.filter(|entry| entry.seq == next) else { break };
        whole += record.len() as u64;
        next = entry.seq + 1;
    }
    if whole < content.len() as u64 {
        OpenOptions::new().write(true).open(path)?.set_len(whole)?;
    }
    Ok((whole, next))
}
