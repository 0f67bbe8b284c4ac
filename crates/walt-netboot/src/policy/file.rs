//! Boot files: what is asked for, and what the policy gives.

use std::fmt;
use std::fs::File;
use std::net::IpAddr;

use bytes::Bytes;

/// The protocol a boot file is asked over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// TFTP (RFC 1350).
    Tftp,
    /// HTTP, path `/boot/...`.
    Http,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tftp => "TFTP",
            Self::Http => "HTTP",
        })
    }
}

/// Where a boot file is looked for. Paths are relative, `/`-separated, never empty, and have no empty,
/// `.` or `..` component: joined to a directory they stay under it (symbolic links are the policy's business).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilePlace {
    /// A file of the platform, the same for everybody: `pxe/walt-x86-undionly.kpxe`.
    /// Relative to the directory that holds `pxe/`.
    Platform(String),
    /// A file of the node: relative to `nodes/<client>/tftp/`, which is `/boot/<model>/` of its image
    /// (or the static tree for addresses no node has).
    Node(String),
}

impl FilePlace {
    /// The relative path, in either place.
    pub fn path(&self) -> &str {
        match self {
            Self::Platform(path) | Self::Node(path) => path,
        }
    }
}

impl fmt::Display for FilePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path())
    }
}

/// A request for a boot file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRequest {
    /// Where to look, after normalisation and the mapping rules of old boot media.
    pub place: FilePlace,
    /// The name as the client wrote it (decoded text, for messages only: never open this).
    pub asked: String,
    /// The protocol.
    pub via: Via,
    /// The peer that sent the request; differs from the `client` given to the policy when an HTTP
    /// request names another node with `node_ip`.
    pub peer: IpAddr,
}

/// What the policy gives for a [`FileRequest`].
#[derive(Debug)]
pub enum FileDecision {
    /// This open regular file, of `size` bytes, from its start.
    File {
        /// The file, opened for reading. Read with positioned reads: its offset does not matter.
        file: File,
        /// Its size in bytes. If it shrinks while it is sent, the transfer fails.
        size: u64,
    },
    /// These bytes.
    Bytes(Bytes),
    /// There is no such file: TFTP error 1, HTTP 404, at once, because boot loaders rely on it.
    Missing,
    /// The client may not have it, and why (for the boot time line): TFTP error 2, HTTP 403.
    Denied(String),
}
