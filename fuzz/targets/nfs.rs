//! RPC records to the NFS service: portmap, mount, NFS 3 and 4, NFSACL, over a real image root.
//!
//! An input is a sequence of records, each after its length in two bytes. Handles cannot be forged, so the bytes
//! `HND` and a digit stand for a valid one: the opaque of the object with that number.
#![no_main]

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use walt_nfs::fuzzing::FuzzedService;
use walt_nfs::{Exports, ImageRoot, MountDenied, MountTarget, NfsObservation, PersistId, Place, RootId};

const PATH: &str = "/var/lib/walt/nodes/vnode1/fs";

/// One image with a file, folders and a link.
struct OneImage {
    id: RootId,
    root: Arc<ImageRoot>,
    _folder: tempfile::TempDir,
}

static IMAGE: LazyLock<Arc<OneImage>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let (tree, index) = (folder.path().join("tree"), folder.path().join("index"));
    fs::create_dir_all(tree.join("etc/deep/er")).expect("folders");
    fs::create_dir(&index).expect("a folder");
    fs::write(tree.join("etc/hostname"), "vnode1").expect("a file");
    std::os::unix::fs::symlink("etc/hostname", tree.join("link")).expect("a link");
    let id = RootId::derive("image");
    let root = Arc::new(ImageRoot::open(id, &tree, &index).expect("an index"));
    Arc::new(OneImage { id, root, _folder: folder })
});

struct Shown(Arc<OneImage>);

impl Exports for Shown {
    fn mount(&self, _: IpAddr, path: &str) -> Result<MountTarget, MountDenied> {
        match path.strip_prefix(PATH) {
            Some(within) => {
                Ok(MountTarget::Image { root: self.0.root.clone(), within: within.to_owned() })
            }
            None => Err(MountDenied::NotFound),
        }
    }

    fn image_root(&self, id: &RootId) -> Option<Arc<ImageRoot>> {
        (*id == self.0.id).then(|| self.0.root.clone())
    }

    fn persist(&self, _: &PersistId) -> Option<PathBuf> {
        None
    }

    fn observe(&self, _: NfsObservation) {}

    fn place(&self, _: IpAddr, path: &str) -> Result<Place, MountDenied> {
        if path == PATH {
            return Ok(Place::Image { root: self.0.root.clone(), within: String::new() });
        }
        let on_the_way = PATH.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        if on_the_way { Ok(Place::Folder) } else { Err(MountDenied::NotFound) }
    }

    fn names(&self, _: IpAddr, path: &str) -> Vec<String> {
        let rest = PATH.strip_prefix(path).and_then(|rest| rest.strip_prefix('/'));
        rest.and_then(|rest| rest.split('/').next()).map(str::to_owned).into_iter().collect()
    }
}

/// The record with its marks replaced by handles.
fn filled(service: &FuzzedService, record: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = record;
    while let Some((first, others)) = rest.split_first() {
        if let [b'H', b'N', b'D', digit, after @ ..] = rest
            && digit.is_ascii_digit()
        {
            let handle = service.image_handle(&IMAGE.id, u32::from(digit - b'0'));
            out.extend((handle.len() as u32).to_be_bytes());
            out.extend(&handle);
            out.resize(out.len().next_multiple_of(4), 0);
            rest = after;
        } else {
            out.push(*first);
            rest = others;
        }
    }
    out
}

fuzz_target!(|bytes: &[u8]| {
    let mut service = FuzzedService::new(Arc::new(Shown(IMAGE.clone())));
    let mut rest = bytes;
    while let [high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (record, next) = after.split_at(length);
        if let Some(reply) = service.call(&filled(&service, record)) {
            // The largest answer is that to a read: a megabyte and some headers.
            assert!(reply.len() <= (1 << 20) + 65536, "{} bytes", reply.len());
        }
        rest = next;
    }
});
