//! The files of `/boot/<model>/`, which boot loaders download.

use std::collections::BTreeSet;

use rustix::fs::FileType;
use walt_model::NodeModel;

use super::model::{Family, family};
use super::{Finding, Level, ipxe};
use crate::inside::Inside;

/// Scripts of U-Boot, the newer one first.
const UBOOT: &[&str] = &["fit-start.uboot", "start.uboot"];
/// First script of iPXE.
const IPXE: &str = "start.ipxe";
/// Configuration of the firmware of Raspberry Pis.
const PI: &str = "config.txt";
/// Names a kernel has, as U-Boot scripts load it.
const KERNELS: &[&str] = &["kernel", "fit.uboot"];
/// Most entries of the folder looked at, and how deep.
const MOST_ENTRIES: usize = 2000;
const DEEPEST: usize = 4;
/// Most scripts followed.
const MOST_SCRIPTS: usize = 16;

/// The findings about the boot files of a model.
pub(super) fn look(inside: &Inside, model: &str) -> Vec<Finding> {
    // Said about the label already.
    if model.parse::<NodeModel>().is_err() {
        return Vec::new();
    }
    let folder = Folder { inside, path: format!("/boot/{model}") };
    if inside.list(&folder.path).is_err() {
        return vec![Finding::vital(
            format!("There is no folder {}", folder.path),
            "boot loaders find the files of this model there",
            format!("put the boot files of {model} there, or take the model out of the label"),
        )];
    }
    let mut findings = Vec::new();
    let mut missing = BTreeSet::new();
    findings.extend(first_script(&folder, model));
    if folder.has(IPXE) && matches!(family(model), Family::Ipxe | Family::Unknown) {
        findings.extend(follow_ipxe(&folder, &mut missing));
    } else if UBOOT.iter().any(|name| folder.has(name)) {
        if !KERNELS.iter().any(|name| folder.has(name)) {
            findings.push(Finding::warning(
                format!("{} has neither kernel nor fit.uboot", folder.path),
                "the usual scripts of U-Boot load one of these",
                "put the kernel there, or make sure that the script finds it",
            ));
        }
    } else if folder.has(PI) {
        findings.extend(pi_files(&folder, &mut missing));
    }
    findings.extend(broken_links(&folder, &missing));
    findings
}

/// The folder of a model.
struct Folder<'a> {
    inside: &'a Inside,
    path: String,
}

impl Folder<'_> {
    fn has(&self, name: &str) -> bool {
        self.inside.open_file(format!("{}/{name}", self.path)).is_ok()
    }

    fn text(&self, name: &str) -> Option<String> {
        let bytes = self.inside.read(format!("{}/{name}", self.path), ipxe::LONGEST).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A file that is needed and not there; a broken link is said to be one.
    fn lacks(&self, name: &str, level: Level, why: String) -> Finding {
        let path = format!("{}/{name}", self.path);
        let what = match self.inside.read_link(&path) {
            Ok(target) => format!("{path} is a link to {}, which is not there", target.display()),
            Err(_) => format!("{path} is missing"),
        };
        Finding::new(level, what, why, "put the file there")
    }
}

fn first_script(folder: &Folder<'_>, model: &str) -> Option<Finding> {
    let mut wanted: Vec<&str> = Vec::new();
    match family(model) {
        Family::Ipxe => wanted.push(IPXE),
        Family::Uboot => wanted.extend(UBOOT),
        Family::RaspberryPi => {
            wanted.extend(UBOOT);
            wanted.push(PI);
        }
        Family::Unknown => {
            wanted.push(IPXE);
            wanted.extend(UBOOT);
            wanted.push(PI);
        }
    }
    if wanted.iter().any(|name| folder.has(name)) {
        return None;
    }
    let why = "it is the first file a boot loader asks for";
    if let [one] = wanted.as_slice() {
        return Some(folder.lacks(one, Level::Vital, why.into()));
    }
    Some(Finding::vital(
        format!("{} has none of {}", folder.path, wanted.join(", ")),
        "one of these is the first file a boot loader asks for",
        "put one there (see `walt help show boot-families`)",
    ))
}

/// What the scripts of iPXE load and is not there.
fn follow_ipxe(folder: &Folder<'_>, missing: &mut BTreeSet<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut scripts = vec![IPXE.to_owned()];
    let mut next = 0;
    while next < scripts.len().min(MOST_SCRIPTS) {
        let script = scripts[next].clone();
        next += 1;
        let Some(text) = folder.text(&script).filter(|text| text.starts_with("#!ipxe")) else {
            continue;
        };
        let place = script.rsplit_once('/').map_or("", |(place, _)| place);
        for load in ipxe::loads(&text, place) {
            match load.paths.iter().find(|path| folder.has(path)) {
                Some(path) if load.chained && !scripts.contains(path) => scripts.push(path.clone()),
                Some(_) => {}
                None => {
                    let level = if load.sure { Level::Vital } else { Level::Warning };
                    let path = &load.paths[0];
                    if missing.insert(path.clone()) {
                        findings.push(folder.lacks(path, level, format!("{script} loads it")));
                    }
                }
            }
        }
    }
    findings
}

/// What the firmware of a Raspberry Pi is told to load and is not there.
fn pi_files(folder: &Folder<'_>, missing: &mut BTreeSet<String>) -> Vec<Finding> {
    let text = folder.text(PI).unwrap_or_default();
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    // Which sections count depends on the board.
    let conditional = text.lines().any(|line| {
        let line = line.trim();
        line.starts_with('[') && line != "[all]"
    });
    let level = if conditional { Level::Warning } else { Level::Vital };
    let mut findings = Vec::new();
    for line in lines {
        let name = line.strip_prefix("kernel=").or_else(|| {
            line.strip_prefix("initramfs ").and_then(|rest| rest.split_whitespace().next())
        });
        if let Some(name) = name.map(str::trim)
            && !name.is_empty()
            && !folder.has(name)
            && missing.insert(name.to_owned())
        {
            findings.push(folder.lacks(name, level, format!("{PI} tells the firmware to load it")));
        }
    }
    findings
}

/// Links that lead nowhere, as boot loaders will see them.
fn broken_links(folder: &Folder<'_>, said: &BTreeSet<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut folders = vec![(String::new(), 0)];
    let mut entries = 0;
    while let Some((below, depth)) = folders.pop() {
        let Ok(names) = folder.inside.list(format!("{}/{below}", folder.path)) else { continue };
        for name in names {
            entries += 1;
            if entries > MOST_ENTRIES {
                return findings;
            }
            let Some(name) = name.to_str() else { continue };
            let path = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
            let full = format!("{}/{path}", folder.path);
            match folder.inside.kind(&full) {
                Some(FileType::Directory) if depth < DEEPEST => folders.push((path, depth + 1)),
                Some(FileType::Symlink)
                    if !folder.inside.exists(&full) && !said.contains(&path) =>
                {
                    let why = "boot loaders are told that this file is not there";
                    findings.push(folder.lacks(&path, Level::Warning, why.into()));
                }
                _ => {}
            }
        }
    }
    findings
}
