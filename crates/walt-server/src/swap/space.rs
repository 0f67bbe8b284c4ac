//! The files behind swap space.
//!
//! `<folder>/<mac with dashes>/<boot>`: one sparse file per node. `<boot>` is `at-<name>` when the client told its boot,
//! else `since-<ms>`, when the boot it then had began as far as the server knew.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, SeekFrom};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use walt_model::Mac;
use walt_proto::nbd::Export;

use super::Owner;

/// Without a connection for this long, a file is removed: a node gives up and reboots long before.
pub const ABSENCE: Duration = Duration::from_secs(3600);

/// Swap space never takes the last tenth of a file system, counted as this many bytes at least and at most.
const RESERVE_PART: u64 = 10;
const RESERVE: std::ops::RangeInclusive<u64> = 1 << 30..=4 << 30;

/// Least room for a new swap space.
const ROOM_MIN: u64 = 64 << 20;

/// How much is written between two looks at the free space.
const GRANT: u64 = 32 << 20;

/// All swap files.
#[derive(Debug)]
pub struct Space {
    folder: PathBuf,
    quota: Quota,
    /// Nodes with a file, by folder name.
    nodes: Mutex<std::collections::HashMap<String, Node>>,
}

#[derive(Debug)]
struct Node {
    /// The boot of the connection that has the file ([`Owner::boot_ms`]).
    boot_ms: u64,
    /// Ends that connection.
    end: CancellationToken,
    /// Makes it look whether its client is still there.
    probe: Arc<Notify>,
    /// Alive as long as that connection is.
    used: std::sync::Weak<()>,
    /// When it was last seen without a connection.
    idle_since: Option<Instant>,
}

/// The file of one node, while a connection has it.
#[derive(Debug)]
pub struct Backing {
    file: File,
    space: Arc<Space>,
    /// Cancelled when the node has booted again.
    pub end: CancellationToken,
    /// Told when another connection of the node wants the file: is the client of this one still there?
    pub probe: Arc<Notify>,
    _used: Arc<()>,
}

impl Space {
    /// The files in this folder, made if missing.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(folder: &Path) -> io::Result<Arc<Self>> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        let mut nodes = std::collections::HashMap::new();
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            // What is not a node's is not ours to remove.
            if mac_of(&name).is_none() {
                continue;
            }
            let node = Node {
                boot_ms: 0,
                end: CancellationToken::new(),
                probe: Arc::default(),
                used: std::sync::Weak::new(),
                idle_since: Some(Instant::now()),
            };
            nodes.insert(name, node);
        }
        let quota = Quota { folder: File::open(folder)?, left: Mutex::new(0) };
        Ok(Arc::new(Self { folder: folder.to_owned(), quota, nodes: Mutex::new(nodes) }))
    }

    /// Is there room for one more?
    ///
    /// # Errors
    /// Why not, for people.
    pub fn has_room(&self) -> Result<(), String> {
        match self.quota.room() {
            Ok(room) if room >= ROOM_MIN => Ok(()),
            Ok(_) => Err("the server has no room for swap space".to_owned()),
            Err(error) => Err(format!("the server cannot keep swap space: {error}")),
        }
    }

    /// Another connection of this node wants its file. The one that has it is ended if the node has booted since,
    /// else it looks whether its client is still there.
    pub fn claim(&self, owner: &Owner) {
        let nodes = self.nodes.lock();
        if let Some(node) = nodes.get(&name_of(owner.mac)) {
            if owner.boot_ms > node.boot_ms {
                node.end.cancel();
            } else {
                node.probe.notify_one();
            }
        }
    }

    /// Does a connection have the file of this node?
    pub fn is_used(&self, owner: &Owner) -> bool {
        let nodes = self.nodes.lock();
        nodes.get(&name_of(owner.mac)).is_some_and(|node| node.used.strong_count() > 0)
    }

    /// How many connections have a file.
    pub fn in_use(&self) -> usize {
        self.nodes.lock().values().filter(|node| node.used.strong_count() > 0).count()
    }

    /// Opens the file of this export for a node, with what is in it if it belongs to the same boot. Files of other
    /// boots are removed.
    ///
    /// # Errors
    /// A connection has it, or the file system fails.
    pub fn attach(self: &Arc<Self>, owner: &Owner, export: &Export) -> io::Result<Backing> {
        let name = name_of(owner.mac);
        let mut nodes = self.nodes.lock();
        if nodes.get(&name).is_some_and(|node| node.used.strong_count() > 0) {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another connection has it"));
        }
        let folder = self.folder.join(&name);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let mut kept = None;
        for entry in fs::read_dir(&folder)? {
            let found = entry?.file_name();
            if kept.is_none() && belongs(&found.to_string_lossy(), owner, export) {
                kept = Some(found);
            } else {
                fs::remove_file(folder.join(found))?;
            }
        }
        let file_name = kept.unwrap_or_else(|| file_name(owner, export).into());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join(file_name))?;
        if file.metadata()?.len() < export.size {
            file.set_len(export.size)?;
        }
        let (end, used) = (CancellationToken::new(), Arc::new(()));
        let probe: Arc<Notify> = Arc::default();
        let node = Node {
            boot_ms: owner.boot_ms,
            end: end.clone(),
            probe: Arc::clone(&probe),
            used: Arc::downgrade(&used),
            idle_since: None,
        };
        nodes.insert(name, node);
        Ok(Backing { file, space: Arc::clone(self), end, probe, _used: used })
    }

    /// The client has ended by itself: its file is of no use any more.
    pub fn drop_file(&self, mac: Mac) {
        self.remove(&name_of(mac));
    }

    fn remove(&self, name: &str) {
        let mut nodes = self.nodes.lock();
        // A later connection has it: it stays.
        if nodes.get(name).is_some_and(|node| node.used.strong_count() > 0) {
            return;
        }
        nodes.remove(name);
        if let Err(error) = fs::remove_dir_all(self.folder.join(name))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "cannot remove the swap space of {name}");
        }
    }

    /// Removes the files nobody has had for [`ABSENCE`]; answers the nodes of the others without a connection.
    pub fn sweep(&self, now: Instant) -> Vec<Mac> {
        let mut old = Vec::new();
        let mut idle = Vec::new();
        for (name, node) in &mut *self.nodes.lock() {
            if node.used.strong_count() > 0 {
                node.idle_since = None;
                continue;
            }
            let since = *node.idle_since.get_or_insert(now);
            match mac_of(name) {
                Some(mac) if now.duration_since(since) < ABSENCE => idle.push(mac),
                _ => old.push(name.clone()),
            }
        }
        for name in old {
            self.remove(&name);
        }
        idle
    }
}

fn mac_of(name: &str) -> Option<Mac> {
    name.replace('-', ":").parse().ok()
}

fn name_of(mac: Mac) -> String {
    mac.to_string().replace(':', "-")
}

fn file_name(owner: &Owner, export: &Export) -> String {
    match &export.boot {
        Some(boot) => format!("at-{boot}"),
        None => format!("since-{}", owner.boot_ms),
    }
}

/// Does a file belong to the boot that asks for this export? A client that does not tell its boot is believed to
/// be of the same one unless a later one was seen: bytes that are kept too long harm nobody, lost ones do.
fn belongs(file: &str, owner: &Owner, export: &Export) -> bool {
    match &export.boot {
        Some(_) => file == file_name(owner, export),
        None => file
            .strip_prefix("since-")
            .and_then(|ms| ms.parse::<u64>().ok())
            .is_some_and(|ms| ms >= owner.boot_ms),
    }
}

impl Backing {
    /// Reads at an offset.
    ///
    /// # Errors
    /// Of the file system.
    pub fn read(&self, data: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(data, offset)
    }

    /// Writes at an offset.
    ///
    /// # Errors
    /// `StorageFull` when the server has no room left, or those of the file system.
    pub fn write(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let length = data.len() as u64;
        if !self.space.quota.grant(length) && !self.is_allocated(offset, length) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_all_at(data, offset)
    }

    /// Gives room back; the bytes read as zeroes then.
    ///
    /// # Errors
    /// The file system cannot.
    pub fn trim(&self, offset: u64, length: u64) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&self.file, flags, offset, length)?)
    }

    /// Puts what was written on the disk.
    ///
    /// # Errors
    /// Of the file system.
    pub fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Was all of this written before? Then writing it again takes no more room.
    fn is_allocated(&self, offset: u64, length: u64) -> bool {
        matches!(rustix::fs::seek(&self.file, SeekFrom::Hole(offset)), Ok(hole) if hole >= offset + length)
    }

    /// Bytes it takes on the disk.
    ///
    /// # Errors
    /// Of the file system.
    pub fn allocated(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.blocks() * 512)
    }
}

/// What may be written before free space is looked at again.
#[derive(Debug)]
struct Quota {
    folder: File,
    left: Mutex<u64>,
}

impl Quota {
    /// Bytes that swap space may still take.
    fn room(&self) -> io::Result<u64> {
        let fs = rustix::fs::fstatvfs(&self.folder)?;
        let part = fs.f_blocks * fs.f_frsize / RESERVE_PART;
        let reserve = part.clamp(*RESERVE.start(), *RESERVE.end());
        Ok((fs.f_bavail * fs.f_frsize).saturating_sub(reserve))
    }

    /// May this much be written?
    fn grant(&self, length: u64) -> bool {
        let mut left = self.left.lock();
        if *left < length {
            *left = self.room().unwrap_or(0).min(GRANT.max(length));
        }
        if *left < length {
            return false;
        }
        *left -= length;
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NODE: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn plain() -> Export {
        Export::parse("swap-1G", 64).unwrap()
    }

    fn of_boot(boot: &str) -> Export {
        Export::parse(&format!("swap-1G@{boot}"), 64).unwrap()
    }

    fn first_byte(space: &Arc<Space>, owner: &Owner, export: &Export) -> u8 {
        let mut byte = [0];
        space.attach(owner, export).unwrap().read(&mut byte, 5000).unwrap();
        byte[0]
    }

    #[test]
    fn bytes_belong_to_a_boot() {
        let dir = tempfile::tempdir().unwrap();
        let owner = Owner { mac: NODE, boot_ms: 1000 };
        let space = Space::open(dir.path()).unwrap();
        space.attach(&owner, &of_boot("a")).unwrap().write(&[7], 5000).unwrap();
        assert_eq!(first_byte(&space, &owner, &of_boot("a")), 7);
        // Another program takes over.
        let space = Space::open(dir.path()).unwrap();
        let later = Owner { boot_ms: 2000, ..owner };
        assert_eq!(first_byte(&space, &later, &of_boot("a")), 7);
        assert_eq!(first_byte(&space, &later, &of_boot("b")), 0);
        assert_eq!(first_byte(&space, &later, &of_boot("a")), 0);
        // A client that does not tell its boot.
        space.attach(&owner, &plain()).unwrap().write(&[8], 5000).unwrap();
        assert_eq!(first_byte(&space, &owner, &plain()), 8);
        assert_eq!(first_byte(&space, &Owner { boot_ms: 500, ..owner }, &plain()), 8);
        assert_eq!(first_byte(&space, &later, &plain()), 0);
        // Somebody else.
        let other = Owner { mac: Mac([2, 0, 0, 0, 0, 2]), ..owner };
        space.attach(&later, &plain()).unwrap().write(&[9], 5000).unwrap();
        assert_eq!(first_byte(&space, &other, &plain()), 0);
        assert_eq!(first_byte(&space, &later, &plain()), 9);
        space.drop_file(NODE);
        assert_eq!(first_byte(&space, &later, &plain()), 0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn one_connection_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let owner = Owner { mac: NODE, boot_ms: 0 };
        let space = Space::open(dir.path()).unwrap();
        let first = space.attach(&owner, &plain()).unwrap();
        assert!(space.attach(&owner, &plain()).is_err() && space.is_used(&owner));
        space.claim(&owner);
        assert!(!first.end.is_cancelled());
        space.claim(&Owner { boot_ms: 1, ..owner });
        assert!(first.end.is_cancelled());
        space.drop_file(NODE);
        assert_eq!((space.in_use(), fs::read_dir(dir.path()).unwrap().count()), (1, 1));
        drop(first);
        assert!(!space.is_used(&owner) && space.attach(&owner, &plain()).is_ok());
    }

    #[test]
    fn room_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let owner = Owner { mac: NODE, boot_ms: 0 };
        let space = Space::open(dir.path()).unwrap();
        let backing = space.attach(&owner, &plain()).unwrap();
        backing.write(&vec![1; 1 << 20], 0).unwrap();
        backing.flush().unwrap();
        assert!(backing.allocated().unwrap() >= 1 << 20);
        assert!(backing.is_allocated(4096, 8192) && !backing.is_allocated(2 << 20, 1));
        backing.trim(0, 1 << 20).unwrap();
        backing.trim(0, 0).unwrap();
        assert_eq!(backing.allocated().unwrap(), 0);
        let mut byte = [1];
        backing.read(&mut byte, 100).unwrap();
        assert_eq!(byte, [0]);
        drop(backing);
        let now = Instant::now();
        assert_eq!(space.sweep(now), [NODE]);
        assert_eq!(space.sweep(now + ABSENCE), []);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
