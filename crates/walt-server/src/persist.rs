//! `/persist`: a directory per node and owner of its image, kept over image changes.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::RwLock;
use walt_model::{Mac, UserName};
use walt_nfs::PersistId;

/// The persistent directories, `<state>/nodes/<mac>/persist_dirs/<owner>`.
pub struct PersistDirs {
    nodes: PathBuf,
    known: RwLock<HashMap<PersistId, PathBuf>>,
}

impl PersistDirs {
    /// Finds the directories below `<state>/nodes`, so that handles given before a restart keep
    /// their meaning.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let nodes = state_dir.join("nodes");
        std::fs::create_dir_all(&nodes)?;
        let mut known = HashMap::new();
        for node in std::fs::read_dir(&nodes)?.flatten() {
            let Some(mac) = node.file_name().to_str().and_then(|name| name.parse::<Mac>().ok())
            else {
                continue;
            };
            let Ok(owners) = std::fs::read_dir(node.path().join("persist_dirs")) else { continue };
            for owner in owners.flatten() {
                if let Some(name) = owner.file_name().to_str()
                    && let Ok(user) = name.parse::<UserName>()
                {
                    known.insert(id(mac, &user), owner.path());
                }
            }
        }
        Ok(Self { nodes, known: RwLock::new(known) })
    }

    /// The directory of a node for this owner, made if needed.
    pub fn of(&self, mac: Mac, owner: &UserName) -> io::Result<(PersistId, PathBuf)> {
        let id = id(mac, owner);
        if let Some(path) = self.get(&id) {
            return Ok((id, path));
        }
        let path = self.dir_of(mac).join("persist_dirs").join(owner.as_str());
        std::fs::create_dir_all(&path)?;
        self.known.write().insert(id, path.clone());
        Ok((id, path))
    }

    /// The directory of a file handle.
    pub fn get(&self, id: &PersistId) -> Option<PathBuf> {
        self.known.read().get(id).cloned()
    }

    /// Deletes everything kept for a node.
    pub fn remove(&self, mac: Mac) -> io::Result<()> {
        let dir = self.dir_of(mac);
        self.known.write().retain(|_, path| !path.starts_with(&dir));
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn dir_of(&self, mac: Mac) -> PathBuf {
        self.nodes.join(mac.to_string())
    }
}

fn id(mac: Mac, owner: &UserName) -> PersistId {
    PersistId::derive(&format!("persist {mac} {owner}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_found_again_and_removed() {
        let state = tempfile::tempdir().unwrap();
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let me: UserName = "me".parse().unwrap();
        let dirs = PersistDirs::open(state.path()).unwrap();
        let (id, path) = dirs.of(mac, &me).unwrap();
        assert!(path.is_dir());
        let again = PersistDirs::open(state.path()).unwrap();
        assert_eq!(again.get(&id), Some(path.clone()));
        again.remove(mac).unwrap();
        assert!(!path.exists());
        assert_eq!(again.get(&id), None);
        again.remove(mac).unwrap();
    }
}
