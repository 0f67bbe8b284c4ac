//! The mount protocol (RFC 1813 appendix I): from a path to the handle of its directory.

use std::net::IpAddr;
use std::time::SystemTime;

use bytes::BufMut;
use nfs3_types::mount::{MNTPATHLEN, MOUNT_PROGRAM, mountstat3};
use nfs3_types::nfs3::nfsstat3;
use nfs3_types::rpc::auth_flavor;

pub(crate) use nfs3_types::mount::PROGRAM;

use crate::service::Service;
use crate::xdr::{self, Malformed, Reader};
use crate::{MountDenied, MountTarget, NfsEvent, NfsObservation, TargetId};

/// What a mount gives: the handle of its directory.
type Granted = (Vec<u8>, TargetId);

/// Whether the procedure asks the file system (of a persistent directory) and may block.
pub(crate) fn may_block(procedure: u32) -> bool {
    procedure == MOUNT_PROGRAM::MOUNTPROC3_MNT as u32
}

/// Carries out a call; `Ok(false)` when there is no such procedure.
pub(crate) fn call(
    service: &Service,
    client: IpAddr,
    version: u32,
    procedure: u32,
    args: &mut Reader<'_>,
    out: &mut Vec<u8>,
) -> Result<bool, Malformed> {
    match MOUNT_PROGRAM::try_from(procedure) {
        Ok(MOUNT_PROGRAM::MOUNTPROC3_NULL | MOUNT_PROGRAM::MOUNTPROC3_UMNTALL) => {}
        Ok(MOUNT_PROGRAM::MOUNTPROC3_MNT) => {
            let path = args.opaque(MNTPATHLEN)?;
            if version == 3 {
                mount(service, client, path, out);
            } else {
                // Versions 1 and 2 give NFSv2 handles, and NFSv2 is not served.
                out.put_u32(mountstat3::MNT3ERR_ACCES as u32);
            }
        }
        Ok(MOUNT_PROGRAM::MOUNTPROC3_DUMP) => out.put_u32(0),
        Ok(MOUNT_PROGRAM::MOUNTPROC3_UMNT) => {
            let path = String::from_utf8_lossy(args.opaque(MNTPATHLEN)?).into_owned();
            observe(service, client, NfsEvent::Unmounted { path });
        }
        Ok(MOUNT_PROGRAM::MOUNTPROC3_EXPORT) => {
            for path in service.exports.listing(client) {
                out.put_u32(1);
                xdr::put_opaque(out, path.as_bytes());
                out.put_u32(0);
            }
            out.put_u32(0);
        }
        Err(_) => return Ok(false),
    }
    Ok(true)
}

fn mount(service: &Service, client: IpAddr, path: &[u8], out: &mut Vec<u8>) {
    let granted = match std::str::from_utf8(path) {
        Ok(path) => grant(service, client, path),
        Err(_) => Err((mountstat3::MNT3ERR_NOENT, MountDenied::NotFound)),
    };
    let path = String::from_utf8_lossy(path).into_owned();
    match granted {
        Ok((handle, target)) => {
            out.put_u32(mountstat3::MNT3_OK as u32);
            xdr::put_opaque(out, &handle);
            out.put_u32(1);
            out.put_u32(auth_flavor::AUTH_UNIX as u32);
            service.first_steps.forget(client, target);
            observe(service, client, NfsEvent::MountGranted { path, target });
        }
        Err((status, reason)) => {
            out.put_u32(status as u32);
            observe(service, client, NfsEvent::MountDenied { path, reason });
        }
    }
}

fn grant(
    service: &Service,
    client: IpAddr,
    path: &str,
) -> Result<Granted, (mountstat3, MountDenied)> {
    let not_found = (mountstat3::MNT3ERR_NOENT, MountDenied::NotFound);
    let trimmed = match path.trim_end_matches('/') {
        "" => "/",
        trimmed => trimmed,
    };
    let target = service.exports.mount(client, trimmed).map_err(|denied| match denied {
        MountDenied::NotFound => (mountstat3::MNT3ERR_NOENT, denied),
        MountDenied::NotPermitted(_) => (mountstat3::MNT3ERR_ACCES, denied),
    })?;
    match target {
        MountTarget::Image { root, within } => {
            let node = root.resolve(within.as_bytes()).ok_or(not_found)?;
            if !root.index().is_directory(node) {
                return Err((mountstat3::MNT3ERR_NOTDIR, MountDenied::NotFound));
            }
            let handle = service.key.image(&root.id(), node);
            Ok((handle.to_vec(), TargetId::Image(root.id())))
        }
        MountTarget::Persist { id, path, within, writable } => {
            let object = service.persist.tree(&id, &path).and_then(|tree| tree.resolve(&within));
            let object = object.map_err(|status| match status {
                nfsstat3::NFS3ERR_NOTDIR => (mountstat3::MNT3ERR_NOTDIR, MountDenied::NotFound),
                nfsstat3::NFS3ERR_NOENT | nfsstat3::NFS3ERR_STALE => not_found.clone(),
                _ => (mountstat3::MNT3ERR_IO, MountDenied::NotFound),
            })?;
            let handle = service.key.persist(&id, writable, &object);
            Ok((handle, TargetId::Persist(id)))
        }
    }
}

fn observe(service: &Service, client: IpAddr, event: NfsEvent) {
    service.exports.observe(NfsObservation { at: SystemTime::now(), client, event });
}
