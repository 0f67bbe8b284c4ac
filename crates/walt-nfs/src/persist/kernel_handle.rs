//! Handles of the kernel's file systems: `name_to_handle_at(2)` and `open_by_handle_at(2)`.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::handle::{KERNEL_HANDLE_MAX, KernelHandle};

/// `struct file_handle` with room for the longest handle that we can pass on.
#[repr(C)]
struct RawHandle {
    bytes: libc::c_uint,
    kind: libc::c_int,
    handle: [u8; KERNEL_HANDLE_MAX],
}

/// The handle of an open object. `OPNOTSUPP` where the file system has none, or too long ones.
pub(super) fn of(object: BorrowedFd<'_>) -> Result<KernelHandle, Errno> {
    let mut raw = RawHandle {
        bytes: KERNEL_HANDLE_MAX as libc::c_uint,
        kind: 0,
        handle: [0; KERNEL_HANDLE_MAX],
    };
    let mut mount_id = 0;
    // SAFETY: `raw` has the layout of `struct file_handle` followed by as many bytes as its first
    // field says; the path is a C string; both outlive the call.
    let result = unsafe {
        libc::name_to_handle_at(
            object.as_raw_fd(),
            c"".as_ptr(),
            (&raw mut raw).cast(),
            &raw mut mount_id,
            libc::AT_EMPTY_PATH,
        )
    };
    if result != 0 {
        return Err(match last_error() {
            Errno::OVERFLOW => Errno::OPNOTSUPP,
            other => other,
        });
    }
    let kind = u8::try_from(raw.kind).map_err(|_| Errno::OPNOTSUPP)?;
    let handle = raw.handle.get(..raw.bytes as usize).ok_or(Errno::OPNOTSUPP)?;
    KernelHandle::new(kind, handle).ok_or(Errno::OPNOTSUPP)
}

/// Holds the object of a handle, without opening it. `mount` is any open directory of its file
/// system.
pub(super) fn open(mount: BorrowedFd<'_>, handle: &KernelHandle) -> Result<OwnedFd, Errno> {
    let mut raw = RawHandle {
        bytes: handle.bytes().len() as libc::c_uint,
        kind: handle.kind.into(),
        handle: [0; KERNEL_HANDLE_MAX],
    };
    raw.handle[..handle.bytes().len()].copy_from_slice(handle.bytes());
    // SAFETY: as above; the kernel reads `raw` only.
    let fd = unsafe {
        libc::open_by_handle_at(
            mount.as_raw_fd(),
            (&raw mut raw).cast(),
            libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC,
        )
    };
    if fd < 0 {
        return Err(last_error());
    }
    // SAFETY: the call succeeded, so `fd` is open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
