//! The node's plug in its bridge: a persistent tap interface of the caller's network namespace.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketType};

/// linux/sockios.h
const SIOCBRADDIF: libc::c_ulong = 0x89a2;
const SIOCGIFFLAGS: libc::c_ulong = 0x8913;
const SIOCSIFFLAGS: libc::c_ulong = 0x8914;
const SIOCGIFINDEX: libc::c_ulong = 0x8933;
/// linux/if_tun.h
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETPERSIST: libc::c_ulong = 0x4004_54cb;
const IFF_TAP: i16 = 0x0002;
const IFF_NO_PI: i16 = 0x1000;
const IFF_VNET_HDR: i16 = 0x4000;

/// Makes the tap (or takes the one that is there), plugs it into the bridge and brings it up.
///
/// # Errors
/// No such bridge; not allowed; `/dev/net/tun` is missing; the interface is something else.
pub fn plug(tap: &str, bridge: &str) -> io::Result<()> {
    let tun = open_tun(tap)?;
    persist(&tun, true)?;
    let control = control()?;
    let mut request = request(bridge)?;
    request.ifr_ifru.ifru_ifindex = index(&control, tap)?;
    // SAFETY: SIOCBRADDIF reads an ifreq: bridge name, index of the port.
    match unsafe { ioctl(&control, SIOCBRADDIF, &raw mut request) } {
        // Plugged already.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
        other => other.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot plug {tap} into the bridge {bridge}: {error}"),
            )
        })?,
    }
    let mut request = self::request(tap)?;
    // SAFETY: SIOCGIFFLAGS fills the flags of the ifreq; SIOCSIFFLAGS reads them.
    unsafe {
        ioctl(&control, SIOCGIFFLAGS, &raw mut request)?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as i16;
        ioctl(&control, SIOCSIFFLAGS, &raw mut request)
    }
}

/// Deletes the tap. Nothing there is no error.
///
/// # Errors
/// A program still holds it, or it is not a tap.
pub fn unplug(tap: &str) -> io::Result<()> {
    if !exists(tap) {
        return Ok(());
    }
    persist(&open_tun(tap)?, false)
}

/// Whether an interface of this name exists in this network namespace.
pub fn exists(name: &str) -> bool {
    control().and_then(|control| index(&control, name)).is_ok()
}

fn open_tun(tap: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let tun = rustix::fs::open("/dev/net/tun", flags, Mode::empty()).map_err(|error| {
        io::Error::new(
            io::Error::from(error).kind(),
            format!("/dev/net/tun: {error}; is the tun module loaded?"),
        )
    })?;
    let mut request = request(tap)?;
    request.ifr_ifru.ifru_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    // SAFETY: TUNSETIFF reads an ifreq: interface name and flags.
    unsafe { ioctl(&tun, TUNSETIFF, &raw mut request) }.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot make the tap {tap}: {error}"))
    })?;
    Ok(tun)
}

fn persist(tun: &OwnedFd, keep: bool) -> io::Result<()> {
    // SAFETY: TUNSETPERSIST takes an integer by value.
    if unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETPERSIST, libc::c_ulong::from(keep)) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn control() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?)
}

fn index(control: &OwnedFd, name: &str) -> io::Result<libc::c_int> {
    let mut request = request(name)?;
    // SAFETY: SIOCGIFINDEX fills the index of the ifreq, which is read as an integer then.
    unsafe {
        ioctl(control, SIOCGIFINDEX, &raw mut request)?;
        Ok(request.ifr_ifru.ifru_ifindex)
    }
}

fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: an ifreq of zeros is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("'{name}' is no interface name"),
        ));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

/// # Safety
/// The request must be one that takes an `ifreq`.
unsafe fn ioctl(fd: &OwnedFd, code: libc::c_ulong, request: *mut libc::ifreq) -> io::Result<()> {
    // SAFETY: the pointer is to a whole ifreq; the caller vouches for the request.
    if unsafe { libc::ioctl(fd.as_raw_fd(), code, request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
