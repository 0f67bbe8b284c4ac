//! The most recent committed records, shared by all live readers.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::catalogue::StreamId;
use crate::record::Timestamp;

/// A committed record.
#[derive(Debug)]
pub(crate) struct Committed {
    pub seq: u64,
    pub stream: StreamId,
    pub timestamp: Timestamp,
    pub line: Arc<str>,
}

impl Committed {
    fn weight(&self) -> usize {
        self.line.len() + 128
    }
}

/// Holds every committed record with a number above `floor`, bounded in bytes.
#[derive(Debug)]
pub(crate) struct Ring {
    records: VecDeque<Arc<Committed>>,
    floor: u64,
    bytes: usize,
    limit: usize,
}

impl Ring {
    /// An empty ring; everything up to `floor` is only in the file.
    pub fn new(floor: u64, limit: usize) -> Self {
        Self { records: VecDeque::new(), floor, bytes: 0, limit }
    }

    pub fn extend(&mut self, records: impl IntoIterator<Item = Committed>) {
        for record in records {
            self.bytes += record.weight();
            self.records.push_back(Arc::new(record));
        }
        while self.bytes > self.limit {
            let Some(oldest) = self.records.pop_front() else { break };
            self.bytes -= oldest.weight();
            self.floor = oldest.seq;
        }
    }

    /// Records after number `after`, no more once there are so many or so many bytes of text; `None` if some of
    /// them have left the ring.
    pub fn after(&self, after: u64, most: usize, bytes: usize) -> Option<Vec<Arc<Committed>>> {
        if after < self.floor {
            return None;
        }
        let start = self.records.partition_point(|record| record.seq <= after);
        let mut taken = 0;
        let page = self.records.range(start..).take(most).take_while(|record| {
            let room = taken < bytes;
            taken += record.line.len();
            room
        });
        Some(page.cloned().collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn record(seq: u64) -> Committed {
        Committed { seq, stream: 1, timestamp: Timestamp(0), line: "".into() }
    }

    fn seqs(ring: &Ring, after: u64, most: usize, bytes: usize) -> Vec<u64> {
        ring.after(after, most, bytes).unwrap().iter().map(|record| record.seq).collect()
    }

    #[test]
    fn what_left_the_ring_is_told() {
        let mut ring = Ring::new(10, 128 * 3);
        assert!(ring.after(9, 5, 9).is_none());
        assert!(ring.after(10, 5, 9).unwrap().is_empty());
        ring.extend((11..=15).map(record));
        assert!(ring.after(11, 5, 9).is_none());
        assert_eq!(seqs(&ring, 12, 2, 9), [13, 14]);
    }

    #[test]
    fn a_page_is_bounded_in_bytes_and_never_empty() {
        let mut ring = Ring::new(0, 1 << 20);
        ring.extend((1..=5).map(|seq| Committed { line: "x".repeat(100).into(), ..record(seq) }));
        assert_eq!(seqs(&ring, 0, 9, 250), [1, 2, 3]);
        assert_eq!(seqs(&ring, 3, 9, 1), [4]);
    }
}
