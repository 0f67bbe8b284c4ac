//! Acting as the caller: the kernel then checks permissions, sets owners and clears setuid bits
//! as it would for a local process.

use std::sync::LazyLock;

use rustix::io::Errno;

use crate::rpc::Credentials;

/// The supplementary groups of this process, to come back to.
static OWN_GROUPS: LazyLock<Vec<libc::gid_t>> = LazyLock::new(|| {
    rustix::process::getgroups()
        .unwrap_or_default()
        .into_iter()
        .map(rustix::process::Gid::as_raw)
        .collect()
});

/// While it lives, this thread reaches files as the caller does. Must be dropped on the same thread.
pub(crate) struct ActingAs {
    uid: libc::uid_t,
    gid: libc::gid_t,
    /// The file identity belongs to the thread: this value must stay on it.
    _thread: std::marker::PhantomData<*const ()>,
}

impl ActingAs {
    /// `None` when there is nothing to change: the caller is root, or this process is not and can
    /// only act as itself.
    pub(crate) fn new(caller: &Credentials) -> Result<Option<Self>, Errno> {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        if uid != 0 || (caller.uid == 0 && caller.gid == gid) {
            return Ok(None);
        }
        LazyLock::force(&OWN_GROUPS);
        set_groups(caller.groups())?;
        let acting = Self { uid, gid, _thread: std::marker::PhantomData };
        set_identity(caller.uid, caller.gid);
        Ok(Some(acting))
    }
}

impl Drop for ActingAs {
    fn drop(&mut self) {
        set_identity(self.uid, self.gid);
        if let Err(error) = set_groups(&OWN_GROUPS) {
            // The thread would go on with the caller's groups, which root does not need anyway.
            tracing::error!("cannot take back the server's groups: {error}");
        }
    }
}

fn set_identity(uid: libc::uid_t, gid: libc::gid_t) {
    // SAFETY: these calls take plain numbers and change the calling thread only.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
    }
}

/// The system call itself: the function of the C library changes all threads.
fn set_groups(groups: &[libc::gid_t]) -> Result<(), Errno> {
    // SAFETY: pointer and length are those of a live slice.
    let result = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    if result == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::PERM))
    }
}
