//! `walt-node install`: what a booted image needs of this program, made in the files of an image or on the node itself.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::command::COMMANDS;
use crate::failure::{Failure, Outcome};

/// Where commands are linked; the program itself is put there too.
const BIN: &str = "usr/local/bin";

/// The unit, and its link that enables it.
const UNIT: &str = "etc/systemd/system/walt-logs.service";
const WANTED: &str = "etc/systemd/system/multi-user.target.wants/walt-logs.service";

/// The service of the logs daemon.
const UNIT_TEXT: &str = "\
[Unit]
Description=WalT logs daemon
After=network.target
ConditionVirtualization=!container

[Service]
Type=simple
EnvironmentFile=-/etc/default/walt-logs
EnvironmentFile=-/etc/sysconfig/walt-logs
ExecStart=/usr/local/bin/walt-logs-daemon $DAEMON_ARGS
ExecStopPost=-/bin/rm -f /var/lib/walt/logs.fifo
Restart=on-failure

[Install]
WantedBy=multi-user.target
";

/// For images whose init is busybox: there is no one place for services, so the line to add is said.
const BUSYBOX_LINE: &str = "::respawn:/usr/local/bin/walt-logs-daemon";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InitSystem {
    Systemd,
    Busybox,
}

/// The command.
pub fn install(arguments: Vec<OsString>) -> Outcome {
    let (root, init) = options(arguments)?;
    let program = std::env::current_exe()
        .map_err(|error| Failure::plain(format!("where is this program? {error}")))?;
    apply(&root, init, &program).map_err(|error| Failure::plain(error.to_string()))?;
    Ok(0)
}

fn options(arguments: Vec<OsString>) -> Result<(PathBuf, InitSystem), Failure> {
    let (mut root, mut init) = (PathBuf::from("/"), InitSystem::Systemd);
    let mut words = arguments.into_iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or(Failure::Usage(2))?;
        match (word.to_str(), value.to_str()) {
            (Some("--root"), _) => root = value.into(),
            (Some("--init-system"), Some("systemd" | "SYSTEMD")) => init = InitSystem::Systemd,
            (Some("--init-system"), Some("busybox" | "BUSYBOX")) => init = InitSystem::Busybox,
            _ => return Err(Failure::Usage(2)),
        }
    }
    Ok((root, init))
}

/// Makes all of it; what is there already and right is left as it is.
fn apply(root: &Path, init: InitSystem, program: &Path) -> io::Result<()> {
    if !root.join("etc").is_dir() || !root.join("usr").is_dir() {
        return Err(io::Error::other(format!(
            "{} is not the root of an image: it has no etc and usr.",
            root.display()
        )));
    }
    let bin = inside(root, BIN)?;
    let target = bin.join("walt-node");
    if fs::canonicalize(&target).ok() != fs::canonicalize(program).ok() {
        let new = bin.join(".walt-node.new");
        fs::copy(program, &new)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
        fs::rename(&new, &target)?;
    }
    for command in COMMANDS.iter().filter(|command| command.linked) {
        link(&bin.join(command.name), "walt-node")?;
    }
    match init {
        InitSystem::Systemd => {
            let unit = inside(root, "etc/systemd/system")?.join("walt-logs.service");
            if fs::read_to_string(&unit).ok().as_deref() != Some(UNIT_TEXT) {
                replace(&unit)?;
                fs::write(&unit, UNIT_TEXT)?;
            }
            let wants = inside(root, "etc/systemd/system/multi-user.target.wants")?;
            link(&wants.join("walt-logs.service"), &format!("/{UNIT}"))?;
            println!("installed; the logs daemon starts with the node ({WANTED}).");
        }
        InitSystem::Busybox => {
            println!("installed; to start the logs daemon, add this line to /etc/inittab:");
            println!("{BUSYBOX_LINE}");
        }
    }
    Ok(())
}

/// A folder of the image, made if missing. A symbolic link on the way could lead out of the image: refused, unless the
/// image is this machine.
fn inside(root: &Path, path: &str) -> io::Result<PathBuf> {
    let mut folder = root.to_owned();
    for part in Path::new(path) {
        folder.push(part);
        match fs::symlink_metadata(&folder) {
            Ok(found) if found.is_dir() => {}
            Ok(found) if found.is_symlink() && root == Path::new("/") => {}
            Ok(_) => {
                return Err(io::Error::other(format!("{} is not a folder.", folder.display())));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir(&folder)?,
            Err(error) => return Err(error),
        }
    }
    Ok(folder)
}

/// A symbolic link, in the place of another one; anything else is somebody's.
fn link(path: &Path, target: &str) -> io::Result<()> {
    if fs::read_link(path).is_ok_and(|found| found == Path::new(target)) {
        return Ok(());
    }
    replace(path)?;
    symlink(target, path)
}

/// Removes a link, or our file of an earlier version.
fn replace(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if found.is_symlink() => fs::remove_file(path),
        Ok(found) if found.is_file() && path.ends_with("walt-logs.service") => {
            fs::remove_file(path)
        }
        Ok(_) => Err(io::Error::other(format!(
            "{} is in the way: it is not a link made by an earlier installation. Remove it.",
            path.display()
        ))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn image() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir_all(root.join("usr")).unwrap();
        let program = folder.path().join("program");
        fs::write(&program, "program").unwrap();
        (folder, program)
    }

    #[test]
    fn twice_is_once() {
        let (folder, program) = image();
        let root = folder.path().join("root");
        for _ in 0..2 {
            apply(&root, InitSystem::Systemd, &program).unwrap();
        }
        let bin = root.join(BIN);
        assert_eq!(fs::read_to_string(bin.join("walt-log-cat")).unwrap(), "program");
        assert_eq!(fs::read_link(bin.join("walt-monitor")).unwrap(), Path::new("walt-node"));
        assert_eq!(fs::read_to_string(root.join(UNIT)).unwrap(), UNIT_TEXT);
        assert_eq!(fs::read_link(root.join(WANTED)).unwrap(), Path::new("/").join(UNIT));
    }

    #[test]
    fn what_is_not_ours_stays() {
        let (folder, program) = image();
        let root = folder.path().join("root");
        assert!(apply(folder.path(), InitSystem::Systemd, &program).is_err(), "no image");
        fs::create_dir_all(root.join(BIN)).unwrap();
        fs::write(root.join(BIN).join("walt-log-cat"), "mine").unwrap();
        let error = apply(&root, InitSystem::Busybox, &program).unwrap_err();
        assert!(error.to_string().contains("in the way"), "{error}");
        assert_eq!(fs::read_to_string(root.join(BIN).join("walt-log-cat")).unwrap(), "mine");
    }

    #[test]
    fn links_do_not_lead_out_of_the_image() {
        let (folder, program) = image();
        let root = folder.path().join("root");
        fs::create_dir(folder.path().join("outside")).unwrap();
        symlink(folder.path().join("outside"), root.join("usr/local")).unwrap();
        assert!(apply(&root, InitSystem::Systemd, &program).is_err());
        assert_eq!(fs::read_dir(folder.path().join("outside")).unwrap().count(), 0);
    }
}
