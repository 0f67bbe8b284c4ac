//! What is never saved: files of this server, of this very node, and what its programs note for themselves.

use crate::layer_files::FILES;

/// Files the server writes into every image it serves, or that tell one node from another. They are made again at each
/// boot, or must not be shared; the keys must not leave this platform.
const NEVER: &[&[u8]] = &[
    b"etc/machine-id",
    b"var/lib/dbus/machine-id",
    b"var/lib/systemd/random-seed",
    b"etc/hosts",
    b"etc/resolv.conf",
    b"etc/resolv.conf.saved",
    b"etc/walt/server.spec",
    b"etc/ssh/ssh_host_ecdsa_key",
    b"etc/ssh/ssh_host_ecdsa_key.pub",
    b"etc/dropbear/dropbear_ecdsa_host_key",
    b"local/README.nonlocal",
];
/// Folders of the boot itself.
const NEVER_BELOW: &[&[u8]] = &[b"bin/_walt_internal_", b"proc", b"sys", b"dev", b"run"];
/// Its folders are kept, since programs expect them; what is logged is not.
const LOGS: &[u8] = b"var/log/";

/// Whether a path (below the root) is never saved. `is_directory`: it is a directory of the node.
pub(super) fn never_saved(path: &[u8], is_directory: bool) -> bool {
    let merged = path.strip_prefix(b"usr/").filter(|rest| rest.starts_with(b"bin/"));
    let path = merged.unwrap_or(path);
    let of_server =
        || FILES.iter().any(|file| file.path.as_bytes().strip_prefix(b"/") == Some(path));
    let below = |folder: &&[u8]| {
        path.strip_prefix(*folder).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    };
    NEVER.contains(&path)
        || NEVER_BELOW.iter().any(below)
        || (!is_directory && path.starts_with(LOGS))
        || of_server()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_of_this_boot() {
        for path in [
            "bin/walt-env",
            "usr/bin/walt-env",
            "usr/bin/_walt_internal_/x",
            "bin/_walt_internal_",
            "etc/machine-id",
            "var/log/syslog",
            "var/log/journal/abc/system.journal",
            "run/x",
            "dev/null",
            "local/README.nonlocal",
        ] {
            assert!(never_saved(path.as_bytes(), false), "{path}");
        }
        for path in [
            "opt/app/log/data",
            "root/my-walt-env",
            "root/machine-id",
            "root/Cargo.lock",
            "usr/bin/walt-mine",
            "var/log",
            "home/x/_walt_internal_/y",
            "opt/README.nonlocal",
            "etc/hosts.allow",
            "running/x",
        ] {
            assert!(!never_saved(path.as_bytes(), false), "{path}");
        }
        assert!(!never_saved(b"var/log/nginx", true));
    }
}
