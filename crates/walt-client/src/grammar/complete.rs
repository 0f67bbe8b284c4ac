//! Completion: `walt __complete <words>` prints candidates for the last word, one per line, with a tab and their
//! description if they have one. It never asks anything, and gives up after a while.

use super::{Category, Command, Kind};
use crate::command::node::config::settings_path;
use crate::server::Server;
use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::Duration;
use walt_proto::api::device::{Device, DeviceKind};
use walt_proto::api::image::registry::RegistryInfo;
use walt_proto::api::image::{Image, ImageSet};
use walt_proto::api::log::{Checkpoint, LogImport};
use walt_proto::api::node::Node;
use walt_proto::api::route;
use walt_proto::api::settings::DeviceSettings;

/// The hidden word.
pub const WORD: &str = "__complete";

/// After that long without answer of the server, there are no candidates.
const PATIENCE: Duration = Duration::from_secs(4);

/// A candidate and its description (may be empty).
type Candidate = (String, String);

/// Completes; the exit status of the process.
pub fn run(categories: &'static [Category], words: &[String]) -> u8 {
    let (sender, receiver) = mpsc::channel();
    let words = words.to_vec();
    std::thread::spawn(move || {
        let _ = sender.send(candidates(categories, &words, &ask));
    });
    match receiver.recv_timeout(PATIENCE) {
        Ok(Some(found)) => {
            for (text, about) in found {
                let tab = if about.is_empty() { "" } else { "\t" };
                crate::output::line(&format!("{text}{tab}{about}"));
            }
            0
        }
        _ => 1,
    }
}

/// What completion needs to know from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Names {
    /// Settings that all devices of a set have.
    Settings {
        set: String,
        nodes_only: bool,
    },
    Nodes,
    Devices,
    Issuers,
    Images,
    /// `walt:<owner>/<name>` of images of others.
    WaltLinks,
    /// Labels of registries.
    Registries,
    /// Paths of an image of the user that start so.
    ImagePaths {
        image: String,
        path: String,
    },
    Checkpoints,
    Imports,
}

fn ask(what: Names) -> Option<Vec<String>> {
    let server = Server::from_environment().ok()?;
    match what {
        Names::Settings { set, nodes_only } => {
            let path = settings_path(&set, nodes_only);
            let devices: Vec<DeviceSettings> = server.get(&path).ok()?;
            let (first, others) = devices.split_first()?;
            let everywhere = |name: &&String| others.iter().all(|d| d.settings.contains_key(*name));
            Some(first.settings.keys().filter(everywhere).cloned().collect())
        }
        Names::Nodes => {
            let nodes: Vec<Node> = server.get(route::NODES).ok()?;
            Some(nodes.into_iter().map(|node| node.name).collect())
        }
        Names::Devices | Names::Issuers => {
            let devices: Vec<Device> = server.get(route::DEVICES).ok()?;
            let logs =
                |device: &Device| matches!(device.kind, DeviceKind::Server | DeviceKind::Node);
            let wanted =
                devices.into_iter().filter(|device| what == Names::Devices || logs(device));
            Some(wanted.map(|device| device.name).collect())
        }
        Names::Images => {
            let images: Vec<Image> = server.get(route::IMAGES).ok()?;
            let own = images.into_iter().filter(|image| image.set == ImageSet::Own);
            Some(own.map(|image| image.name).collect())
        }
        Names::WaltLinks => {
            let images: Vec<Image> = server.get(route::IMAGES).ok()?;
            let others = images.into_iter().filter(|image| image.set != ImageSet::Own);
            Some(others.map(|image| image.clone_link).collect())
        }
        Names::Registries => {
            let registries: Vec<RegistryInfo> = server.get(route::REGISTRIES).ok()?;
            Some(registries.into_iter().map(|registry| registry.label).collect())
        }
        Names::ImagePaths { image, path } => {
            let query = crate::server::query(&[("path", Some(&path))]);
            server.get(&format!("{}{query}", route::fill(route::IMAGE_NAMES, &image))).ok()
        }
        Names::Imports => {
            let imports: Vec<LogImport> = server.get(route::LOGS_IMPORTS).ok()?;
            Some(imports.into_iter().map(|import| import.label).collect())
        }
        Names::Checkpoints => {
            let checkpoints: Vec<Checkpoint> = server.get(route::CHECKPOINTS).ok()?;
            Some(checkpoints.into_iter().map(|checkpoint| checkpoint.name).collect())
        }
    }
}

fn candidates(
    categories: &'static [Category],
    words: &[String],
    ask: &dyn Fn(Names) -> Option<Vec<String>>,
) -> Option<Vec<Candidate>> {
    let (current, before) = words.split_last()?;
    let described = |items: Vec<(&str, &str)>| {
        let fits = items.into_iter().filter(|(name, _)| name.starts_with(current.as_str()));
        Some(fits.map(|(name, about)| (name.to_owned(), about.to_owned())).collect())
    };
    let Some((first, before)) = before.split_first() else {
        return described(categories.iter().map(|c| (c.name, c.about)).collect());
    };
    let category = categories.iter().find(|category| category.name == first)?;
    let Some((second, before)) = before.split_first() else {
        let listed = category.commands.iter().filter(|command| !command.hidden);
        return described(listed.map(|c| (c.name, c.summary())).collect());
    };
    let command = category.commands.iter().find(|command| command.name == second)?;
    let (position, pending, ended) = place(command, before);
    if let Some(kind) = pending {
        return values(kind, current, before, ask);
    }
    if !ended
        && let Some((name, value)) =
            current.strip_prefix("--").and_then(|text| text.split_once('='))
    {
        let found = values(command.switch(name)?.value?, value, before, ask)?;
        let attached = |(text, about)| (format!("--{name}={text}"), about);
        return Some(found.into_iter().map(attached).collect());
    }
    if current.starts_with('-') && !ended {
        let mut switches: Vec<(String, String)> = vec![("--help".into(), "show the help".into())];
        for switch in command.switches {
            for name in std::iter::once(&switch.name).chain(switch.aliases) {
                switches.push((super::help::dashed(name), switch.about.to_owned()));
            }
        }
        switches.retain(|(name, _)| name.starts_with(current.as_str()));
        return Some(switches);
    }
    let last = command.positionals.len().checked_sub(1)?;
    let positional = command
        .positionals
        .get(position)
        .or_else(|| command.positionals.get(last).filter(|positional| positional.variable))?;
    values(positional.kind, current, before, ask)
}

/// Number of positionals before the current word, the value it must be if it follows an option, and whether `--` came.
fn place(command: &Command, before: &[String]) -> (usize, Option<Kind>, bool) {
    let (mut position, mut pending, mut ended) = (0, None, false);
    for word in before {
        if pending.take().is_some() {
            continue;
        }
        match word.strip_prefix("--") {
            _ if ended => position += 1,
            Some("") => ended = true,
            Some(name) => {
                if !name.contains('=') {
                    pending = command.switch(name).and_then(|switch| switch.value);
                }
            }
            None => position += 1,
        }
    }
    (position, pending, ended)
}

fn values(
    kind: Kind,
    current: &str,
    before: &[String],
    ask: &dyn Fn(Names) -> Option<Vec<String>>,
) -> Option<Vec<Candidate>> {
    let plain = |names: Vec<String>| {
        let mut names: Vec<String> =
            names.into_iter().filter(|name| name.starts_with(current)).collect();
        names.sort();
        names.dedup();
        Some(names.into_iter().map(|name| (name, String::new())).collect())
    };
    let with = |mut names: Vec<String>, more: &[&str]| {
        names.extend(more.iter().map(|word| (*word).to_owned()));
        names
    };
    match kind {
        Kind::Node => plain(ask(Names::Nodes)?),
        Kind::Device => plain(ask(Names::Devices)?),
        Kind::NodeSet => {
            let names = with(ask(Names::Nodes)?, &["my-nodes", "free-nodes", "all-nodes"]);
            Some(in_set(names, current))
        }
        Kind::DeviceSet => {
            let more = [
                "all-devices",
                "all-switches",
                "explorable-switches",
                "my-nodes",
                "all-nodes",
                "free-nodes",
            ];
            Some(in_set(with(ask(Names::Devices)?, &more), current))
        }
        Kind::NodeSetting | Kind::DeviceSetting => {
            if current.contains('=') {
                return Some(Vec::new());
            }
            let set = before.iter().find(|word| !word.starts_with('-'))?.clone();
            let names = ask(Names::Settings { set, nodes_only: kind == Kind::NodeSetting })?;
            let fits = names.iter().filter(|name| name.starts_with(current));
            let about = |name: &str| {
                walt_model::settings::setting(name).map(|s| s.about.to_owned()).unwrap_or_default()
            };
            Some(fits.map(|name| (format!("{name}="), about(name))).collect())
        }
        Kind::IssuerSet => {
            let more = ["my-nodes", "free-nodes", "all-nodes", "server"];
            Some(in_set(with(ask(Names::Issuers)?, &more), current))
        }
        Kind::Image => plain(ask(Names::Images)?),
        Kind::ImageOrDefault => plain(with(ask(Names::Images)?, &["default"])),
        Kind::CloneLink if current.starts_with("walt:") => plain(ask(Names::WaltLinks)?),
        Kind::CloneLink => {
            let locations = with(ask(Names::Registries)?, &["walt", "docker"]);
            plain(locations.iter().map(|location| format!("{location}:")).collect())
        }
        Kind::Registry => plain(with(ask(Names::Registries)?, &["auto"])),
        Kind::Checkpoint => plain(ask(Names::Checkpoints)?),
        Kind::LogImport => plain(ask(Names::Imports)?),
        Kind::File(_) => plain(paths(current)),
        Kind::HistoryRange => {
            if current.starts_with('-') || current.contains(":-") {
                return Some(Vec::new());
            }
            let start = current.split_once(':').map_or("", |(start, _)| start);
            let checkpoints = ask(Names::Checkpoints).unwrap_or_default();
            if current.contains(':') {
                return plain(checkpoints.iter().map(|name| format!("{start}:{name}")).collect());
            }
            let ranges = checkpoints.iter().map(|name| format!("{name}:")).collect();
            plain(with(ranges, &["full", "none", ":"]))
        }
        Kind::Topic => {
            let topics = walt_doc::topics().filter(|topic| topic.name.starts_with(current));
            Some(topics.map(|topic| (topic.name.to_owned(), topic.title())).collect())
        }
        Kind::NodeCpSource => Some(operands(current, ask(Names::Nodes).unwrap_or_default(), true)),
        Kind::NodeCpDestination => {
            let remote = before.last().is_some_and(|source| source.contains(':'));
            let nodes = if remote { Vec::new() } else { ask(Names::Nodes)? };
            Some(operands(current, nodes, remote))
        }
        Kind::ImageCpSource => image_operands(current, true, ask),
        Kind::ImageCpDestination => {
            // One side is in an image: after an image comes a local path, after a local path an image.
            let source = before.iter().rfind(|word| !word.starts_with('-'))?;
            if is_remote(source) {
                return Some(operands(current, Vec::new(), true));
            }
            image_operands(current, false, ask)
        }
        Kind::Directory => {
            let mut found = paths(current);
            found.retain(|path| path.ends_with('/'));
            plain(found)
        }
        Kind::Choice(_, words) => plain(words.iter().map(|word| (*word).to_owned()).collect()),
        Kind::Integer(_) | Kind::Text(_) => Some(Vec::new()),
    }
}

/// Completes the last element of a comma-separated set. A single match comes alone and followed by a comma.
fn in_set(names: Vec<String>, current: &str) -> Vec<Candidate> {
    let (head, last) = match current.rfind(',') {
        Some(comma) => current.split_at(comma + 1),
        None => ("", current),
    };
    let given: BTreeSet<&str> = head.split(',').collect();
    let mut names: Vec<String> = names
        .into_iter()
        .filter(|name| name.starts_with(last) && !given.contains(name.as_str()))
        .collect();
    names.sort();
    names.dedup();
    let mut found: Vec<Candidate> =
        names.iter().map(|name| (format!("{head}{name}"), String::new())).collect();
    if let [(only, _)] = found.as_slice() {
        let more = format!("{only},");
        found.push((more, String::new()));
    }
    found
}

/// Operands of `cp`: node names followed by a colon, and local paths.
fn operands(current: &str, nodes: Vec<String>, local: bool) -> Vec<Candidate> {
    let mut found: Vec<String> = nodes.into_iter().map(|node| format!("{node}:")).collect();
    found.retain(|operand| operand.starts_with(current) && operand != current);
    if local && !current.contains(':') {
        found.extend(paths(current));
    }
    found.sort();
    found.into_iter().map(|operand| (operand, String::new())).collect()
}

fn is_remote(operand: &str) -> bool {
    operand.contains(':') && !operand.starts_with(['/', '.'])
}

/// Images followed by a colon, paths in one that is typed, and local paths.
fn image_operands(
    current: &str,
    local: bool,
    ask: &dyn Fn(Names) -> Option<Vec<String>>,
) -> Option<Vec<Candidate>> {
    let images = ask(Names::Images).unwrap_or_default();
    let (image, path) = current.rsplit_once(':').unwrap_or_default();
    if is_remote(current) && images.iter().any(|known| known == image) {
        let wanted = Names::ImagePaths { image: image.to_owned(), path: path.to_owned() };
        let paths = ask(wanted)?;
        let mut found: Vec<Candidate> =
            paths.iter().map(|path| (format!("{image}:{path}"), String::new())).collect();
        // `image` may be the start of `image:tag`.
        found.extend(operands(current, images, false));
        return Some(found);
    }
    Some(operands(current, images, local))
}

/// Local paths that start so; directories end with `/`.
fn paths(current: &str) -> Vec<String> {
    let (directory, start) = match current.rfind('/') {
        Some(slash) => current.split_at(slash + 1),
        None => ("", current),
    };
    let place = if directory.is_empty() { "." } else { directory };
    let Ok(entries) = std::fs::read_dir(place) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let hidden = name.starts_with('.') && !start.starts_with('.');
            let slash = if entry.path().is_dir() { "/" } else { "" };
            (name.starts_with(start) && !hidden).then(|| format!("{directory}{name}{slash}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::CATEGORIES;

    fn complete(line: &str) -> Vec<String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let ask = |what: Names| {
            let names: &[&str] = match what {
                Names::Settings { nodes_only: true, .. } => &["cpu.cores", "ram"],
                Names::Settings { .. } => &["netsetup"],
                Names::Nodes => &["n", "node-2"],
                Names::Devices => &["n", "node-2", "switch-1", "walt-server"],
                Names::Issuers => &["n", "node-2", "walt-server"],
                Names::Images => &["pc-x86-64-default", "mine:v1"],
                Names::WaltLinks => &["walt:bob/x", "walt:waltplatform/pc-x86-64-default"],
                Names::Registries => &["hub", "lab"],
                Names::Checkpoints => &["start"],
                Names::Imports => &["exp1"],
                Names::ImagePaths { .. } => &["/etc/hostname", "/etc/hosts"],
            };
            Some(names.iter().map(|name| (*name).to_owned()).collect())
        };
        let found = candidates(CATEGORIES, &words, &ask).unwrap_or_default();
        found.into_iter().map(|(text, _)| text).collect()
    }

    #[test]
    fn directories() {
        let place = tempfile::tempdir()
            .map(|dir| dir.path().display().to_string() + "-x")
            .unwrap_or_default();
        for path in [format!("{place}/sub"), format!("{place}/sub/deep")] {
            assert!(std::fs::create_dir_all(path).is_ok());
        }
        assert!(std::fs::write(format!("{place}/such-a-file"), "").is_ok());
        let line = format!("image build x --from-dir {place}/su");
        assert_eq!(complete(&line), [format!("{place}/sub/")]);
        assert!(std::fs::remove_dir_all(place).is_ok());
    }

    #[test]
    fn static_words() {
        assert_eq!(complete("he"), ["help"]);
        assert_eq!(complete("node re"), ["release", "reboot", "remove", "rename"]);
        assert_eq!(complete("node reboot --h"), ["--help", "--hard"]);
        assert_eq!(complete("log show --emi"), ["--emitters"]);
        assert_eq!(complete("log export full --format "), ["csv", "jsonl", "parquet"]);
        assert_eq!(complete("node create x --firmware "), ["bios", "uefi"]);
        assert!(complete("help show node-o").contains(&"node-ownership".to_owned()));
    }

    #[test]
    fn sets() {
        assert_eq!(complete("node reboot n,my-n"), ["n,my-nodes", "n,my-nodes,"]);
        assert_eq!(complete("node reboot node-2,n"), ["node-2,n", "node-2,n,"]);
        assert_eq!(complete("node wait my-nodes"), ["my-nodes", "my-nodes,"]);
        assert_eq!(complete("log show --issuers ser"), ["server", "server,"]);
        assert_eq!(complete("log show --issuers=ser"), ["--issuers=server", "--issuers=server,"]);
    }

    #[test]
    fn settings_of_a_set() {
        assert_eq!(complete("node config n "), ["cpu.cores=", "ram="]);
        assert_eq!(complete("node config --yes n cpu.cores=2 r"), ["ram="]);
        assert_eq!(complete("node config n ram="), Vec::<String>::new());
        assert_eq!(complete("device config all-devices "), ["netsetup="]);
        assert_eq!(complete("device config all-s"), ["all-switches", "all-switches,"]);
    }

    #[test]
    fn names_of_the_platform() {
        assert_eq!(complete("node shell n"), ["n", "node-2"]);
        assert_eq!(complete("node boot n d"), ["default"]);
        assert_eq!(complete("image clone "), ["docker:", "hub:", "lab:", "walt:"]);
        assert_eq!(complete("image clone walt:b"), ["walt:bob/x"]);
        assert_eq!(complete("image clone lab:x"), Vec::<String>::new());
        assert_eq!(complete("image publish pc-x86-64-default --registry "), ["auto", "hub", "lab"]);
        assert_eq!(complete("node create n"), Vec::<String>::new());
        assert_eq!(complete("log show --history sta"), ["start:"]);
        assert_eq!(complete("log show --history start:"), ["start:start"]);
        assert_eq!(complete("log show --history -"), Vec::<String>::new());
        assert_eq!(complete("node cp /etc/x no"), ["node-2:"]);
    }
}
