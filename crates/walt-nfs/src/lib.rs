//! NFSv3, NFSv4, mount and portmap in user space: immutable image roots and the nodes' persistent directories.
//!
//! | what | where |
//! | --- | --- |
//! | who may mount what | [`Exports`], implemented by the server |
//! | the tree of an image, indexed once and read by many nodes | [`ImageRoot`] |
//! | the server: sockets, calls, answers | [`NfsServer`], [`NfsConfig`] |
//! | file handles that survive a restart and cannot be forged | [`HandleKey`] |
//!
//! Every TCP listener answers portmap 2, mount 1 to 3, NFS 3 and 4, and NFSACL 3; every UDP listener
//! answers portmap and mount. Protocols: RFC 5531 (RPC), RFC 1813 (NFS 3, mount), RFC 7530 and
//! RFC 8881 (NFS 4), RFC 1833 (portmap).

mod acl;
mod attributes;
mod clients;
mod counts;
mod exports;
#[cfg(fuzzing)]
pub mod fuzzing;
mod handle;
mod image_root;
mod mount;
mod nfs;
mod nfs4;
mod persist;
mod portmap;
mod replay;
mod rpc;
mod server;
mod service;
mod xdr;

pub use counts::{Calls, calls};
pub use exports::{
    Exports, MountDenied, MountTarget, NfsEvent, NfsObservation, PersistId, Place, RootId, TargetId,
};
pub use handle::{HandleKey, HandleKeyError};
pub use image_root::{ImageRoot, ImageRootError};
pub use server::{NfsConfig, NfsError, NfsServer};
