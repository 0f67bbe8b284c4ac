//! What the platform must still know after a restart: one SQLite file, `platform.db`.
//!
//! Hot decisions use the registry in memory; it is filled once from [`State::load`] and every change is also
//! given to [`State`]. All changes go through one writer thread that commits in groups with `synchronous=FULL`:
//! a thousand devices appearing at once cost a few disk flushes, not a thousand, and an answered change survives
//! a power cut. A change is queued when its method is *called*; the returned [`Pending`] may be awaited (durable
//! when it answers), blocked on, or dropped (a failure is then still logged).

mod boots;
pub(crate) mod devices;
mod error;
mod images;
mod roots;
mod schema;
mod sessions;
mod writer;

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;
use walt_model::{DeviceName, ImageFullName, Mac};

pub use boots::{Boot, KEPT_BOOTS};
pub use devices::{Device, Firmware, Node, Settings};
pub use error::StateError;
pub use images::{Change, Content, Version};
pub use roots::RootInUse;
pub use sessions::{ImageSession, Saving, Step};
pub use writer::Pending;

use writer::WriterHandle;

/// Everything the registry needs at start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// All devices, by name.
    pub devices: Vec<Device>,
    /// The nodes among them.
    pub nodes: Vec<Node>,
    /// Which node reads which image root.
    pub roots: Vec<RootInUse>,
}

/// The devices in the file of a platform that does not run; nothing is written.
pub fn devices_in(path: &Path) -> Result<Vec<Device>, StateError> {
    devices::all_devices(&schema::open_reader(path)?)
}

/// The platform state. Cheap to clone; the file is closed when the last clone is dropped.
#[derive(Clone)]
pub struct State {
    writer: Arc<WriterHandle>,
    reader: Arc<Mutex<Connection>>,
}

impl State {
    /// Open or create the file, bringing an older format up to date. Before that a copy of the file is kept
    /// beside it, named `<file>.format-<number>`.
    ///
    /// # Errors
    /// [`StateError::Newer`] for a file written by a later version of the program; [`StateError::Open`].
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let conn = schema::open(path)?;
        let reader = schema::open_reader(path)?;
        Ok(Self {
            writer: Arc::new(WriterHandle::start(conn)?),
            reader: Arc::new(Mutex::new(reader)),
        })
    }

    /// All devices, nodes and roots in use.
    pub async fn load(&self) -> Result<Snapshot, StateError> {
        self.read(|conn| {
            Ok(Snapshot {
                devices: devices::all_devices(conn)?,
                nodes: devices::all_nodes(conn)?,
                roots: roots::all(conn)?,
            })
        })
        .await
    }

    /// Add a device, or replace what is known about it, settings included.
    ///
    /// # Errors
    /// [`StateError::Taken`] when another device has this name or address.
    pub fn put_device(&self, device: Device) -> Pending<()> {
        self.writer.change("put_device", move |conn| devices::put_device(conn, &device))
    }

    /// Say that a device is a node, with its model and image; its device must be there.
    /// The booted flag is written as given.
    ///
    /// # Errors
    /// [`StateError::NoSuchDevice`].
    pub fn put_node(&self, node: Node) -> Pending<()> {
        self.writer.change("put_node", move |conn| devices::put_node(conn, &node))
    }

    /// Add or replace a device and its node in one step: both or none.
    pub fn put_device_and_node(&self, device: Device, node: Node) -> Pending<()> {
        self.writer.change("put_device_and_node", move |conn| {
            devices::put_device(conn, &device)?;
            devices::put_node(conn, &node)
        })
    }

    /// Give a device another name.
    ///
    /// # Errors
    /// [`StateError::Taken`], [`StateError::NoSuchDevice`].
    pub fn rename_device(&self, mac: Mac, name: DeviceName) -> Pending<()> {
        self.writer.change("rename_device", move |conn| devices::rename(conn, mac, &name))
    }

    /// Forget a device, its node, settings, boots and roots. Nothing happens if it is not there.
    pub fn remove_device(&self, mac: Mac) -> Pending<()> {
        self.writer.change("remove_device", move |conn| devices::remove(conn, mac))
    }

    /// Associate nodes with an image, all or none.
    ///
    /// # Errors
    /// [`StateError::NoSuchDevice`].
    pub fn set_image(&self, nodes: Vec<Mac>, image: ImageFullName) -> Pending<()> {
        self.writer.change("set_image", move |conn| devices::set_image(conn, &nodes, &image))
    }

    /// Set the given settings of devices, leaving their others; all devices or none.
    ///
    /// # Errors
    /// [`StateError::NoSuchDevice`].
    pub fn merge_settings(&self, devices: Vec<Mac>, settings: Settings) -> Pending<()> {
        self.writer.change("merge_settings", move |conn| {
            devices::merge_settings(conn, &devices, &settings)
        })
    }

    /// Record whether a node is booted, for the next start of the server.
    pub fn set_booted(&self, node: Mac, booted: bool) -> Pending<()> {
        self.writer.change("set_booted", move |conn| devices::set_booted(conn, node, booted))
    }

    /// Add a boot or update the one with the same id; only the last [`KEPT_BOOTS`] of each node are kept.
    ///
    /// # Errors
    /// [`StateError::NoSuchDevice`].
    pub fn put_boot(&self, boot: Boot) -> Pending<()> {
        self.writer.change("put_boot", move |conn| boots::put(conn, &boot))
    }

    /// The last boots of a node, latest first.
    pub async fn boots(&self, node: Mac) -> Result<Vec<Boot>, StateError> {
        self.read(move |conn| boots::of(conn, node)).await
    }

    /// A node reads this image root: keep it readable after a restart. A node may have several (an old one
    /// until it has rebooted).
    ///
    /// # Errors
    /// [`StateError::NoSuchDevice`].
    pub fn use_root(&self, node: Mac, root: String) -> Pending<()> {
        self.writer.change("use_root", move |conn| roots::add(conn, node, &root))
    }

    /// A node reads only this image root any more.
    pub fn use_only_root(&self, node: Mac, root: String) -> Pending<()> {
        self.writer.change("use_only_root", move |conn| roots::only(conn, node, &root))
    }

    /// A node no longer reads this image root.
    pub fn release_root(&self, node: Mac, root: String) -> Pending<()> {
        self.writer.change("release_root", move |conn| roots::remove(conn, node, &root))
    }

    /// The versions of an image name, oldest first.
    pub async fn image_versions(&self, image: &ImageFullName) -> Result<Vec<Version>, StateError> {
        let image = image.clone();
        self.read(move |conn| images::versions(conn, Some(&image))).await
    }

    /// The versions of all image names, in the order of names, oldest first.
    pub async fn all_image_versions(&self) -> Result<Vec<Version>, StateError> {
        self.read(|conn| images::versions(conn, None)).await
    }

    /// The changes of image names that have begun and not ended.
    pub async fn image_changes(&self) -> Result<Vec<(ImageFullName, Change)>, StateError> {
        self.read(images::changes).await
    }

    /// Adds the latest version of an image name; gives its number.
    pub fn add_image_version(&self, image: ImageFullName, content: Content) -> Pending<u32> {
        self.writer
            .change("add_image_version", move |conn| images::add_version(conn, &image, &content))
    }

    /// Forgets one version of an image name.
    pub fn forget_image_version(&self, image: ImageFullName, number: u32) -> Pending<()> {
        self.writer.change("forget_image_version", move |conn| {
            images::forget_version(conn, &image, number)
        })
    }

    /// A shell in an image begins, or is further than before.
    pub fn put_image_session(&self, session: ImageSession) -> Pending<()> {
        self.writer.change("put_image_session", move |conn| sessions::put(conn, &session))
    }

    /// A shell in an image is over.
    pub fn remove_image_session(&self, id: String) -> Pending<()> {
        self.writer.change("remove_image_session", move |conn| sessions::remove(conn, &id))
    }

    /// All shells in images, oldest first.
    pub async fn image_sessions(&self) -> Result<Vec<ImageSession>, StateError> {
        self.read(sessions::all).await
    }

    /// A change of an image name begins.
    pub fn begin_image_change(&self, image: ImageFullName, change: Change) -> Pending<()> {
        self.writer.change("begin_image_change", move |conn| images::begin(conn, &image, &change))
    }

    /// A change of an image name ends without having been made.
    pub fn undo_image_change(&self, image: ImageFullName) -> Pending<()> {
        self.writer.change("undo_image_change", move |conn| images::end(conn, &image))
    }

    /// A change of an image name has been made: the history follows, of which the last `kept` versions stay.
    pub fn end_image_change(
        &self,
        image: ImageFullName,
        change: Change,
        kept: usize,
    ) -> Pending<()> {
        self.writer.change("end_image_change", move |conn| {
            match &change {
                Change::Put { content } => {
                    images::add_version(conn, &image, content)?;
                    images::keep_last(conn, &image, kept)?;
                }
                Change::Remove => images::forget_versions(conn, &image)?,
                Change::Rename { to } => images::move_versions(conn, &image, to)?,
            }
            images::end(conn, &image)
        })
    }

    /// A small value of the server itself, kept by name.
    pub fn put_value(&self, name: &'static str, value: String) -> Pending<()> {
        self.writer.change("put_value", move |conn| {
            conn.execute(
                "INSERT INTO server_values(name, value) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                [name, &value],
            )?;
            Ok(())
        })
    }

    /// The small value of that name.
    pub async fn value(&self, name: &'static str) -> Result<Option<String>, StateError> {
        use rusqlite::OptionalExtension;
        self.read(move |conn| {
            Ok(conn
                .query_row("SELECT value FROM server_values WHERE name = ?1", [name], |r| r.get(0))
                .optional()?)
        })
        .await
    }

    /// Wait until every change made before is on disk.
    pub fn flush(&self) -> Pending<()> {
        self.writer.change("flush", |_| Ok(()))
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let reader = self.reader.clone();
        tokio::task::spawn_blocking(move || query(&reader.lock()))
            .await
            .map_err(|_| StateError::Stopped)?
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
