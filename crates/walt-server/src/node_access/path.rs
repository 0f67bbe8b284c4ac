//! What stands at a path of a node, and the commands that carry files.

use std::net::Ipv4Addr;

use walt_proto::api::transfer::{PathInfo, PathKind};

use super::quote::quote;
use super::ssh::{Ssh, SshError};

/// Where relative paths start.
const HOME: &str = "/root";
/// The tool of the walt layer that sends a tar stream whose top member has a chosen name.
const TAR_SEND: &str = "/bin/_walt_internal_/walt-tar-send";

/// The path as an absolute one: relative paths start at `/root`, trailing slashes are dropped.
/// `.` and `..` are left to the node, which knows its symbolic links.
pub fn absolute(path: &str) -> String {
    let joined = if path.starts_with('/') {
        path.to_owned()
    } else if path.is_empty() {
        HOME.to_owned()
    } else {
        format!("{HOME}/{path}")
    };
    match joined.trim_end_matches('/') {
        "" => "/".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

/// The directory that holds `path` (an absolute one).
fn parent(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(at) => &path[..at],
    }
}

/// Asks the node what stands at a path and at its parent.
pub async fn look(ssh: &Ssh, ip: Ipv4Addr, path: &str) -> Result<PathInfo, SshError> {
    let path = absolute(path);
    let script = format!(
        "k() {{ if [ -f \"$1\" ]; then echo f; elif [ -d \"$1\" ]; then echo d; elif [ -e \"$1\" ]; \
         then echo o; else echo m; fi; }}; k {}; k {}",
        quote(&path),
        quote(parent(&path))
    );
    let answer = ssh.short(ip, &script).await?;
    let mut kinds = answer.lines().map(kind);
    Ok(PathInfo {
        path,
        kind: kinds.next().unwrap_or(PathKind::Missing),
        parent: kinds.next().unwrap_or(PathKind::Missing),
    })
}

fn kind(letter: &str) -> PathKind {
    match letter.trim() {
        "f" => PathKind::File,
        "d" => PathKind::Dir,
        "o" => PathKind::Other,
        _ => PathKind::Missing,
    }
}

/// The remote command that writes a tar stream of `path`, of which the top member is named `name`
/// (`.`: the members of the directory itself).
pub fn send_command(path: &str, name: Option<&str>) -> String {
    let path = absolute(path);
    match name {
        Some(".") => format!("cd -- {} && exec tar cf - .", quote(&path)),
        name => {
            let base = path.rsplit('/').next().unwrap_or(&path);
            let base = if base.is_empty() { "." } else { base };
            format!("exec {TAR_SEND} {} {}", quote(&path), quote(name.unwrap_or(base)))
        }
    }
}

/// The remote command that unpacks a tar stream in the existing directory `path`.
pub fn receive_command(path: &str) -> String {
    format!("cd -- {} && exec tar xf -", quote(&absolute(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_start_at_root_s_home() {
        assert_eq!(absolute(""), "/root");
        assert_eq!(absolute("a/b/"), "/root/a/b");
        assert_eq!(absolute("/"), "/");
        assert_eq!(absolute("/etc/"), "/etc");
        assert_eq!(parent("/etc"), "/");
        assert_eq!(parent("/a/b"), "/a");
    }

    #[test]
    fn hostile_names_stay_one_word() {
        assert_eq!(
            send_command("/tmp/a; reboot", None),
            "exec /bin/_walt_internal_/walt-tar-send '/tmp/a; reboot' 'a; reboot'"
        );
        assert_eq!(receive_command("it's"), r"cd -- '/root/it'\''s' && exec tar xf -");
        assert_eq!(send_command("/etc", Some(".")), "cd -- /etc && exec tar cf - .");
    }
}
