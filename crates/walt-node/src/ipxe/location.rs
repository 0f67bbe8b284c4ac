//! Where a file of the server is.

use std::fmt;

/// Longest path, in bytes: what the server accepts.
const PATH_MAX: usize = 1024;

/// How it is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `GET` from the web port of the server.
    Http,
    /// What a loader gets by TFTP; fetched by request 12 of the node ports instead.
    Tftp,
}

/// A file of the server. Which server is not part of it: scripts can name no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// How it is fetched.
    pub protocol: Protocol,
    /// Absolute.
    pub path: String,
}

impl Location {
    /// The file at this absolute path over TFTP.
    pub fn tftp(path: &str) -> Self {
        Self { protocol: Protocol::Tftp, path: path.to_owned() }
    }

    /// What `url` means in a script that was found here.
    ///
    /// # Errors
    /// Why it means nothing.
    pub fn resolve(&self, url: &str) -> Result<Self, String> {
        let (protocol, path) = match url.split_once("://") {
            Some(("http", rest)) => (Protocol::Http, after_host(rest)),
            Some(("tftp", rest)) => (Protocol::Tftp, after_host(rest)),
            Some((other, _)) => return Err(format!("the protocol {other}:// is not known here")),
            None if url.is_empty() => return Err("the address is empty".to_owned()),
            None if url.starts_with('/') => (Protocol::Tftp, url.to_owned()),
            None => {
                let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
                (self.protocol, format!("{folder}/{url}"))
            }
        };
        if path.len() > PATH_MAX || path.chars().any(char::is_control) {
            return Err("the address is too long or has control characters".to_owned());
        }
        Ok(Self { protocol, path: without_dots(&path) })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Http => "http",
            Protocol::Tftp => "tftp",
        };
        write!(f, "{protocol}:{}", self.path)
    }
}

/// `host/a/b` -> `/a/b`.
fn after_host(rest: &str) -> String {
    rest.find('/').map_or_else(|| "/".to_owned(), |slash| rest[slash..].to_owned())
}

/// Removes `.` and `..` (RFC 3986, 5.2.4); the root is its own parent.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "." => {}
            ".." if kept.len() > 1 => drop(kept.pop()),
            ".." => {}
            _ => kept.push(segment),
        }
    }
    kept.join("/")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn resolution() {
        let http = Location { protocol: Protocol::Http, path: "/boot/a/start.ipxe".to_owned() };
        let tftp = Location::tftp("/start.ipxe");
        let resolved = |base: &Location, url| base.resolve(url).unwrap().to_string();
        assert_eq!(resolved(&tftp, "http://10.0.0.1/boot/x y"), "http:/boot/x y");
        assert_eq!(resolved(&tftp, "http://10.0.0.1"), "http:/");
        assert_eq!(resolved(&http, "tftp://10.0.0.1/x"), "tftp:/x");
        assert_eq!(resolved(&http, "/x"), "tftp:/x");
        assert_eq!(resolved(&http, "kernel"), "http:/boot/a/kernel");
        assert_eq!(resolved(&http, "../b/./kernel"), "http:/boot/b/kernel");
        assert_eq!(resolved(&tftp, "../../kernel"), "tftp:/kernel");
        assert_eq!(resolved(&tftp, "QEMU/a (b)/c"), "tftp:/QEMU/a (b)/c");
        for bad in ["", "https://a/b", "a\nb", &"x".repeat(2000)] {
            assert!(tftp.resolve(bad).is_err(), "{bad}");
        }
    }
}
