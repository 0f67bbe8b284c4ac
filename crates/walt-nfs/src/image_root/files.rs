//! Reading the regular files of a tree, with a bounded number of them open.

use std::collections::HashMap;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{FileType, OFlags};
use rustix::io::{Errno, ReadWriteFlags};

use super::index::Index;
use super::walk::open_below;

/// Files kept open per root. Reading another one costs an `openat2` of some microseconds.
const OPEN_FILES: usize = 96;

/// The tree on disk and its open files.
pub(super) struct Files {
    root: OwnedFd,
    open: Mutex<OpenFiles>,
}

#[derive(Default)]
struct OpenFiles {
    files: HashMap<u32, (Arc<OwnedFd>, u64)>,
    clock: u64,
}

impl OpenFiles {
    fn get(&mut self, node: u32) -> Option<Arc<OwnedFd>> {
        self.clock += 1;
        let (file, used) = self.files.get_mut(&node)?;
        *used = self.clock;
        Some(file.clone())
    }

    fn put(&mut self, node: u32, file: Arc<OwnedFd>) {
        if self.files.len() >= OPEN_FILES {
            let oldest = self.files.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(node) = oldest.map(|(node, _)| *node) {
                self.files.remove(&node);
            }
        }
        self.clock += 1;
        self.files.insert(node, (file, self.clock));
    }
}

impl Files {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root, open: Mutex::default() }
    }

    /// Appends up to `count` bytes from `offset`, fewer at the end of the file. Blocks.
    pub(super) fn read(
        &self,
        index: &Index,
        node: u32,
        offset: u64,
        count: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Errno> {
        read_file(self.file(index, node)?.as_fd(), offset, count, out)
    }

    /// Fills `buffer` from `offset` if the file is open and all these bytes are in memory.
    pub(super) fn read_now(&self, node: u32, offset: u64, buffer: &mut [u8]) -> bool {
        let Some(file) = self.open.lock().get(node) else {
            return false;
        };
        let len = buffer.len();
        let read = rustix::io::preadv2(
            file.as_fd(),
            &mut [IoSliceMut::new(buffer)],
            offset,
            ReadWriteFlags::NOWAIT,
        );
        read == Ok(len)
    }

    fn file(&self, index: &Index, node: u32) -> Result<Arc<OwnedFd>, Errno> {
        if let Some(file) = self.open.lock().get(node) {
            return Ok(file);
        }
        let file = open_below(
            self.root.as_fd(),
            &index.path(node),
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
        )?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            // The tree is not the one that was indexed.
            return Err(Errno::STALE);
        }
        let file = Arc::new(file);
        self.open.lock().put(node, file.clone());
        Ok(file)
    }
}

/// Appends up to `count` bytes of a file from `offset`, fewer at its end. Blocks.
pub(crate) fn read_file(
    file: BorrowedFd<'_>,
    offset: u64,
    count: usize,
    out: &mut Vec<u8>,
) -> Result<(), Errno> {
    let start = out.len();
    out.reserve_exact(count);
    while out.len() - start < count {
        let at = offset + (out.len() - start) as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(out), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    // The vector may have had more room than asked for.
    out.truncate(start + count);
    Ok(())
}
