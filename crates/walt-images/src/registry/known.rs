//! Which repository of a registry was seen to have which blob: the registry can then copy it between repositories by itself.
//! Only a hint, kept in a file; a wrong one costs one question.

use std::path::{Path, PathBuf};

use super::reference::Digest;

/// Most blobs remembered for one registry.
const MOST: usize = 4096;
/// Largest file read, in bytes.
const FILE_MAX: u64 = 4 << 20;

/// What is remembered of one registry.
#[derive(Debug, Clone)]
pub(super) struct Known {
    path: PathBuf,
}

impl Known {
    /// In a directory, for the registry of this label (lower-case letters, digits, dashes).
    pub fn of(dir: &Path, label: &str) -> Self {
        Self { path: dir.join(format!("seen-{label}.json")) }
    }

    /// Oldest first.
    fn read(&self) -> Vec<(Digest, String)> {
        let small = std::fs::metadata(&self.path).is_ok_and(|found| found.len() <= FILE_MAX);
        let bytes = small.then(|| std::fs::read(&self.path).ok()).flatten().unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// A repository that had this blob.
    pub fn repository_of(&self, digest: &Digest) -> Option<String> {
        let found = self.read().into_iter().rev().find(|(known, _)| known == digest)?;
        super::reference::is_repository(&found.1).then_some(found.1)
    }

    /// Remembers the blobs of a repository.
    pub fn remember<'d>(&self, repository: &str, digests: impl Iterator<Item = &'d Digest>) {
        let mut list = self.read();
        for digest in digests {
            list.retain(|(known, _)| known != digest);
            list.push((digest.clone(), repository.to_owned()));
        }
        let list = &list[list.len().saturating_sub(MOST)..];
        let write = || {
            let new = self.path.with_extension("new");
            std::fs::write(&new, serde_json::to_vec(list)?)?;
            std::fs::rename(&new, &self.path)
        };
        if let Err(error) = write() {
            tracing::warn!(path = %self.path.display(), %error, "not written");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_last_repository_counts() {
        let dir = tempfile::tempdir().unwrap();
        let known = Known::of(dir.path(), "here");
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        assert_eq!(known.repository_of(&a), None);
        known.remember("x/y", [&a, &b].into_iter());
        known.remember("x/z", [&a].into_iter());
        assert_eq!(known.repository_of(&a).as_deref(), Some("x/z"));
        assert_eq!(known.repository_of(&b).as_deref(), Some("x/y"));
        std::fs::write(dir.path().join("seen-here.json"), "garbage").unwrap();
        assert_eq!(known.repository_of(&a), None);
    }
}
