//! Swap space for nodes, TCP 10809 (NBD).
//!
//! The memory of a node is in there: a connection that ends, or bytes that are not found again, is a node that
//! fails. So a program of its own, `walt-server swap`, holds the port, the connections and the files; it goes on when
//! the server is killed or replaced. The server starts it, or finds it ([`keeper`]); it asks the server who calls
//! ([`link`]), and gives each node one file ([`space`]).
//!
//! The file belongs to one boot of the node. It stays when the connection or the program ends, for a client that comes
//! back, and is removed at the next boot, with the node, or after [`space::ABSENCE`].

mod connection;
pub mod keeper;
mod link;
pub mod program;
pub mod space;

use std::net::Ipv4Addr;

use futures_util::future::BoxFuture;
use walt_model::Mac;

/// TCP port of swap space.
pub const PORT: u16 = 10809;

/// Largest swap space of one node, in GiB (files are sparse).
pub const LIMIT_GIB: u64 = 64;

/// Most connections at a time.
const CONNECTIONS: usize = 1024;

/// A node that may have swap space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its MAC.
    pub mac: Mac,
    /// When its current boot began as far as known, in ms since 1970; 0 for unknown.
    pub boot_ms: u64,
}

/// Who calls.
pub trait Owners: Send + Sync + 'static {
    /// The node with this address; an error when it cannot be known now.
    fn owner(&self, ip: Ipv4Addr) -> BoxFuture<'_, Result<Option<Owner>, String>>;

    /// Does this node still exist? True when it cannot be known now.
    fn exists(&self, mac: Mac) -> BoxFuture<'_, bool>;
}
