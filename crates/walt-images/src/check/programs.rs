//! The programs a node cannot do without.

use std::path::{Path, PathBuf};

use super::elf::{self, Program};
use super::model::{machine_name, machines};
use super::{Finding, Level};
use crate::inside::Inside;

/// Where programs are looked for.
const PLACES: &[&str] =
    &["/bin", "/usr/bin", "/sbin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];
/// How to get a program.
const INSTALL_BUSYBOX: &str = "install busybox-static, or put a static busybox at /bin/busybox";

/// The findings about programs.
pub(super) fn look(inside: &Inside, models: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let vital = [
        ("/bin/busybox", "the boot scripts of nodes are run by it", INSTALL_BUSYBOX),
        (
            "/sbin/init",
            "it is the first program of the system of a node",
            "install an init, such as systemd-sysv",
        ),
    ];
    for (path, why, mend) in vital {
        findings.extend(program(inside, path, Level::Vital, why, mend, models));
    }
    let why = "shells, commands and the log tools of nodes use it";
    let mend = "install a shell, or link /bin/sh to busybox";
    findings.extend(program(inside, "/bin/sh", Level::Warning, why, mend, models));
    if !["sshd", "dropbear"].iter().any(|name| installed(inside, name)) {
        findings.push(Finding::warning(
            "There is neither sshd nor dropbear",
            "nodes boot, but `walt node shell`, `run`, `cp` and soft reboots do not reach them",
            "install openssh-server or dropbear, and start it at boot",
        ));
    }
    if !installed(inside, "tar") {
        findings.push(Finding::warning(
            "There is no tar",
            "files cannot be copied to nodes (`walt node cp`)",
            "install tar, or link /bin/tar to busybox",
        ));
    }
    findings
}

fn installed(inside: &Inside, name: &str) -> bool {
    PLACES.iter().any(|place| inside.exists(format!("{place}/{name}")))
}

/// A program that must be there, for the processor of the models, with the loader of its libraries.
fn program(
    inside: &Inside,
    path: &str,
    missing: Level,
    why: &str,
    mend: &str,
    models: &[String],
) -> Vec<Finding> {
    let file = match inside.open_file(path) {
        Ok(file) => file,
        Err(_) => {
            let what = match inside.kind(path) {
                None => format!("{path} is missing"),
                Some(_) => format!("{path} leads to no program"),
            };
            return vec![Finding::new(missing, what, why, mend)];
        }
    };
    let runs = file.metadata().is_ok_and(|data| {
        std::os::unix::fs::PermissionsExt::mode(&data.permissions()) & 0o111 != 0
    });
    if !runs {
        let what = format!("{path} may not be executed");
        return vec![Finding::new(missing, what, why, format!("chmod 755 {path}"))];
    }
    let Some(head) = elf::read(file) else { return Vec::new() };
    let mut findings = foreign(path, &head, models);
    if let Some(loader) = &head.loader
        && !inside.exists(Path::new("/").join(loader))
    {
        findings.push(Finding::new(
            missing,
            format!("{path} needs {loader}, which is not there"),
            why,
            "install the C library it was made for, or a static program",
        ));
    }
    findings
}

fn foreign(path: &str, head: &Program, models: &[String]) -> Vec<Finding> {
    let wrong = models.iter().filter(|model| {
        let fit = machines(model);
        !fit.is_empty() && !fit.contains(&head.machine)
    });
    wrong
        .map(|model| Finding {
            model: Some(model.clone()),
            ..Finding::vital(
                format!("{path} is a program for {}", machine_name(head.machine)),
                format!("{model} nodes cannot run it"),
                "build the image for the processor of these nodes, or take the model out of its label",
            )
        })
        .collect()
}

/// A directory of the image, whatever links lead to it.
pub(super) fn directory(inside: &Inside, path: &str) -> Option<PathBuf> {
    inside.list(path).ok()?;
    inside.physical(path).ok()
}
