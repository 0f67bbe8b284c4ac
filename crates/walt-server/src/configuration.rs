//! Reading `server.conf`.

use std::path::{Path, PathBuf};

use walt_model::ServerConf;
use walt_model::server_conf::ServerConfError;

/// Why there is no usable configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source} (give another file with --config)")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file has problems, each on its line.
    #[error("{}", told(.path, .problems))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Its problems.
        problems: ServerConfError,
    },
}

fn told(path: &Path, problems: &ServerConfError) -> String {
    let lines = problems.0.iter().map(|problem| format!("{}: {problem}", path.display()));
    lines.collect::<Vec<_>>().join("\n")
}

/// Reads and checks the configuration file.
///
/// # Errors
/// It cannot be read, or has problems: all of them are told.
pub fn read(path: &Path) -> Result<ServerConf, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    ServerConf::parse(&text)
        .map_err(|problems| ConfigError::Wrong { path: path.to_owned(), problems })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_told_with_file_line_and_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.conf");
        std::fs::write(&path, "network:\n  walt-net:\n    ip: 192.168.7.1/33\n").unwrap();
        let text = read(&path).unwrap_err().to_string();
        assert!(text.starts_with(&format!("{}: line 3:", path.display())), "{text}");
        assert!(text.contains("network.walt-net.ip"), "{text}");
        assert!(read(&dir.path().join("none")).unwrap_err().to_string().contains("--config"));
    }
}
