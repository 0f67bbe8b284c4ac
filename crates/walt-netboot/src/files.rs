//! Names of boot files: from what a client writes to a [`FilePlace`], the same for TFTP and HTTP.

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::policy::{
    BootEvent, BootObservation, BootPolicy, EFI_ARM64_FILE, EFI_X64_FILE, EFI_X86_FILE,
    FileDecision, FilePlace, FileRequest, GENERIC_SCRIPT, UNDIONLY_FILE, generic_script,
};

/// Longest path served, in bytes.
const MAX_PATH: usize = 1024;

/// Why a name is not the path of a boot file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// It has a `..` component.
    #[error("the path leads out of the boot directory")]
    Escape,
    /// Nothing is left of it, it is too long, or it has control characters.
    #[error("not a file name")]
    NoName,
}

/// The path without leading and double slashes and without `.`; refuses `..`.
pub(crate) fn normalised(path: &str) -> Result<String, BadPath> {
    if path.len() > MAX_PATH || path.chars().any(char::is_control) {
        return Err(BadPath::NoName);
    }
    let mut kept = String::with_capacity(path.len());
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => return Err(BadPath::Escape),
            name => {
                if !kept.is_empty() {
                    kept.push('/');
                }
                kept.push_str(name);
            }
        }
    }
    if kept.is_empty() { Err(BadPath::NoName) } else { Ok(kept) }
}

/// What iPXE (1.21 and later) asks for by itself, beside the program it is or at the root of the server.
const AUTOEXEC: [&str; 2] = ["autoexec.ipxe", "pxe/autoexec.ipxe"];

/// The files of the platform our own DHCP answers name, and what iPXE asks for by itself; everything
/// else is the node's.
pub(crate) fn place(path: String) -> FilePlace {
    let programs = [UNDIONLY_FILE, EFI_X64_FILE, EFI_X86_FILE, EFI_ARM64_FILE, GENERIC_SCRIPT];
    if programs.contains(&path.as_str()) || AUTOEXEC.contains(&path.as_str()) {
        FilePlace::Platform(path)
    } else {
        FilePlace::Node(path)
    }
}

/// What this crate has itself: the script that tells the model of a machine.
fn own(place: &FilePlace) -> Option<FileDecision> {
    let FilePlace::Platform(path) = place else { return None };
    let ours = path == GENERIC_SCRIPT || AUTOEXEC.contains(&path.as_str());
    ours.then(|| FileDecision::Bytes(generic_script()))
}

/// Asks the policy on a blocking thread, answers what this crate has itself, and notes refusals.
pub(crate) async fn open(
    policy: &Arc<dyn BootPolicy>,
    client: Ipv4Addr,
    request: &FileRequest,
) -> FileDecision {
    let decision = if let Some(own) = own(&request.place) {
        own
    } else {
        let policy = Arc::clone(policy);
        let request = request.clone();
        match tokio::task::spawn_blocking(move || policy.boot_file(client, &request)).await {
            Ok(decision) => decision,
            Err(error) => {
                tracing::error!(%client, %error, "the decision about a boot file panicked");
                FileDecision::Denied("internal error".to_owned())
            }
        }
    };
    let event = match &decision {
        FileDecision::Missing => {
            BootEvent::FileMissing { via: request.via, path: request.place.to_string() }
        }
        FileDecision::Denied(reason) => BootEvent::FileDenied {
            via: request.via,
            path: request.asked.clone(),
            reason: reason.clone(),
        },
        FileDecision::File { .. } | FileDecision::Bytes(_) => return decision,
    };
    policy.observe(BootObservation::now(Some(client), None, event));
    decision
}

/// What is read while it is sent.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// An open file and its size when the transfer started.
    File(Arc<std::fs::File>, u64),
    /// Bytes in memory.
    Bytes(bytes::Bytes),
}

impl Content {
    /// `None` for the decisions that give nothing.
    pub(crate) fn of(decision: FileDecision) -> Option<Self> {
        match decision {
            FileDecision::File { file, size } => Some(Self::File(Arc::new(file), size)),
            FileDecision::Bytes(bytes) => Some(Self::Bytes(bytes)),
            FileDecision::Missing | FileDecision::Denied(_) => None,
        }
    }

    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::File(_, size) => *size,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Reads exactly `length` bytes at `offset`; both must be within the size. Blocks on the disk.
    pub(crate) fn read(&self, offset: u64, length: usize) -> std::io::Result<bytes::Bytes> {
        use std::os::unix::fs::FileExt;

        match self {
            Self::Bytes(bytes) => {
                let start = usize::try_from(offset).map_err(std::io::Error::other)?;
                let end = start.checked_add(length).filter(|end| *end <= bytes.len());
                let end = end.ok_or(std::io::ErrorKind::UnexpectedEof)?;
                Ok(bytes.slice(start..end))
            }
            Self::File(file, _) => {
                let mut buffer = vec![0; length];
                file.read_exact_at(&mut buffer, offset)?;
                Ok(buffer.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn normal_form() {
        assert_eq!(normalised("//boot/./a b//c").unwrap(), "boot/a b/c");
        assert_eq!(normalised("../../etc/shadow"), Err(BadPath::Escape));
        assert_eq!(normalised("a/../b"), Err(BadPath::Escape));
        assert_eq!(normalised("..a/b.."), Ok("..a/b..".to_owned()));
        for nothing in ["", "/", "./.", "a\0b", "a\nb", &"x".repeat(2000)] {
            assert_eq!(normalised(nothing), Err(BadPath::NoName));
        }
    }

    proptest! {
        #[test]
        fn a_normal_form_stays_under_its_directory(path in "\\PC{0,60}", dots in "(/|\\.|a){0,12}") {
            for path in [path, dots] {
                if let Ok(kept) = normalised(&path) {
                    prop_assert!(!kept.starts_with('/'));
                    prop_assert!(kept.split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
                }
            }
        }
    }
}
