//! Reading the spool from a number on.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use super::{Entry, SharedSpool, path_of};

/// A position in the spool.
pub struct Cursor {
    next: u64,
    reading: Option<(u64, BufReader<File>)>,
}

impl Cursor {
    /// Before the line of this number.
    pub fn new(next: u64) -> Self {
        Self { next, reading: None }
    }

    /// The lines that follow, at most `limit`; none when there are none yet.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub fn read(&mut self, spool: &SharedSpool, limit: usize) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut record = Vec::new();
        while entries.len() < limit {
            // Only what is known to be wholly written is read.
            let (end, segment) = {
                let spool = spool.lock();
                let at = spool.segments.partition_point(|segment| segment.first <= self.next);
                let segment = at.checked_sub(1).and_then(|at| spool.segments.get(at));
                (spool.next, segment.map(|segment| (segment.first, spool.dir.clone())))
            };
            let Some((first, dir)) = segment.filter(|_| self.next < end) else { break };
            if self.reading.as_ref().is_none_or(|(current, _)| *current != first) {
                let file = File::open(path_of(&dir, first))?;
                self.reading = Some((first, BufReader::with_capacity(64 * 1024, file)));
            }
            let Some((_, reader)) = &mut self.reading else { break };
            while entries.len() < limit && self.next < end {
                record.clear();
                if reader.read_until(b'\n', &mut record)? == 0 {
                    break;
                }
                let text = String::from_utf8_lossy(record.strip_suffix(b"\n").unwrap_or(&record));
                let Some(entry) = Entry::parse(&text) else {
                    return Err(io::Error::other("a record of the spool cannot be read"));
                };
                if entry.seq >= self.next {
                    self.next = entry.seq + 1;
                    entries.push(entry);
                }
            }
            if self.next < end && entries.len() < limit {
                // The end of this segment: the next one must begin here.
                let spool = spool.lock();
                if !spool.segments.iter().any(|segment| segment.first == self.next) {
                    return Err(io::Error::other("a line of the spool is missing"));
                }
            }
        }
        Ok(entries)
    }
}
