//! The serial console of a virtual node.

use bytes::Bytes;
use tokio::sync::broadcast;

/// A console: the same bytes to every reader, keys from any writer. It outlives the guest's resets,
/// QEMU's respawns and this process.
#[derive(Debug)]
pub struct Console {}

impl Console {
    /// What the guest prints from now on. A reader too slow gets `Lagged` and goes on.
    pub fn subscribe(&self) -> broadcast::Receiver<Bytes> {
        unimplemented!()
    }

    /// The latest output (at most `limit` bytes), for a reader that just arrived.
    pub fn history(&self, limit: usize) -> Bytes {
        unimplemented!("{limit}")
    }

    /// Types bytes into the console. Dropped with an error when the guest is not running or does not
    /// read.
    ///
    /// # Errors
    /// The console is not connected.
    pub async fn write(&self, bytes: &[u8]) -> std::io::Result<()> {
        unimplemented!("{bytes:?}")
    }
}
