//! Where the server is.

use std::io;
use std::net::{IpAddr, SocketAddr};

/// The injected file that says it; read again at each connection, as a node may change platform.
const ENVIRONMENT: &str = "/bin/walt-env";

/// Port of the streams.
const PORT: u16 = 12347;

/// Where lines are sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Server {
    /// Given by hand.
    pub given: Option<SocketAddr>,
}

impl Server {
    /// Reads `ADDRESS` or `ADDRESS:PORT`.
    pub fn parse(text: &str) -> Option<Self> {
        let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT));
        address.or_else(|_| text.parse()).ok().map(|given| Self { given: Some(given) })
    }

    /// Its address: given by hand, or by the environment, or by what the server injected in the image, or by the
    /// kernel's command line.
    ///
    /// # Errors
    /// Nobody says it.
    pub fn address(&self) -> io::Result<SocketAddr> {
        if let Some(given) = self.given {
            return Ok(given);
        }
        let injected = std::fs::read_to_string(ENVIRONMENT).unwrap_or_default();
        let command_line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
        let word = |name: &str| {
            std::env::var(name).ok().or_else(|| assignment(&injected, name).map(str::to_owned))
        };
        let ip = word("walt_server_ip").or_else(|| {
            command_line
                .split_ascii_whitespace()
                .find_map(|word| word.strip_prefix("walt.server.ip="))
                .map(str::to_owned)
        });
        let ip = ip.and_then(|ip| ip.parse().ok()).ok_or_else(|| {
            io::Error::other(format!(
                "where the server is, is said neither by {ENVIRONMENT} nor by walt.server.ip="
            ))
        })?;
        let port = word("walt_server_logs_port").and_then(|port| port.parse().ok());
        Ok(SocketAddr::new(ip, port.unwrap_or(PORT)))
    }
}

/// The value of a shell variable in a file of assignments.
fn assignment<'a>(file: &'a str, name: &str) -> Option<&'a str> {
    file.lines().find_map(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let value = line.strip_prefix(name)?.strip_prefix('=')?.trim_end();
        Some(value.trim_matches(|c| c == '"' || c == '\''))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn injected_by_either_server() {
        let file =
            "# x\nexport walt_server_ip='192.168.152.1'\nwalt_server_logs_port=12347\nq=\"a\"\n";
        assert_eq!(assignment(file, "walt_server_ip"), Some("192.168.152.1"));
        assert_eq!(assignment(file, "walt_server_logs_port"), Some("12347"));
        assert_eq!(assignment(file, "q"), Some("a"));
        assert_eq!(assignment(file, "walt_server"), None);
        let given = Server::parse("10.0.0.1:99").and_then(|server| server.given);
        assert_eq!(given, Some(SocketAddr::from(([10, 0, 0, 1], 99))));
        assert!(Server::parse("server").is_none());
    }
}
