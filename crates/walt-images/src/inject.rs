//! Carries out the steps of the walt layer in a mounted root.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::fs::FileType;
use serde::Deserialize;

use crate::inside::Inside;
use crate::layer::{LayerReport, Step};
use crate::percent::{self, Values};

/// Path of the spec of an image.
const IMAGE_SPEC: &str = "/etc/walt/image.spec";
/// Largest `image.spec`, in bytes.
const SPEC_LIMIT: usize = 64 << 10;
/// Largest template or configuration file, in bytes.
const FILE_LIMIT: usize = 1 << 20;
/// Most templates an image may list.
const MAX_TEMPLATES: usize = 1000;
/// Most directory entries looked at below `/boot`.
const MAX_BOOT_ENTRIES: usize = 200_000;
/// Most links followed in a chain (path_resolution(7) has the same bound).
const MAX_CHAIN: usize = 40;

/// A step without which nodes cannot boot this image failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path} in the image: {source}; without it no node can boot this image")]
pub struct VitalStepFailed {
    /// Path in the image.
    pub path: String,
    /// What the system said.
    pub source: io::Error,
}

/// `/etc/walt/image.spec`: what an image asks of the server.
#[derive(Debug, Default, Deserialize)]
pub struct ImageSpec {
    /// Files in which placeholders are replaced.
    #[serde(default)]
    pub templates: Vec<String>,
    /// Feature name -> command line that enables it, run in the image.
    #[serde(default)]
    pub features: BTreeMap<String, String>,
}

impl ImageSpec {
    /// Reads the spec of an image; no spec is an empty one, a bad one too (with a warning).
    pub fn read(inside: &Inside, report: &mut LayerReport) -> Self {
        let text = match inside.read(IMAGE_SPEC, SPEC_LIMIT) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::default(),
            Err(error) => {
                report.warnings.push(format!("{IMAGE_SPEC} is ignored: {error}"));
                return Self::default();
            }
        };
        match serde_saphyr::from_str::<Option<Self>>(&String::from_utf8_lossy(&text)) {
            Ok(spec) => spec.unwrap_or_default(),
            Err(error) => {
                report.warnings.push(format!("{IMAGE_SPEC} is ignored: {error}"));
                Self::default()
            }
        }
    }
}

/// Carries out one step; what fails and is not vital goes to the report. Blocks. `EnableFeatures` is
/// not done here (see [`crate::features`]). Files written get `mtime` (seconds since 1970), so that a
/// root made again is the same.
///
/// # Errors
/// A vital step failed.
pub fn carry_out(
    inside: &Inside,
    step: &Step,
    mtime: i64,
    report: &mut LayerReport,
) -> Result<(), VitalStepFailed> {
    let outcome = match step {
        Step::RemoveSymlink(path) => remove_if(inside, path, FileType::Symlink),
        Step::RemoveFile(path) => remove_if(inside, path, FileType::RegularFile),
        Step::Write { path, content, mode, vital } => {
            match inside.write(path, content, *mode, mtime) {
                Err(source) if *vital => {
                    return Err(VitalStepFailed { path: path.clone(), source });
                }
                other => other.map(|()| Some(format!("wrote {path}"))),
            }
            .map_err(|error| (format!("cannot write {path}"), error))
        }
        Step::AppendLine { path, line } => append_line(inside, path, line, mtime)
            .map_err(|error| (format!("cannot add a line to {path}"), error)),
        Step::SetAside(path, name) => inside
            .rename(path, name)
            .map(|done| done.then(|| format!("kept {path} as {name}")))
            .map_err(|error| (format!("cannot rename {path} to {name}"), error)),
        Step::RelativeLinks(dir) => relative_links(inside, dir, report)
            .map(|count| (count > 0).then(|| format!("made {count} symlinks of {dir} relative")))
            .map_err(|error| (format!("cannot make the symlinks of {dir} relative"), error)),
        Step::FillTemplates(values) => {
            fill_templates(inside, values, mtime, report);
            Ok(None)
        }
        Step::EnableFeatures(_) => Ok(None),
        Step::PtpConfiguration => ptp_configuration(inside, mtime)
            .map_err(|error| ("cannot adapt /etc/ptpd.conf".to_owned(), error)),
        Step::TimeZone(zone) => {
            time_zone(inside, zone).map_err(|error| ("cannot set /etc/localtime".to_owned(), error))
        }
        Step::Warn(sentence) => {
            report.warnings.push(sentence.clone());
            Ok(None)
        }
    };
    match outcome {
        Ok(Some(done)) => report.done.push(done),
        Ok(None) => {}
        Err((what, error)) => report.warnings.push(format!("{what}: {error}")),
    }
    Ok(())
}

fn remove_if(
    inside: &Inside,
    path: &str,
    kind: FileType,
) -> Result<Option<String>, (String, io::Error)> {
    if inside.kind(path) != Some(kind) {
        return Ok(None);
    }
    let removed = inside.remove(path).map_err(|error| (format!("cannot remove {path}"), error))?;
    Ok(removed.then(|| format!("removed {path}")))
}

fn append_line(inside: &Inside, path: &str, line: &[u8], mtime: i64) -> io::Result<Option<String>> {
    let old = match inside.read(path, FILE_LIMIT) {
        Ok(old) => old,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            inside.write(path, &[line, b"\n"].concat(), 0o600, mtime)?;
            return Ok(Some(format!("wrote {path}")));
        }
        Err(error) => return Err(error),
    };
    if old.split(|&b| b == b'\n').any(|present| present.trim_ascii() == line) {
        return Ok(None);
    }
    let separator: &[u8] = if old.is_empty() || old.ends_with(b"\n") { b"" } else { b"\n" };
    inside.rewrite(path, &[&old, separator, line, b"\n"].concat(), mtime)?;
    Ok(Some(format!("added a line to {path}")))
}

/// Walks a directory without following symlinks, and makes every absolute symlink relative: those
/// met, and those they lead to.
fn relative_links(inside: &Inside, dir: &str, report: &mut LayerReport) -> io::Result<usize> {
    let Ok(start) = inside.physical(dir) else { return Ok(0) };
    let mut count = 0;
    let mut seen = 0;
    let mut treated = HashSet::new();
    let mut waiting = VecDeque::from([start]);
    while let Some(directory) = waiting.pop_front() {
        for name in inside.list(&directory)? {
            seen += 1;
            if seen > MAX_BOOT_ENTRIES {
                report.warnings.push(format!(
                    "{dir} has more than {MAX_BOOT_ENTRIES} entries: the rest is left"
                ));
                return Ok(count);
            }
            let path = directory.join(name);
            match inside.kind(&path) {
                Some(FileType::Directory) => waiting.push_back(path),
                Some(FileType::Symlink) => {
                    let mut link = path;
                    for _ in 0..MAX_CHAIN {
                        if !treated.insert(link.clone()) {
                            break;
                        }
                        match relative_link(inside, &link) {
                            Ok((changed, next)) => {
                                count += usize::from(changed);
                                match next {
                                    Some(next) => link = next,
                                    None => break,
                                }
                            }
                            Err(error) => {
                                report
                                    .warnings
                                    .push(format!("symlink {}: {error}", link.display()));
                                break;
                            }
                        }
                    }
                }
                _ => {}
            }
        }
    }
    Ok(count)
}

/// Treats one symlink; answers whether it was changed, and the symlink it leads to, if any.
/// `link` has no symlink in its directory part.
fn relative_link(inside: &Inside, link: &Path) -> io::Result<(bool, Option<PathBuf>)> {
    let target = inside.read_link(link)?;
    let directory = link.parent().unwrap_or(Path::new("/"));
    let absolute = directory.join(&target);
    // Where the target really is; a target that does not exist is taken by its words.
    let place = inside.physical_place(&absolute).unwrap_or_else(|_| by_words(&absolute));
    let changed = target.is_absolute();
    if changed {
        inside.symlink(relative_path(directory, &place), link)?;
    }
    let next = (inside.kind(&place) == Some(FileType::Symlink)).then_some(place);
    Ok((changed, next))
}

/// `.` and `..` resolved without looking at any file; never above the root.
fn by_words(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::Normal(name) => clean.push(name),
            _ => {}
        }
    }
    clean
}

/// The way from a directory to a path, both absolute and without symlinks or dots.
fn relative_path(from: &Path, to: &Path) -> PathBuf {
    let from: Vec<_> = from.components().collect();
    let to: Vec<_> = to.components().collect();
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let mut way: PathBuf = from[common..].iter().map(|_| OsStr::new("..")).collect();
    way.extend(&to[common..]);
    if way.as_os_str().is_empty() { PathBuf::from(".") } else { way }
}

fn fill_templates(inside: &Inside, values: &Values, mtime: i64, report: &mut LayerReport) {
    let spec = ImageSpec::read(inside, report);
    if spec.templates.len() > MAX_TEMPLATES {
        report.warnings.push(format!(
            "{IMAGE_SPEC} lists more than {MAX_TEMPLATES} templates: the rest is left"
        ));
    }
    for path in spec.templates.iter().take(MAX_TEMPLATES) {
        let filled = inside.read(path, FILE_LIMIT).and_then(|text| {
            let (text, problems) = percent::fill(&text, values);
            report
                .warnings
                .extend(problems.into_iter().map(|problem| format!("template {path}: {problem}")));
            inside.rewrite(path, &text, mtime)
        });
        match filled {
            Ok(()) => report.done.push(format!("filled {path}")),
            Err(error) => report.warnings.push(format!("template {path} of {IMAGE_SPEC}: {error}")),
        }
    }
}

/// `ptpengine:ip_mode=hybrid` and a delay request interval of at least 2^3 s, for ptpd.
fn ptp_configuration(inside: &Inside, mtime: i64) -> io::Result<Option<String>> {
    const PATH: &str = "/etc/ptpd.conf";
    if !inside.exists(PATH) {
        return Ok(None);
    }
    let text = inside.read(PATH, FILE_LIMIT)?;
    match adapt_ptp(&String::from_utf8_lossy(&text)) {
        Some(adapted) => {
            inside.rewrite(PATH, adapted.as_bytes(), mtime)?;
            Ok(Some(format!("adapted {PATH}")))
        }
        None => Ok(None),
    }
}

/// The adapted configuration, or None when it needs no change (or is not ptpd's).
fn adapt_ptp(text: &str) -> Option<String> {
    const MODE: &str = "ptpengine:ip_mode";
    const INTERVAL: &str = "ptpengine:log_delayreq_interval";
    if !text.lines().any(|line| line.trim_start().starts_with("ptpengine:")) {
        return None;
    }
    let (mut has_mode, mut has_interval) = (false, false);
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let setting = line.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
        lines.push(match setting {
            Some((MODE, value)) => {
                has_mode = true;
                if value == "hybrid" { line.to_owned() } else { format!("{MODE}=hybrid") }
            }
            Some((INTERVAL, value)) => {
                has_interval = true;
                let enough = value.parse::<i32>().is_ok_and(|value| value >= 3);
                if enough { line.to_owned() } else { format!("{INTERVAL}=3") }
            }
            _ => line.to_owned(),
        });
    }
    if !has_mode {
        lines.push(format!("{MODE}=hybrid"));
    }
    if !has_interval {
        lines.push(format!("{INTERVAL}=3"));
    }
    let adapted = lines.join("\n") + "\n";
    (adapted.trim_end() != text.trim_end()).then_some(adapted)
}

fn time_zone(inside: &Inside, zone: &str) -> io::Result<Option<String>> {
    let zone_file = Path::new("/usr/share/zoneinfo").join(zone);
    let free = matches!(inside.kind("/etc/localtime"), None | Some(FileType::Symlink));
    if !free || by_words(&zone_file) != zone_file || inside.open_file(&zone_file).is_err() {
        return Ok(None);
    }
    inside.symlink(&zone_file, "/etc/localtime")?;
    Ok(Some(format!("set the time zone {zone}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_below_boot_become_relative() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for path in ["boot/pc", "usr/lib/k", "etc/alt"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        fs::write(root.join("usr/lib/k/vmlinuz"), "k").unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
        symlink("/etc/alt/kernel", root.join("boot/pc/kernel")).unwrap();
        symlink("/lib/k/vmlinuz", root.join("etc/alt/kernel")).unwrap();
        symlink("/../../nowhere/x", root.join("boot/dangling")).unwrap();
        symlink("/boot/loop", root.join("boot/loop")).unwrap();
        symlink("pc", root.join("boot/relative")).unwrap();
        let inside = Inside::enter(root).unwrap();
        let mut report = LayerReport::default();
        assert_eq!(relative_links(&inside, "/boot", &mut report).unwrap(), 4);
        let link = |path: &str| fs::read_link(root.join(path)).unwrap();
        assert_eq!(link("boot/pc/kernel"), Path::new("../../etc/alt/kernel"));
        assert_eq!(link("etc/alt/kernel"), Path::new("../../usr/lib/k/vmlinuz"));
        assert_eq!(link("boot/dangling"), Path::new("../nowhere/x"));
        assert_eq!(link("boot/loop"), Path::new("loop"));
        assert_eq!(fs::read(root.join("boot/pc/kernel")).unwrap(), b"k");
        assert_eq!(report.warnings, Vec::<String>::new());
        assert_eq!(relative_links(&inside, "/boot", &mut report).unwrap(), 0);
    }

    #[test]
    fn ptpd_settings() {
        assert_eq!(adapt_ptp("[ptp]\nx=1\n"), None);
        let adapted =
            adapt_ptp("ptpengine:ip_mode = multicast\nptpengine:log_delayreq_interval=0\n# c\n")
                .unwrap();
        assert_eq!(adapted, "ptpengine:ip_mode=hybrid\nptpengine:log_delayreq_interval=3\n# c\n");
        assert_eq!(adapt_ptp(&adapted), None);
        assert_eq!(adapt_ptp("ptpengine:log_delayreq_interval=5\nptpengine:ip_mode=hybrid"), None);
    }

    #[test]
    fn templates_of_the_image() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etc/walt")).unwrap();
        fs::write(dir.path().join("etc/t"), "ip=%(server_ip)s 5%").unwrap();
        let spec = "# comment\ntemplates: [ /etc/t, /missing, /../../etc/t ]\nfeatures: { nbfs2: /bin/x }\n";
        fs::write(dir.path().join("etc/walt/image.spec"), spec).unwrap();
        let inside = Inside::enter(dir.path()).unwrap();
        let mut report = LayerReport::default();
        let values = Values::from([("server_ip", "10.0.0.1".to_owned())]);
        fill_templates(&inside, &values, 0, &mut report);
        assert_eq!(fs::read_to_string(dir.path().join("etc/t")).unwrap(), "ip=10.0.0.1 5%");
        assert_eq!(report.done.len(), 2);
        assert!(report.warnings.iter().any(|warning| warning.contains("/missing")));
        assert!(report.warnings.iter().any(|warning| warning.contains("lone '%'")));
        let spec = ImageSpec::read(&inside, &mut report);
        assert_eq!(spec.features["nbfs2"], "/bin/x");
        fs::write(dir.path().join("etc/walt/image.spec"), "templates: 3\n").unwrap();
        report = LayerReport::default();
        assert!(ImageSpec::read(&inside, &mut report).templates.is_empty());
        assert_eq!(report.warnings.len(), 1);
    }

    #[test]
    fn keys_and_zone() {
        let dir = tempfile::tempdir().unwrap();
        let inside = Inside::enter(dir.path()).unwrap();
        for _ in 0..2 {
            append_line(&inside, "/root/.ssh/authorized_keys", b"ssh-x AAAA walt", 0).unwrap();
        }
        let file = dir.path().join("root/.ssh/authorized_keys");
        assert_eq!(fs::read(&file).unwrap(), b"ssh-x AAAA walt\n");
        fs::write(&file, "other").unwrap();
        append_line(&inside, "/root/.ssh/authorized_keys", b"ssh-x AAAA walt", 0).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"other\nssh-x AAAA walt\n");
        assert_eq!(time_zone(&inside, "Europe/Paris").unwrap(), None);
        fs::create_dir_all(dir.path().join("usr/share/zoneinfo/Europe")).unwrap();
        fs::write(dir.path().join("usr/share/zoneinfo/Europe/Paris"), "TZif").unwrap();
        assert_eq!(time_zone(&inside, "../zoneinfo/Europe/Paris").unwrap(), None);
        assert!(time_zone(&inside, "Europe/Paris").unwrap().is_some());
    }
}
