//! Files of an image as a tar stream.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};
use tar::{Builder, EntryType, Header};

use crate::inside::Inside;

/// Deepest tree that is sent.
const DEPTH: usize = 200;

/// Writes the file or directory at `path` as a member called `name` (`.`: the content of a directory). Owners, modes and
/// dates are kept, symbolic links are sent as such, except `path` itself; devices, sockets and FIFOs are left out.
///
/// # Errors
/// Those of reading and writing; a tree too deep.
pub fn pack<W: Write>(files: &Inside, path: &Path, name: &OsStr, out: W) -> io::Result<W> {
    let mut builder = Builder::new(out);
    // Resolved once: below it, no link is followed.
    let path = files.physical(path)?;
    append(&mut builder, files, &path, Path::new(name), DEPTH)?;
    builder.into_inner()
}

fn append<W: Write>(
    builder: &mut Builder<W>,
    files: &Inside,
    path: &Path,
    name: &Path,
    depth: usize,
) -> io::Result<()> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let stat = files.stat(path).map_err(named)?;
    let mut header = header(&stat);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let Some(depth) = depth.checked_sub(1) else {
                return Err(named(io::Error::other("more than 200 directories deep")));
            };
            header.set_entry_type(EntryType::Directory);
            builder.append_data(&mut header, name, io::empty()).map_err(named)?;
            for entry in files.list(path).map_err(named)? {
                append(builder, files, &path.join(&entry), &name.join(&entry), depth)?;
            }
            Ok(())
        }
        FileType::RegularFile => {
            let file = files.open_file(path).map_err(named)?;
            // An image does not change; the size says how much is sent all the same.
            let size = u64::try_from(stat.st_size).unwrap_or_default();
            header.set_size(size);
            builder.append_data(&mut header, name, file.take(size)).map_err(named)
        }
        FileType::Symlink => {
            header.set_entry_type(EntryType::Symlink);
            let target = files.read_link(path).map_err(named)?;
            builder.append_link(&mut header, name, target).map_err(named)
        }
        _ => Ok(()),
    }
}

fn header(stat: &Stat) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(0);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or_default());
    header
}

/// Names in the directory at `path` that start with `prefix`, directories (also behind a link) with `/` at their end;
/// `most` of them at most.
///
/// # Errors
/// It is not a directory.
pub fn names(files: &Inside, path: &Path, prefix: &[u8], most: usize) -> io::Result<Vec<PathBuf>> {
    let fitting = |name: &std::ffi::OsString| name.as_bytes().starts_with(prefix);
    let names = files.list(path)?.into_iter().filter(fitting).take(most);
    Ok(names
        .map(|mut name| {
            if files.target_kind(path.join(&name)) == Some(FileType::Directory) {
                name.push("/");
            }
            PathBuf::from(name)
        })
        .collect())
}
