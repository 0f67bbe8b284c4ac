//! Indexes on disk: one file per root id, written aside and renamed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::ImageRootError;
use super::index::Index;
use crate::RootId;

pub(super) fn file(id: &RootId, index_dir: &Path) -> PathBuf {
    index_dir.join(format!("{id}.index"))
}

pub(super) fn load(id: RootId, path: &Path) -> Result<Index, ImageRootError> {
    let failed = |source| ImageRootError::Index { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    // SAFETY: the file is private to the server and never changed in place: `save` writes another
    // file and renames it, so the bytes under the map stay what they are.
    let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
    Index::check(map, id).map_err(|why| ImageRootError::BadIndex { path: path.to_owned(), why })
}

pub(super) fn save(path: &Path, bytes: &[u8]) -> Result<(), ImageRootError> {
    let write = || -> io::Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let new = path.with_extension("index.new");
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(|source| ImageRootError::Index { path: path.to_owned(), source })
}

pub(super) fn remove(path: &Path) -> Result<(), ImageRootError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(ImageRootError::Index { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
