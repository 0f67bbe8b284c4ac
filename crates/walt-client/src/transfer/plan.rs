//! What `cp` does with names. Pure.

use walt_proto::api::transfer::PathKind;

/// An operand of `cp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand {
    /// A path here.
    Local(String),
    /// A path on a node or in an image.
    Remote {
        /// Name of the node or image.
        node: String,
        /// Path; empty: root's home directory.
        path: String,
    },
    /// The image the node boots.
    BootedImage,
}

impl Operand {
    /// Remote when it holds a colon, split at the last one. A path that starts with `/` or `.` is always local, so that
    /// `./a:b` can be named.
    pub fn parse(text: &str) -> Self {
        if text == "booted-image" {
            return Self::BootedImage;
        }
        match text.rsplit_once(':') {
            Some((node, path)) if !text.starts_with(['/', '.']) => {
                Self::Remote { node: node.to_owned(), path: path.to_owned() }
            }
            _ => Self::Local(text.to_owned()),
        }
    }
}

/// A path and what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The path as typed.
    pub path: String,
    /// What is there.
    pub kind: PathKind,
    /// What its parent is.
    pub parent: PathKind,
}

/// What to write, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Existing directory that receives it.
    pub directory: String,
    /// Name it gets there; `.`: the content of a directory is merged into `directory`.
    pub name: String,
}

impl Plan {
    /// The directory as the server wants it: where relative paths start has no name.
    pub fn upload_directory(&self) -> &str {
        if self.directory == "." { "" } else { &self.directory }
    }
}

/// Decides from what stands at both ends.
///
/// # Errors
/// A missing path, or a directory in the place of a file, worded for the user.
pub fn plan(source: &Place, destination: &Place) -> Result<Plan, String> {
    let missing = |place: &Place| format!("No such file or directory: {}", place.path);
    if source.kind == PathKind::Missing {
        return Err(missing(source));
    }
    let merged = source.path == "." || trimmed(&source.path).ends_with("/.");
    match destination.kind {
        PathKind::Dir => {
            let name = if merged { ".".to_owned() } else { base(&source.path)?.to_owned() };
            Ok(Plan { directory: or_dot(&destination.path), name })
        }
        _ if trimmed(&destination.path) != destination.path && source.kind != PathKind::Dir => {
            // `cp file missing/`: the user means a directory.
            Err(missing(destination))
        }
        PathKind::Missing if destination.parent != PathKind::Dir => Err(missing(destination)),
        PathKind::File if source.kind == PathKind::Dir => {
            Err(format!("Cannot overwrite the regular file {} with a directory.", destination.path))
        }
        PathKind::Other => Err(format!("{} is neither a file nor a directory.", destination.path)),
        PathKind::File | PathKind::Missing => Ok(Plan {
            directory: parent(&destination.path).to_owned(),
            name: base(&destination.path)?.to_owned(),
        }),
    }
}

/// Without trailing `/`, except for the root itself.
pub fn trimmed(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() && path.starts_with('/') { "/" } else { trimmed }
}

/// Directory part of a path: `.` when it has none.
pub fn parent(path: &str) -> &str {
    match trimmed(path).rsplit_once('/') {
        Some(("", _)) => "/",
        Some((parent, _)) => parent,
        None => ".",
    }
}

fn or_dot(path: &str) -> String {
    if path.is_empty() { ".".to_owned() } else { path.to_owned() }
}

fn base(path: &str) -> Result<&str, String> {
    let name = trimmed(path).rsplit('/').next().unwrap_or_default();
    match name {
        "" | "." | ".." => Err(format!("Cannot tell the name of {path}: give its complete path.")),
        name => Ok(name),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use PathKind::{Dir, File, Missing};

    fn place(path: &str, kind: PathKind, parent: PathKind) -> Place {
        Place { path: path.to_owned(), kind, parent }
    }

    #[track_caller]
    fn gives(
        source: (&str, PathKind),
        destination: (&str, PathKind, PathKind),
        dir: &str,
        name: &str,
    ) {
        let (path, kind, parent) = destination;
        let plan = plan(&place(source.0, source.1, Dir), &place(path, kind, parent)).unwrap();
        assert_eq!((plan.directory.as_str(), plan.name.as_str()), (dir, name));
    }

    #[track_caller]
    fn refused(source: (&str, PathKind), destination: (&str, PathKind, PathKind), why: &str) {
        let (path, kind, parent) = destination;
        let error = plan(&place(source.0, source.1, Dir), &place(path, kind, parent)).unwrap_err();
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn operands() {
        let remote =
            |node: &str, path: &str| Operand::Remote { node: node.into(), path: path.into() };
        assert_eq!(Operand::parse("n1:/etc"), remote("n1", "/etc"));
        assert_eq!(Operand::parse("n1:"), remote("n1", ""));
        assert_eq!(Operand::parse("img:v1:/etc"), remote("img:v1", "/etc"));
        assert_eq!(Operand::parse("./a:b"), Operand::Local("./a:b".into()));
        assert_eq!(Operand::parse("booted-image"), Operand::BootedImage);
    }

    #[test]
    fn rules() {
        gives(("a/f", File), ("/d", Dir, Dir), "/d", "f");
        gives(("a/d/", Dir), ("/d/", Dir, Dir), "/d/", "d");
        gives(("a/.", Dir), ("/d", Dir, Dir), "/d", ".");
        gives((".", Dir), ("", Dir, Dir), ".", ".");
        gives(("f", File), ("/x/g", File, Dir), "/x", "g");
        gives(("f", File), ("/x/new", Missing, Dir), "/x", "new");
        gives(("d", Dir), ("new/", Missing, Dir), ".", "new");
        gives(("/f", File), ("/new", Missing, Dir), "/", "new");
        refused(("f", Missing), ("/x", Dir, Dir), "No such file or directory: f");
        refused(("f", File), ("/x/y", Missing, Missing), "No such file or directory: /x/y");
        refused(("f", File), ("/x/y/", Missing, Dir), "No such file or directory: /x/y/");
        refused(("d", Dir), ("/x", File, Dir), "Cannot overwrite");
        refused(("..", Dir), ("/x", Dir, Dir), "complete path");
    }

    #[test]
    fn root_is_root() {
        assert_eq!((trimmed("/"), trimmed("a//"), parent("/a"), parent("a")), ("/", "a", "/", "."));
    }
}
