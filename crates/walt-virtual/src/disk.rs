//! Disks of virtual nodes: sparse files `disks/disk_<i>.dd` in the node's directory, each with what it is in
//! `disk_<i>.info`. A disk is made without mounts and loop devices, under another name; it has its own name, then its
//! `.info`, once it is complete and written: a server killed meanwhile leaves nothing that looks like a disk.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use walt_model::settings::{Disk, DiskTemplate};

/// Directory of the disks, in the node's directory.
pub const DISKS: &str = "disks";
/// First sector of the partition of a template.
const PARTITION_START: u64 = 2048;
/// Bytes of a sector.
const SECTOR: u64 = 512;
/// How long the tools that make file systems may take. (They take less than a second.)
const TOOL_PATIENCE: Duration = Duration::from_secs(60);

/// Why a disk could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A file could not be written.
    #[error("cannot make its disk {disk}: {source}")]
    Io {
        /// The file.
        disk: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A tool that makes file systems failed.
    #[error("cannot make its disk {disk}: {tool}: {reason}")]
    Tool {
        /// The file.
        disk: PathBuf,
        /// The tool.
        tool: &'static str,
        /// Its words.
        reason: String,
    },
}

/// Disks larger than what is left.
#[derive(Debug, thiserror::Error)]
pub enum NoRoom {
    /// They would not fit.
    #[error("Failed: these disks may take {wanted} GB and {free} GB are free on the server.")]
    TooLarge {
        /// What they may take, in 10^9 bytes.
        wanted: u64,
        /// What is left, in 10^9 bytes.
        free: u64,
    },
    /// Nobody knows.
    #[error("Failed: the server cannot tell how much room is left in {dir}: {source}.")]
    Unknown {
        /// Where the disks would be.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What is written in a `.info` file.
#[derive(Serialize, Deserialize)]
struct Info {
    template: DiskTemplate,
}

/// The image file of a disk, relative to the node's directory.
pub fn file(index: usize) -> PathBuf {
    Path::new(DISKS).join(format!("disk_{index}.dd"))
}

/// Whether the disks of nodes (their directory, their disks) may all be filled: what their present disks take is
/// theirs, the rest must be free on the file system of `base`.
///
/// # Errors
/// It does not fit, or the system does not tell.
pub fn room_for<'a>(
    base: &Path,
    nodes: impl IntoIterator<Item = (Option<PathBuf>, &'a [Disk])>,
) -> Result<(), NoRoom> {
    let stat = rustix::fs::statvfs(base)
        .map_err(|error| NoRoom::Unknown { dir: base.to_owned(), source: error.into() })?;
    let mut free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let mut wanted = 0u64;
    for (dir, disks) in nodes {
        wanted = disks.iter().fold(wanted, |sum, disk| sum.saturating_add(disk.bytes));
        let present = dir.and_then(|dir| fs::read_dir(dir.join(DISKS)).ok());
        for entry in present.into_iter().flatten().flatten() {
            free += entry.metadata().map_or(0, |metadata| metadata.blocks() * SECTOR);
        }
    }
    if wanted > free {
        const GIGA: u64 = 1_000_000_000;
        return Err(NoRoom::TooLarge { wanted: wanted / GIGA, free: free / GIGA });
    }
    Ok(())
}

/// Whether these are the disks that are there.
pub fn are_made(dir: &Path, disks: &[Disk]) -> bool {
    disks.iter().enumerate().all(|(index, disk)| is_made(dir, index, disk))
}

fn is_made(dir: &Path, index: usize, disk: &Disk) -> bool {
    let file = dir.join(file(index));
    let info = fs::read(file.with_extension("info")).ok();
    let info = info.and_then(|text| serde_json::from_slice::<Info>(&text).ok());
    let metadata = fs::symlink_metadata(&file).ok();
    info.is_some_and(|info| info.template == disk.template)
        && metadata.is_some_and(|metadata| metadata.is_file() && metadata.len() == disk.bytes)
}

/// Makes the disks that are not there or not as wanted, and deletes all others. Not to be called while a QEMU uses them.
///
/// # Errors
/// A disk cannot be made; those made before it stay.
pub async fn make(dir: &Path, disks: &[Disk]) -> Result<(), DiskError> {
    let folder = dir.join(DISKS);
    sweep(&folder, |name| {
        let index = name.strip_prefix("disk_").and_then(|rest| {
            let (index, kind) = rest.split_once('.')?;
            matches!(kind, "dd" | "info").then(|| index.parse::<usize>().ok()).flatten()
        });
        index.is_some_and(|i| disks.get(i).is_some_and(|disk| is_made(dir, i, disk)))
    })
    .map_err(|source| DiskError::Io { disk: folder.clone(), source })?;
    for (index, disk) in disks.iter().enumerate() {
        if !is_made(dir, index, disk) {
            make_one(&dir.join(file(index)), disk).await?;
        }
    }
    Ok(())
}

/// Deletes what is not to be kept.
fn sweep(folder: &Path, keep: impl Fn(&str) -> bool) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let mut unwanted = Vec::new();
    for entry in entries {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(&keep) {
            unwanted.push(entry);
        }
    }
    // What says that a disk is complete goes first.
    unwanted.sort_by_key(|entry| entry.path().extension().is_none_or(|kind| kind != "info"));
    for entry in unwanted {
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

async fn make_one(file: &Path, disk: &Disk) -> Result<(), DiskError> {
    let failed = |source| DiskError::Io { disk: file.to_owned(), source };
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed)?;
    // A name of this process: a tool started by a server that was killed may still write to its own.
    let part = file.with_extension(format!("{}.part", std::process::id()));
    blank(&part, disk).map_err(failed)?;
    let kib = (disk.bytes - PARTITION_START * SECTOR) / 1024;
    match disk.template {
        DiskTemplate::None => {}
        DiskTemplate::Fat32 => {
            let (offset, hidden) = (PARTITION_START.to_string(), PARTITION_START.to_string());
            let (path, size) = (path_text(&part), kib.to_string());
            let options = ["-F", "32", "-S", "512", "-h", &hidden, "--offset", &offset];
            let arguments = [&options[..], &[path.as_str(), &size]].concat();
            run(file, "mkfs.fat", &arguments).await?;
        }
        DiskTemplate::Ext4 | DiskTemplate::HybridBootV | DiskTemplate::HybridBootP => {
            // What the file system holds from the start.
            let content = file.with_extension("content");
            fs::create_dir_all(&content).map_err(failed)?;
            if disk.template != DiskTemplate::Ext4 {
                fs::create_dir_all(content.join("walt_hybrid")).map_err(failed)?;
            }
            if disk.template == DiskTemplate::HybridBootP {
                File::create(content.join("walt_hybrid/.persistent")).map_err(failed)?;
            }
            // No inode tables left to be written by the guest: they would fill the sparse file.
            let extended = format!(
                "offset={},lazy_itable_init=0,lazy_journal_init=1,root_owner=0:0",
                PARTITION_START * SECTOR
            );
            let (source, size) = (path_text(&content), format!("{kib}k"));
            // Features older kernels of images do not know are left out.
            let features = "^metadata_csum_seed,^orphan_file";
            let arguments = [
                "-q",
                "-F",
                "-t",
                "ext4",
                "-m",
                "0",
                "-O",
                features,
                "-E",
                &extended,
                "-d",
                &source,
                &path_text(&part),
                &size,
            ];
            run(file, "mke2fs", &arguments).await?;
            fs::remove_dir_all(&content).map_err(failed)?;
        }
    }
    let (file, template) = (file.to_owned(), disk.template);
    let done = tokio::task::spawn_blocking(move || complete(&part, &file, template));
    done.await.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(failed)
}

/// A sparse file, with a partition table if the template has one.
fn blank(part: &Path, disk: &Disk) -> io::Result<()> {
    let file = File::create(part)?;
    file.set_len(disk.bytes)?;
    let kind = match disk.template {
        DiskTemplate::None => return Ok(()),
        DiskTemplate::Fat32 => 0x0c,
        DiskTemplate::Ext4 | DiskTemplate::HybridBootV | DiskTemplate::HybridBootP => 0x83,
    };
    file.write_all_at(&partition_table(kind, disk.bytes), 0)
}

/// The first sector of a disk with one partition (the "MBR" layout).
fn partition_table(kind: u8, bytes: u64) -> [u8; SECTOR as usize] {
    let mut sector = [0; SECTOR as usize];
    // Boot code for a BIOS that comes here: int 0x18, "this disk does not boot, try the next device".
    sector[..2].copy_from_slice(&[0xcd, 0x18]);
    let count = u32::try_from(bytes / SECTOR - PARTITION_START).unwrap_or(u32::MAX);
    let entry = &mut sector[446..462];
    // Cylinders, heads and sectors mean nothing on disks of this size: all ones.
    entry[1..4].fill(0xff);
    entry[4] = kind;
    entry[5..8].fill(0xff);
    entry[8..12].copy_from_slice(&(PARTITION_START as u32).to_le_bytes());
    entry[12..16].copy_from_slice(&count.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// Gives a disk its name, then says what it is; each is on the disk of the server before the next.
fn complete(part: &Path, file: &Path, template: DiskTemplate) -> io::Result<()> {
    let folder = File::open(file.parent().unwrap_or(Path::new(".")))?;
    File::open(part)?.sync_all()?;
    fs::rename(part, file)?;
    folder.sync_all()?;
    let info = file.with_extension("info");
    let new = file.with_extension("info.part");
    let mut writer = File::create(&new)?;
    writer.write_all(&serde_json::to_vec(&Info { template })?)?;
    writer.sync_all()?;
    fs::rename(new, info)?;
    folder.sync_all()
}

async fn run(disk: &Path, tool: &'static str, arguments: &[&str]) -> Result<(), DiskError> {
    let failed = |reason: String| DiskError::Tool { disk: disk.to_owned(), tool, reason };
    let started = tokio::process::Command::new(find(tool))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(TOOL_PATIENCE, started)
        .await
        .map_err(|_| failed(format!("not done in {} s", TOOL_PATIENCE.as_secs())))?
        .map_err(|error| failed(format!("{error} (is it installed?)")))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("{}: {}", output.status, words.trim())))
}

/// Tools of the administrator are not on everybody's PATH.
fn find(tool: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let mut candidates = folders.map(|folder: PathBuf| folder.join(tool));
    candidates.find(|candidate| candidate.exists()).unwrap_or_else(|| tool.into())
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GIGA: u64 = 1_000_000_000;

    fn disk(template: DiskTemplate) -> Disk {
        Disk { bytes: GIGA, template }
    }

    fn listing(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir.join(DISKS)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn bytes_at(dir: &Path, index: usize, offset: u64) -> [u8; 4] {
        let mut bytes = [0; 4];
        File::open(dir.join(file(index))).unwrap().read_exact_at(&mut bytes, offset).unwrap();
        bytes
    }

    #[test]
    fn the_table_of_a_disk() {
        let sector = partition_table(0x83, GIGA);
        assert_eq!(sector[450], 0x83);
        assert_eq!(u32::from_le_bytes(sector[454..458].try_into().unwrap()), 2048);
        assert_eq!(u32::from_le_bytes(sector[458..462].try_into().unwrap()), 1_953_125 - 2048);
        assert_eq!(sector[510..], [0x55, 0xaa]);
    }

    #[tokio::test]
    async fn disks_are_made_kept_remade_and_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let all = DiskTemplate::ALL.map(disk);
        assert!(!are_made(dir, &all));
        make(dir, &all).await.unwrap();
        assert!(are_made(dir, &all));
        assert_eq!(listing(dir).len(), 10);
        // The magic number of ext4, at offset 1080 of the partition.
        assert_eq!(bytes_at(dir, 1, PARTITION_START * SECTOR + 1080)[..2], [0x53, 0xef]);
        let taken: u64 =
            (0..5).map(|i| fs::metadata(dir.join(file(i))).unwrap().blocks() * 512).sum();
        assert!(taken < GIGA / 10, "{taken} bytes for empty disks");

        // Kept as it is, whatever its content is now.
        let first = File::options().write(true).open(dir.join(file(0))).unwrap();
        first.write_all_at(b"mine", 0).unwrap();
        make(dir, &all[..2]).await.unwrap();
        assert_eq!(&bytes_at(dir, 0, 0), b"mine");
        assert_eq!(listing(dir), ["disk_0.dd", "disk_0.info", "disk_1.dd", "disk_1.info"]);

        // Another size, another template.
        let larger = [Disk { bytes: 2 * GIGA, ..all[0] }, disk(DiskTemplate::None)];
        assert!(!are_made(dir, &larger));
        make(dir, &larger).await.unwrap();
        assert_eq!(fs::metadata(dir.join(file(0))).unwrap().len(), 2 * GIGA);
        assert_eq!(bytes_at(dir, 0, 0), [0; 4]);
        assert_eq!(fs::metadata(dir.join(file(1))).unwrap().blocks(), 0);
        make(dir, &[]).await.unwrap();
        assert!(listing(dir).is_empty());
    }

    #[tokio::test]
    async fn what_a_killed_server_left_is_no_disk() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let wanted = [disk(DiskTemplate::HybridBootV)];
        fs::create_dir_all(dir.join("disks/disk_0.content/walt_hybrid")).unwrap();
        File::create(dir.join("disks/disk_0.77.part")).unwrap();
        // Complete, but not yet said to be.
        File::create(dir.join(file(0))).unwrap().set_len(GIGA).unwrap();
        assert!(!are_made(dir, &wanted));
        make(dir, &wanted).await.unwrap();
        assert_eq!(listing(dir), ["disk_0.dd", "disk_0.info"]);
        let info = fs::read_to_string(dir.join("disks/disk_0.info")).unwrap();
        assert_eq!(info, r#"{"template":"hybrid-boot-v"}"#);
    }

    #[test]
    fn room() {
        let dir = tempfile::tempdir().unwrap();
        let one = [disk(DiskTemplate::None)];
        room_for(dir.path(), [(None, &one[..0])]).unwrap();
        let huge = [Disk { bytes: u64::MAX / 2, ..one[0] }];
        let error = room_for(dir.path(), [(Some(dir.path().into()), &huge[..])]).unwrap_err();
        assert!(error.to_string().contains("GB are free on the server"), "{error}");
        assert!(matches!(
            room_for(&dir.path().join("nowhere"), [(None, &one[..])]),
            Err(NoRoom::Unknown { .. })
        ));
    }
}
