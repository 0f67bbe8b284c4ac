//! Keys of the platform: the host key all nodes share, and the server's own key to enter nodes.
//!
//! Both are ECDSA on P-256: every sshd and dropbear an image may carry takes them. Nodes share one
//! host key so that the server knows any of them (`HostKeyAlias=walt.node`).

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::Command;

/// Name under which the server knows the nodes' common host key (`ssh -o HostKeyAlias=`).
pub const HOST_KEY_ALIAS: &str = "walt.node";
const HOST_KEY: &str = "ssh_host_ecdsa_key";
const IDENTITY: &str = "id_ecdsa";
const KNOWN_HOSTS: &str = "known_hosts.nodes";

/// The platform's keys, kept in `<state>/keys`.
#[derive(Clone)]
pub struct PlatformKeys {
    dir: PathBuf,
    pub(crate) host_private: Vec<u8>,
    pub(crate) host_public: Vec<u8>,
    /// The host key as dropbear reads it, or why it could not be converted.
    pub(crate) host_dropbear: Result<Vec<u8>, String>,
    pub(crate) identity_public: Vec<u8>,
}

impl std::fmt::Debug for PlatformKeys {
    /// Never shows a private key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlatformKeys").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// Why the keys could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// ssh-keygen did not work.
    #[error(transparent)]
    Command(#[from] crate::command::CommandError),
    /// A key file could not be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl PlatformKeys {
    /// Reads the keys of `<state_dir>/keys`, making them with ssh-keygen the first time.
    ///
    /// # Errors
    /// ssh-keygen is missing; the directory cannot be written.
    pub async fn open(state_dir: &Path) -> Result<Self, KeysError> {
        let dir = state_dir.join("keys");
        at(&dir, std::fs::create_dir_all(&dir))?;
        at(&dir, std::fs::set_permissions(&dir, Permissions::from_mode(0o700)))?;
        make(&dir, HOST_KEY, "walt-node").await?;
        make(&dir, IDENTITY, "walt-server").await?;
        let read = |name: &str| {
            let path = dir.join(name);
            at(&path, std::fs::read(&path))
        };
        let keys = Self {
            host_private: read(HOST_KEY)?,
            host_public: read(&format!("{HOST_KEY}.pub"))?,
            host_dropbear: dropbear_form(&read(HOST_KEY)?).map_err(str::to_owned),
            identity_public: read(&format!("{IDENTITY}.pub"))?,
            dir,
        };
        let known = keys.known_hosts_file();
        let line = [HOST_KEY_ALIAS.as_bytes(), b" ", keys.host_public.trim_ascii(), b"\n"].concat();
        if std::fs::read(&known).ok().as_deref() != Some(&line) {
            let temporary = keys.dir.join(".known_hosts.new");
            at(
                &known,
                std::fs::write(&temporary, line).and_then(|()| std::fs::rename(&temporary, &known)),
            )?;
        }
        Ok(keys)
    }

    /// Private key with which the server enters nodes as root (`ssh -i`).
    pub fn identity_file(&self) -> PathBuf {
        self.dir.join(IDENTITY)
    }

    /// A `known_hosts` file with the nodes' common host key, for `HostKeyAlias=walt.node`.
    pub fn known_hosts_file(&self) -> PathBuf {
        self.dir.join(KNOWN_HOSTS)
    }
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, KeysError> {
    result.map_err(|source| KeysError::File { path: path.to_owned(), source })
}

/// Makes a key pair unless it is there; the private key gets its name last.
async fn make(dir: &Path, name: &str, comment: &str) -> Result<(), KeysError> {
    let (private, public) = (dir.join(name), dir.join(format!("{name}.pub")));
    if private.exists() && public.exists() {
        return Ok(());
    }
    let temporary = dir.join(format!(".{name}.new"));
    let temporary_public = dir.join(format!(".{name}.new.pub"));
    let _ = std::fs::remove_file(&temporary);
    Command::new("ssh-keygen")
        .args(["-q", "-t", "ecdsa", "-b", "256", "-N", "", "-C", comment, "-f"])
        .arg(&temporary)
        .deadline(Duration::from_secs(30))
        .run()
        .await?;
    at(&public, std::fs::rename(&temporary_public, &public))?;
    at(&private, std::fs::rename(&temporary, &private))
}

/// A private key as dropbear keeps it: the same fields as OpenSSH's private section (PROTOCOL.key of
/// OpenSSH), key type, curve, point and secret number, without the rest.
fn dropbear_form(openssh: &[u8]) -> Result<Vec<u8>, &'static str> {
    const BAD: &str = "the host key is not an OpenSSH private key without passphrase";
    let text = std::str::from_utf8(openssh).map_err(|_| BAD)?;
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    let data = base64(&body).ok_or(BAD)?;
    let mut rest = data.strip_prefix(b"openssh-key-v1\0".as_slice()).ok_or(BAD)?;
    let (cipher, _kdf, _options) = (
        string(&mut rest).ok_or(BAD)?,
        string(&mut rest).ok_or(BAD)?,
        string(&mut rest).ok_or(BAD)?,
    );
    if cipher != b"none" || number(&mut rest) != Some(1) {
        return Err(BAD);
    }
    let _public = string(&mut rest).ok_or(BAD)?;
    let mut private = string(&mut rest).ok_or(BAD)?;
    if number(&mut private).ok_or(BAD)? != number(&mut private).ok_or(BAD)? {
        return Err(BAD);
    }
    let start = private;
    if string(&mut private) != Some(b"ecdsa-sha2-nistp256") {
        return Err("the host key is not ECDSA on P-256");
    }
    for _ in ["curve", "point", "secret"] {
        string(&mut private).ok_or(BAD)?;
    }
    Ok(start[..start.len() - private.len()].to_vec())
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (bytes, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(u32::from_be_bytes(*bytes))
}

fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut after = *rest;
    let length = usize::try_from(number(&mut after)?).ok()?;
    let (value, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(value)
}

/// RFC 4648 section 4.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn made_once_and_readable_by_dropbear() {
        let state = tempfile::tempdir().unwrap();
        let keys = PlatformKeys::open(state.path()).await.unwrap();
        let again = PlatformKeys::open(state.path()).await.unwrap();
        assert_eq!(keys.host_private, again.host_private);
        let mode = std::fs::metadata(keys.identity_file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let known = std::fs::read_to_string(keys.known_hosts_file()).unwrap();
        assert!(known.starts_with("walt.node ecdsa-sha2-nistp256 AAAA"), "{known}");
        assert!(!format!("{keys:?}").contains("PRIVATE"));

        let form = keys.host_dropbear.clone().unwrap();
        assert_eq!(form[..23], *b"\0\0\0\x13ecdsa-sha2-nistp256");
        let file = state.path().join("dropbear");
        std::fs::write(&file, form).unwrap();
        // dropbear's own tool, where it is installed, reads the same public key from it.
        match Command::new("dropbearkey").arg("-y").arg("-f").arg(&file).run().await {
            Ok(answer) => {
                let public = String::from_utf8(keys.host_public.clone()).unwrap();
                let base = public.split(' ').nth(1).unwrap();
                assert!(String::from_utf8_lossy(&answer.stdout).contains(base));
            }
            Err(crate::command::CommandError::Start { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn not_a_key() {
        assert!(dropbear_form(b"-----BEGIN X-----\nAAAA\n").is_err());
        assert_eq!(base64("aGVsbG8=").unwrap(), b"hello");
    }
}
