//! Git repositories images are built from.

use std::fmt;
use std::str::FromStr;

/// Longest address, in bytes.
const LONGEST: usize = 2048;

/// Address of a git repository, of a kind that cannot make git run or read anything of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitUrl(String);

/// Why a text is no address of a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not the address of a git repository: it should start with https://, http://, git:// or ssh://, without blanks."
)]
pub struct GitUrlError(String);

impl FromStr for GitUrl {
    type Err = GitUrlError;

    fn from_str(text: &str) -> Result<Self, GitUrlError> {
        let wrong = || GitUrlError(text.chars().take(200).collect());
        let legal = text.len() <= LONGEST && text.chars().all(|c| c.is_ascii_graphic());
        let schemes = ["https://", "http://", "git://", "ssh://"];
        let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme)).ok_or_else(wrong)?;
        let authority = rest.split('/').next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        // ssh takes what starts with a dash as an option.
        let bad = host.is_empty() || host.starts_with('-') || authority.starts_with('-');
        if legal && !bad { Ok(Self(text.to_owned())) } else { Err(wrong()) }
    }
}

impl GitUrl {
    /// The whole address, for git.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GitUrl {
    /// Without the password, if it holds one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        let (authority, path) = rest.split_once('/').map_or((rest, None), |(a, p)| (a, Some(p)));
        let authority = match authority.rsplit_once('@') {
            Some((user, host)) => {
                let user = user.split(':').next().unwrap_or_default();
                format!("{user}@{host}")
            }
            None => authority.to_owned(),
        };
        write!(f, "{scheme}://{authority}")?;
        path.map_or(Ok(()), |path| write!(f, "/{path}"))
    }
}

/// A folder of a repository, given by the user.
///
/// # Errors
/// It leaves the repository; the text says so.
pub fn sub_dir(text: &str) -> Result<String, String> {
    let text = text.trim_matches('/');
    let inside = text.split('/').all(|part| part != ".." && !part.is_empty());
    if text.is_empty() || (inside && text.len() <= 1024 && !text.contains('\0')) {
        Ok(text.to_owned())
    } else {
        let shown: String = text.chars().take(200).collect();
        Err(format!("'{shown}' is not a folder inside the repository."))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in [
            "https://host/a.git",
            "git://127.0.0.1:9418/a",
            "ssh://git@host:22/a/b",
            "http://[::1]/x",
        ] {
            assert_eq!(good.parse::<GitUrl>().unwrap().to_string(), good);
        }
        let secret: GitUrl = "https://me:secret@host/a".parse().unwrap();
        assert_eq!(secret.to_string(), "https://me@host/a");
        for bad in [
            "",
            "-u",
            "--upload-pack=x",
            "ext::sh -c x",
            "file:///etc",
            "/etc",
            "host:path",
            "ssh://-oProxyCommand=x/y",
            "ssh://-x@host/y",
            "ssh://u@-x/y",
            "https://",
            "https://a b/c",
            "https://a\n/c",
            "fd::3",
        ] {
            assert!(bad.parse::<GitUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn folders() {
        assert_eq!(sub_dir("/a/b/").unwrap(), "a/b");
        assert_eq!(sub_dir("/").unwrap(), "");
        for bad in ["..", "a/../../b", "a//b", "../x"] {
            assert!(sub_dir(bad).is_err(), "{bad}");
        }
    }
}
