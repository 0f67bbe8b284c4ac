//! How many calls came, by protocol, since the process started.

use std::sync::atomic::{AtomicU64, Ordering};

/// Calls received since the process started, by protocol; answered or refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// NFS version 3, with its ACL side protocol.
    pub nfs3: u64,
    /// NFS version 4 (compounds).
    pub nfs4: u64,
    /// Mount.
    pub mount: u64,
    /// Anything else: portmap, unknown programs.
    pub other: u64,
}

static NFS3: AtomicU64 = AtomicU64::new(0);
static NFS4: AtomicU64 = AtomicU64::new(0);
static MOUNT: AtomicU64 = AtomicU64::new(0);
static OTHER: AtomicU64 = AtomicU64::new(0);

/// The calls so far.
pub fn calls() -> Calls {
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    Calls { nfs3: read(&NFS3), nfs4: read(&NFS4), mount: read(&MOUNT), other: read(&OTHER) }
}

/// A call came.
pub(crate) fn count(program: u32, version: u32) {
    use nfs3_types::nfs3;
    let count = match program {
        nfs3::PROGRAM if version == crate::nfs4::VERSION => &NFS4,
        nfs3::PROGRAM | crate::acl::PROGRAM => &NFS3,
        crate::mount::PROGRAM => &MOUNT,
        _ => &OTHER,
    };
    count.fetch_add(1, Ordering::Relaxed);
}
