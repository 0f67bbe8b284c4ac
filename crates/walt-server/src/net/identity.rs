//! The MAC address of the platform bridge: made once, then always the same.

use std::io::Write;
use std::path::Path;

use walt_model::Mac;

use super::error::NetError;

/// Name of its file in the state folder.
const FILE: &str = "walt-net.mac";

/// The server's MAC address, made at the first call: `52:54:00:xx:yy:zz`, xx at most 7f.
pub(crate) fn server_mac(state_dir: &Path) -> Result<Mac, NetError> {
    let path = state_dir.join(FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|error| {
            NetError::file(&path, format!("{error} Remove the file to get a new address."))
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let [x, y, z]: [u8; 3] = rand::random();
            let mac = Mac([0x52, 0x54, 0x00, x & 0x7f, y, z]);
            replace(&path, &format!("{mac}\n")).map_err(|error| NetError::file(&path, error))?;
            Ok(mac)
        }
        Err(error) => Err(NetError::file(&path, error)),
    }
}

/// Write a file so that it is, at any time, whole.
pub(super) fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = std::fs::File::create(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&partial, path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn made_once() {
        let dir = tempfile::tempdir().unwrap();
        let mac = server_mac(dir.path()).unwrap();
        assert!(mac.to_string().starts_with("52:54:00:") && mac.0[3] <= 0x7f);
        assert_eq!(server_mac(dir.path()).unwrap(), mac);
        std::fs::write(dir.path().join(FILE), "junk").unwrap();
        assert!(server_mac(dir.path()).unwrap_err().to_string().contains("Remove the file"));
    }
}
