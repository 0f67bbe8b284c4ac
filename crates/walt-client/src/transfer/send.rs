//! Files of this machine as a tar stream.

use super::ignore::Ignored;
use crate::output;
use std::fs::{self, Metadata};
use std::io::{self, PipeReader, Read, Write};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use tar::{Builder, EntryType, Header};

/// A tar stream made while it is read. When a file cannot be read, reading fails: a stream that looks complete is.
pub struct TarStream {
    pipe: PipeReader,
    maker: Option<JoinHandle<io::Result<()>>>,
}

impl TarStream {
    /// The file or directory `source`, as a member called `name` (`.`: the content of a directory). Everything belongs to
    /// root; modes and dates are kept; symbolic links are sent as such, except `source` itself.
    ///
    /// # Errors
    /// When no pipe or thread can be made.
    pub fn new(source: &Path, name: &str) -> io::Result<Self> {
        Self::without(source, name, Ignored::default())
    }

    /// The same without what is ignored.
    ///
    /// # Errors
    /// When no pipe or thread can be made.
    pub fn without(source: &Path, name: &str, ignored: Ignored) -> io::Result<Self> {
        let (pipe, writer) = io::pipe()?;
        let (source, name) = (source.to_owned(), PathBuf::from(name));
        let maker = std::thread::Builder::new().name("tar".into()).spawn(move || {
            let mut builder = Builder::new(io::BufWriter::with_capacity(1 << 18, writer));
            let metadata = fs::metadata(&source)?;
            append(&mut builder, &source, &name, &metadata, &(&ignored, String::new()))?;
            builder.into_inner()?.flush()
        })?;
        Ok(Self { pipe, maker: Some(maker) })
    }
}

impl Read for TarStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.pipe.read(buffer)?;
        if count == 0
            && !buffer.is_empty()
            && let Some(maker) = self.maker.take()
        {
            maker.join().unwrap_or_else(|_| Err(io::Error::other("the reader stopped")))?;
        }
        Ok(count)
    }
}

fn append<W: Write>(
    builder: &mut Builder<W>,
    path: &Path,
    name: &Path,
    metadata: &Metadata,
    (ignored, below): &(&Ignored, String),
) -> io::Result<()> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut header = Header::new_gnu();
    header.set_metadata(metadata);
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root")?;
    header.set_groupname("root")?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        header.set_size(0);
        // A folder that is ignored may hold what is not.
        if !ignored.ignores(below) {
            builder.append_data(&mut header, name, io::empty()).map_err(named)?;
        }
        let mut entries = fs::read_dir(path).map_err(named)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let metadata = fs::symlink_metadata(entry.path())?;
            let own = entry.file_name();
            let inner = match below.as_str() {
                "" => own.to_string_lossy().into_owned(),
                folder => format!("{folder}/{}", own.to_string_lossy()),
            };
            if ignored.ignores(&inner) && !(metadata.is_dir() && ignored.has_exceptions()) {
                continue;
            }
            append(builder, &entry.path(), &name.join(own), &metadata, &(*ignored, inner))?;
        }
        Ok(())
    } else if kind.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        let target = fs::read_link(path).map_err(named)?;
        builder.append_link(&mut header, name, target).map_err(named)
    } else if kind.is_file() {
        let file = fs::File::open(path).map_err(named)?;
        // A file that grows meanwhile is sent as long as it was; one that shrinks is an error.
        let size = metadata.len();
        builder.append_data(&mut header, name, Exactly { file, left: size }).map_err(named)
    } else {
        output::error(&format!("{}: neither file, directory nor link, ignored.", path.display()));
        Ok(())
    }
}

struct Exactly {
    file: fs::File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn members(source: &Path, name: &str) -> Vec<(String, u64, u32)> {
        let mut archive = tar::Archive::new(TarStream::new(source, name).unwrap());
        let member = |entry: io::Result<tar::Entry<'_, TarStream>>| {
            let entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            (path, entry.header().uid().unwrap(), entry.header().mode().unwrap() & 0o777)
        };
        archive.entries().unwrap().map(member).collect()
    }

    #[test]
    fn a_tree() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        fs::create_dir_all(tree.join("sub dir")).unwrap();
        fs::write(tree.join("sub dir/f"), "x").unwrap();
        fs::set_permissions(tree.join("sub dir/f"), fs::Permissions::from_mode(0o750)).unwrap();
        std::os::unix::fs::symlink("/nowhere", tree.join("link")).unwrap();
        let names = members(&tree, "new");
        let paths: Vec<&str> = names.iter().map(|(path, ..)| path.trim_end_matches('/')).collect();
        assert_eq!(paths, ["new", "new/link", "new/sub dir", "new/sub dir/f"]);
        assert!(names.iter().all(|(_, uid, _)| *uid == 0));
        assert_eq!(names[3].2, 0o750);
        let merged = members(&tree, ".");
        assert!(merged.iter().any(|(path, ..)| path.ends_with("link")), "{merged:?}");
    }

    #[test]
    fn a_missing_file_is_an_error_not_an_end() {
        let mut stream = TarStream::new(Path::new("/nowhere/at/all"), "x").unwrap();
        assert!(io::copy(&mut stream, &mut io::sink()).is_err());
    }
}
