//! The images being served: each a root on disk, indexed in memory, read by nodes.
//!
//! A root is made and indexed before any node is told to boot it. An old root stays readable until no
//! node is assigned to its image and none is known to read it, and [`GRACE`] longer: a node switching
//! image still runs its reboot hook from the old one.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use walt_images::{Catalogue, CatalogueError, ImageId, Root, RootError, Roots, WaltLayer};
use walt_model::{ImageFullName, Mac};
use walt_nfs::{ImageRoot, ImageRootError, RootId};

use crate::pins::{BootKey, Pins};

/// How long an unused root is still served.
pub const GRACE: Duration = Duration::from_secs(60);

/// Why an image cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It is not in the store, or podman does not work.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// Its root could not be made.
    #[error(transparent)]
    Root(#[from] RootError),
    /// Its root could not be indexed.
    #[error(transparent)]
    Index(#[from] ImageRootError),
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

/// An image ready to be booted.
pub struct ServedImage {
    /// Its root on disk, for boot files.
    pub root: Arc<Root>,
    /// Its root as nodes read it.
    pub tree: Arc<ImageRoot>,
}

/// All images being served.
pub struct ServedImages {
    catalogue: Arc<Catalogue>,
    roots: Roots,
    layer: WaltLayer,
    index_dir: PathBuf,
    making: tokio::sync::Mutex<HashMap<ImageId, Arc<tokio::sync::Mutex<()>>>>,
    table: RwLock<Table>,
}

#[derive(Default)]
struct Table {
    /// What nodes of an image are given now.
    current: HashMap<ImageFullName, Arc<ServedImage>>,
    /// Everything that may be read.
    by_root: HashMap<RootId, Arc<ServedImage>>,
    /// Which root a node mounted last.
    readers: HashMap<Mac, RootId>,
    /// What nodes that are booting were given.
    pins: Pins<ServedImage>,
    /// Since when a root is not needed.
    unused: HashMap<RootId, Instant>,
    /// Why an image is not served.
    problems: HashMap<ImageFullName, String>,
}

impl ServedImages {
    /// Nothing is served yet; `readers` are the roots nodes read before this start.
    pub fn new(
        catalogue: Arc<Catalogue>,
        roots: Roots,
        layer: WaltLayer,
        index_dir: PathBuf,
        readers: impl IntoIterator<Item = (Mac, RootId)>,
    ) -> Self {
        let table = Table { readers: readers.into_iter().collect(), ..Table::default() };
        Self {
            catalogue,
            roots,
            layer,
            index_dir,
            making: tokio::sync::Mutex::default(),
            table: RwLock::new(table),
        }
    }

    /// The images of the store.
    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// What nodes of this image are given now, if it is ready.
    pub fn of(&self, image: &ImageFullName) -> Option<Arc<ServedImage>> {
        self.table.read().current.get(image).cloned()
    }

    /// What a node is given in this boot, whatever becomes of its image meanwhile: kernel and root are of one image.
    pub fn for_boot(
        &self,
        node: Mac,
        boot: BootKey,
        image: &ImageFullName,
    ) -> Option<Arc<ServedImage>> {
        let mut table = self.table.write();
        let current = table.current.get(image).cloned();
        table.pins.take(node, boot, image, current, Instant::now())
    }

    /// The image whose root a node mounted last.
    pub fn read_by_node(&self, node: Mac) -> Option<Arc<ServedImage>> {
        let table = self.table.read();
        table.by_root.get(table.readers.get(&node)?).cloned()
    }

    /// The root of a file handle.
    pub fn tree(&self, id: &RootId) -> Option<Arc<ImageRoot>> {
        self.table.read().by_root.get(id).map(|image| image.tree.clone())
    }

    /// Why an image is not served, if that was tried and failed.
    pub fn problem(&self, image: &ImageFullName) -> Option<String> {
        self.table.read().problems.get(image).cloned()
    }

    /// Number of roots being served.
    pub fn count(&self) -> usize {
        self.table.read().by_root.len()
    }

    /// Makes an image ready: its root on disk, its index in memory; then nodes of that image get it.
    /// Callers of the same image share one making.
    pub async fn ensure(&self, image: &ImageFullName) -> Result<Arc<ServedImage>, ServeError> {
        loop {
            let result = self.make(image).await;
            if self.noted(image, &result) {
                return result;
            }
        }
    }

    /// Notes how the making of an image went. False when it was let go, as unused, since it was found, or when the name
    /// means another image since: the older one, ready later, must not take its place.
    fn noted(&self, image: &ImageFullName, result: &Result<Arc<ServedImage>, ServeError>) -> bool {
        let means = self.catalogue.get(image).map(|entry| entry.id.clone());
        let mut table = self.table.write();
        match result {
            Ok(served) if !table.by_root.contains_key(&served.tree.id()) => return false,
            Ok(served) if means.as_ref() != Some(&served.root.image) => return false,
            Ok(served) => {
                table.problems.remove(image);
                table.current.insert(image.clone(), served.clone());
            }
            Err(error) => {
                table.problems.insert(image.clone(), error.to_string());
            }
        }
        true
    }

    async fn make(&self, image: &ImageFullName) -> Result<Arc<ServedImage>, ServeError> {
        let id = self.catalogue.resolve(image).await?;
        self.prepare(&id).await
    }

    /// Makes the root of an image that has no name yet, so that it is there when it gets one. It is let go as unused
    /// after [`GRACE`].
    pub async fn prepare(&self, id: &ImageId) -> Result<Arc<ServedImage>, ServeError> {
        let turn = self.turn(id).await;
        let turn = turn.lock().await;
        let root_id = RootId::from_bytes(self.roots.id_of(id, &self.layer).0);
        if let Some(served) = self.table.read().by_root.get(&root_id).cloned() {
            return Ok(served);
        }
        let root = self.roots.ensure(id, &self.layer).await?;
        let served = self.index(root).await?;
        drop(turn);
        Ok(served)
    }

    /// Held while the root of an image is made or let go.
    async fn turn(&self, id: &ImageId) -> Arc<tokio::sync::Mutex<()>> {
        self.making.lock().await.entry(id.clone()).or_default().clone()
    }

    /// Indexes a root and serves it.
    async fn index(&self, root: Arc<Root>) -> Result<Arc<ServedImage>, ServeError> {
        let id = RootId::from_bytes(root.id.0);
        let (dir, index_dir) = (root.dir.clone(), self.index_dir.clone());
        let started = Instant::now();
        let tree = tokio::task::spawn_blocking(move || ImageRoot::open(id, &dir, &index_dir))
            .await
            .map_err(|_| ServeError::Stopping)??;
        tracing::info!(
            image = root.image.short(), root = %id, files = tree.files(),
            ms = started.elapsed().as_millis() as u64, "image root served"
        );
        for warning in &root.report.warnings {
            tracing::warn!(image = root.image.short(), "{warning}");
        }
        let served = Arc::new(ServedImage { root, tree: Arc::new(tree) });
        self.table.write().by_root.insert(id, served.clone());
        Ok(served)
    }

    /// After a restart: serves again the roots nodes were reading, even those no image leads to any more.
    pub async fn adopt_readers(&self) {
        let wanted: Vec<RootId> = self.table.read().readers.values().copied().collect();
        for id in wanted {
            if self.tree(&id).is_some() {
                continue;
            }
            match self.roots.claim(walt_images::RootId(*id.as_bytes())) {
                Some(root) => {
                    if let Err(error) = self.index(root).await {
                        tracing::warn!(root = %id, "a root nodes were reading is lost: {error}");
                    }
                }
                None => {
                    tracing::warn!(root = %id, "a root nodes were reading is lost");
                    self.table.write().readers.retain(|_, read| *read != id);
                }
            }
        }
        for error in self.roots.release_unclaimed().await {
            tracing::warn!("an old root could not be removed: {error}");
        }
    }

    /// A node mounted this root. True when it is another one than before.
    pub fn read_by(&self, node: Mac, root: RootId) -> bool {
        self.table.write().readers.insert(node, root) != Some(root)
    }

    /// Which nodes read which image.
    pub fn readers(&self) -> HashMap<Mac, ImageId> {
        let table = self.table.read();
        let image = |root| table.by_root.get(root).map(|served| served.root.image.clone());
        table.readers.iter().filter_map(|(mac, root)| Some((*mac, image(root)?))).collect()
    }

    /// A node no longer reads anything; gives the root it read.
    pub fn forget_reader(&self, node: Mac) -> Option<RootId> {
        let mut table = self.table.write();
        table.pins.forget(node);
        table.readers.remove(&node)
    }

    /// Stops serving what is neither the image of a node (`in_use`) nor read by one since [`GRACE`].
    pub async fn sweep(&self, in_use: &[ImageFullName], now: Instant) {
        let old: Vec<(RootId, ImageId)> = {
            let mut table = self.table.write();
            let table = &mut *table;
            table.current.retain(|image, _| in_use.contains(image));
            table.problems.retain(|image, _| in_use.contains(image));
            table.pins.expire(now);
            let needed = |id: &RootId| {
                table.current.values().any(|served| served.tree.id() == *id)
                    || table.pins.values().any(|served| served.tree.id() == *id)
                    || table.readers.values().any(|read| read == id)
            };
            let unused: Vec<RootId> =
                table.by_root.keys().filter(|id| !needed(id)).copied().collect();
            table.unused.retain(|id, _| unused.contains(id));
            for id in &unused {
                table.unused.entry(*id).or_insert(now);
            }
            let old = table.unused.iter().filter(|(_, since)| now.duration_since(**since) >= GRACE);
            let old: Vec<RootId> = old.map(|(id, _)| *id).collect();
            old.into_iter()
                .filter_map(|id| {
                    table.unused.remove(&id);
                    Some((id, table.by_root.remove(&id)?.root.image.clone()))
                })
                .collect()
        };
        for (id, image) in old {
            let turn = self.turn(&image).await;
            let _turn = turn.lock().await;
            if self.tree(&id).is_some() {
                // Asked for again meanwhile.
                continue;
            }
            match self.roots.release(walt_images::RootId(*id.as_bytes())).await {
                Ok(()) => {
                    tracing::info!(root = %id, "image root released");
                    let dir = self.index_dir.clone();
                    let removed =
                        tokio::task::spawn_blocking(move || ImageRoot::remove_index(&id, &dir));
                    if let Ok(Err(error)) = removed.await {
                        tracing::warn!("{error}");
                    }
                }
                Err(error) => tracing::warn!(root = %id, "a root could not be removed: {error}"),
            }
        }
    }

    /// The server stops for good: no mount is left.
    pub async fn release_all(&self) {
        *self.table.write() = Table::default();
        for error in self.roots.release_all().await {
            tracing::warn!("a root could not be removed: {error}");
        }
    }
}
