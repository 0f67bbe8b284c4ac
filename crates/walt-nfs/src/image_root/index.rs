//! The index of a tree: one flat piece of bytes, the same on disk and in memory.
//!
//! | part | content |
//! | --- | --- |
//! | header, 128 bytes | magic, root id, counts, sum of sizes, SHA-256 of all the rest |
//! | nodes, 100 bytes each | attributes as NFSv3 sends them (`fattr3`, 84 bytes), parent node, entry in the parent, then first entry and count (directory) or place and length in the names (symbolic link) |
//! | entries, 12 bytes each | sorted by name inside a directory: place and length of the name, node |
//! | names | the bytes of names and link targets |
//!
//! Numbers are little-endian, except in `fattr3`. Node 0 is the root; directories come before what
//! they hold, so that parents always have a smaller number. Hard links are several entries of one node.

use memmap2::Mmap;
use nfs3_types::nfs3::ftype3;
use sha2::{Digest, Sha256};

use crate::RootId;
use crate::attributes::{Attributes, FATTR3};

const MAGIC: &[u8; 8] = b"WALTIDX1";
const HEADER: usize = 128;
const CHECKSUM: std::ops::Range<usize> = 64..96;
const NODE: usize = FATTR3 + 16;
const ENTRY: usize = 12;

/// An index being made.
#[derive(Default)]
pub(super) struct IndexBuilder {
    nodes: Vec<u8>,
    entries: Vec<u8>,
    names: Vec<u8>,
    bytes: u64,
}

/// More nodes, entries or bytes of names than the format can count.
#[derive(Debug)]
pub(super) struct TooLarge;

impl IndexBuilder {
    pub(super) fn nodes(&self) -> u32 {
        (self.nodes.len() / NODE) as u32
    }

    pub(super) fn entries(&self) -> u32 {
        (self.entries.len() / ENTRY) as u32
    }

    /// Adds a node; the entry that names it comes with [`IndexBuilder::add_entry`].
    pub(super) fn add_node(
        &mut self,
        fsid: u64,
        parent: u32,
        attributes: &Attributes,
    ) -> Result<u32, TooLarge> {
        let index = self.nodes.len() / NODE;
        let index = u32::try_from(index).map_err(|_| TooLarge)?;
        if attributes.kind == ftype3::NF3REG {
            self.bytes += attributes.size;
        }
        attributes.put(fsid, Index::file_id(index), &mut self.nodes);
        let out = &mut self.nodes;
        for word in [parent, self.entries.len() as u32 / ENTRY as u32, 0, 0] {
            out.extend(word.to_le_bytes());
        }
        Ok(index)
    }

    /// Adds the next entry, in the order of names, of the directory being read.
    pub(super) fn add_entry(&mut self, name: &[u8], node: u32) -> Result<(), TooLarge> {
        let place = self.add_bytes(name)?;
        u32::try_from(self.entries.len() / ENTRY + 1).map_err(|_| TooLarge)?;
        self.entries.extend(place.to_le_bytes());
        self.entries.extend((name.len() as u32).to_le_bytes());
        self.entries.extend(node.to_le_bytes());
        Ok(())
    }

    /// Tells that a directory holds the entries from `first` to the last one added.
    pub(super) fn set_directory(&mut self, node: u32, first: u32) {
        let count = self.entries() - first;
        self.set_extra(node, first, count);
    }

    pub(super) fn set_target(&mut self, node: u32, target: &[u8]) -> Result<(), TooLarge> {
        let place = self.add_bytes(target)?;
        self.set_extra(node, place, target.len() as u32);
        Ok(())
    }

    pub(super) fn is_directory(&self, node: u32) -> bool {
        let at = node as usize * NODE;
        self.nodes[at..at + 4] == (ftype3::NF3DIR as u32).to_be_bytes()
    }

    /// Path of a node below the root, as found so far.
    pub(super) fn path(&self, node: u32) -> Vec<u8> {
        path(&self.nodes, &self.entries, &self.names, node)
    }

    fn add_bytes(&mut self, bytes: &[u8]) -> Result<u32, TooLarge> {
        let place = u32::try_from(self.names.len()).map_err(|_| TooLarge)?;
        self.names.extend(bytes);
        Ok(place)
    }

    fn set_extra(&mut self, node: u32, first: u32, second: u32) {
        let at = node as usize * NODE + FATTR3 + 8;
        self.nodes[at..at + 4].copy_from_slice(&first.to_le_bytes());
        self.nodes[at + 4..at + 8].copy_from_slice(&second.to_le_bytes());
    }

    /// The bytes of the index.
    pub(super) fn finish(&self, id: RootId) -> Vec<u8> {
        let mut out =
            Vec::with_capacity(HEADER + self.nodes.len() + self.entries.len() + self.names.len());
        out.extend(MAGIC);
        out.extend(id.as_bytes());
        out.extend(self.nodes().to_le_bytes());
        out.extend(self.entries().to_le_bytes());
        out.extend((self.names.len() as u64).to_le_bytes());
        out.extend(self.bytes.to_le_bytes());
        out.resize(HEADER, 0);
        out.extend(&self.nodes);
        out.extend(&self.entries);
        out.extend(&self.names);
        let checksum = checksum(&out);
        out[CHECKSUM].copy_from_slice(&checksum);
        out
    }
}

/// SHA-256 of an index, the place of the checksum itself excepted.
fn checksum(bytes: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(&bytes[..CHECKSUM.start]);
    hash.update(&bytes[CHECKSUM.end..]);
    hash.finalize().into()
}

/// A sound index, loaded.
pub(crate) struct Index {
    map: Mmap,
    nodes: u32,
    entries_at: usize,
    entries: u32,
    names_at: usize,
    bytes: u64,
}

impl Index {
    /// Checks all that the methods rely on, so that none of them can fail later.
    pub(super) fn check(map: Mmap, id: RootId) -> Result<Self, &'static str> {
        let header = map.get(..HEADER).ok_or("it is too short")?;
        if &header[..8] != MAGIC {
            return Err("it is of another version");
        }
        if &header[8..24] != id.as_bytes() {
            return Err("it describes another root");
        }
        let nodes = le_u32(header, 24);
        let entries = le_u32(header, 28);
        let names = usize::try_from(le_u64(header, 32)).map_err(|_| "its names are too long")?;
        let bytes = le_u64(header, 40);
        let entries_at = HEADER + nodes as usize * NODE;
        let names_at = entries_at + entries as usize * ENTRY;
        if names_at.checked_add(names) != Some(map.len()) {
            return Err("its length is wrong");
        }
        if checksum(&map) != header[CHECKSUM] {
            return Err("its checksum is wrong");
        }
        let index = Self { nodes, entries_at, entries, names_at, bytes, map };
        index.check_links(names)?;
        Ok(index)
    }

    fn check_links(&self, names: usize) -> Result<(), &'static str> {
        let wrong = "it contradicts itself";
        if self.nodes == 0 || self.kind(0) != ftype3::NF3DIR as u32 {
            return Err("it has no root directory");
        }
        for node in 0..self.nodes {
            let (parent, entry) = (self.word(node, 0), self.word(node, 4));
            if node > 0 && (parent >= node || entry >= self.entries) {
                return Err(wrong);
            }
            let (first, count) = self.extra(node);
            let end = u64::from(first) + u64::from(count);
            let limit = match self.kind(node) {
                kind if kind == ftype3::NF3DIR as u32 => u64::from(self.entries),
                kind if kind == ftype3::NF3LNK as u32 => names as u64,
                _ => u64::MAX,
            };
            if end > limit {
                return Err(wrong);
            }
        }
        for entry in 0..self.entries {
            let at = self.entries_at + entry as usize * ENTRY;
            let end = u64::from(le_u32(&self.map, at)) + u64::from(le_u32(&self.map, at + 4));
            if end > names as u64 || le_u32(&self.map, at + 8) >= self.nodes {
                return Err(wrong);
            }
        }
        Ok(())
    }

    pub(crate) fn nodes(&self) -> u32 {
        self.nodes
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// `fattr3` as it goes on the wire. `node` must be below [`Index::nodes`].
    pub(crate) fn attributes(&self, node: u32) -> &[u8] {
        let at = HEADER + node as usize * NODE;
        &self.map[at..at + FATTR3]
    }

    /// `ftype3` as a number.
    pub(crate) fn kind(&self, node: u32) -> u32 {
        self.attribute(node, 0)
    }

    pub(crate) fn mode(&self, node: u32) -> u32 {
        self.attribute(node, 4)
    }

    pub(crate) fn uid(&self, node: u32) -> u32 {
        self.attribute(node, 12)
    }

    pub(crate) fn gid(&self, node: u32) -> u32 {
        self.attribute(node, 16)
    }

    pub(crate) fn size(&self, node: u32) -> u64 {
        u64::from(self.attribute(node, 20)) << 32 | u64::from(self.attribute(node, 24))
    }

    /// File id (inode number) shown to clients.
    pub(crate) fn file_id(node: u32) -> u64 {
        u64::from(node) + 1
    }

    /// The directory that holds a node (one of them, for hard links); the root holds itself.
    pub(crate) fn parent(&self, node: u32) -> u32 {
        self.word(node, 0)
    }

    pub(crate) fn is_directory(&self, node: u32) -> bool {
        self.kind(node) == ftype3::NF3DIR as u32
    }

    /// The target of a symbolic link.
    pub(crate) fn target(&self, node: u32) -> Option<&[u8]> {
        let (first, len) = self.extra(node);
        (self.kind(node) == ftype3::NF3LNK as u32).then(|| self.name_bytes(first, len))
    }

    /// Number of entries of a directory.
    pub(crate) fn entry_count(&self, directory: u32) -> u32 {
        self.extra(directory).1
    }

    /// Name and node of an entry; `position` must be below [`Index::entry_count`].
    pub(crate) fn entry(&self, directory: u32, position: u32) -> (&[u8], u32) {
        let at = self.entries_at + (self.extra(directory).0 + position) as usize * ENTRY;
        let name = self.name_bytes(le_u32(&self.map, at), le_u32(&self.map, at + 4));
        (name, le_u32(&self.map, at + 8))
    }

    /// The node of that name in a directory.
    pub(crate) fn lookup(&self, directory: u32, name: &[u8]) -> Option<u32> {
        let (mut low, mut high) = (0, self.entry_count(directory));
        while low < high {
            let middle = low + (high - low) / 2;
            let (found, node) = self.entry(directory, middle);
            match found.cmp(name) {
                std::cmp::Ordering::Equal => return Some(node),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Path of a node below the root, `""` for the root.
    pub(crate) fn path(&self, node: u32) -> Vec<u8> {
        path(
            &self.map[HEADER..self.entries_at],
            &self.map[self.entries_at..self.names_at],
            &self.map[self.names_at..],
            node,
        )
    }

    fn attribute(&self, node: u32, offset: usize) -> u32 {
        let at = HEADER + node as usize * NODE + offset;
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.map[at..at + 4]);
        u32::from_be_bytes(bytes)
    }

    fn word(&self, node: u32, offset: usize) -> u32 {
        le_u32(&self.map, HEADER + node as usize * NODE + FATTR3 + offset)
    }

    fn extra(&self, node: u32) -> (u32, u32) {
        (self.word(node, 8), self.word(node, 12))
    }

    fn name_bytes(&self, place: u32, len: u32) -> &[u8] {
        let at = self.names_at + place as usize;
        &self.map[at..at + len as usize]
    }
}

fn path(nodes: &[u8], entries: &[u8], names: &[u8], mut node: u32) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    while node != 0 {
        let at = node as usize * NODE + FATTR3;
        let entry = le_u32(nodes, at + 4) as usize * ENTRY;
        let place = le_u32(entries, entry) as usize;
        let len = le_u32(entries, entry + 4) as usize;
        parts.push(&names[place..place + len]);
        node = le_u32(nodes, at);
    }
    parts.reverse();
    parts.join(&b'/')
}

fn le_u32(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn le_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from(le_u32(bytes, at + 4)) << 32 | u64::from(le_u32(bytes, at))
}
