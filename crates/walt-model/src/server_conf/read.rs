//! From the YAML tree to [`ServerConf`], collecting every problem.

use super::tree::{Node, Value};
use super::{NetworkIp, OtherNetwork, Problem, ServerConf, Vpn, VpnBootMode, WaltNet};
use crate::Subnet;
use serde_saphyr::Spanned;

const SECTIONS: &[&str] = &["network", "registries", "services", "vpn", "logs", "web", "otlp"];
const NETWORK_KEYS: &[&str] = &["raw-device", "vlan", "ip"];
const VPN_KEYS: &[&str] = &["enabled", "ssh-entrypoint", "http-entrypoint", "boot-mode"];
const EXAMPLE: &str =
    "for instance:\nnetwork:\n    walt-net:\n        raw-device: null\n        ip: 192.168.12.1/24";

/// Longest interface name of Linux (`IFNAMSIZ` - 1).
const INTERFACE_NAME_MAX: usize = 15;

/// Reads the file; all problems are returned at once.
pub(super) fn server_conf(text: &str) -> Result<ServerConf, Vec<Problem>> {
    let mut reader = Reader { problems: Vec::new() };
    let root =
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            None
        } else {
            match serde_saphyr::from_str::<Node>(text) {
                Ok(root) => Some(root),
                Err(error) => {
                    let line = error.location().map_or(0, |location| location.line());
                    let what = error.without_snippet().to_string();
                    let message = format!("cannot be read as YAML: {what}");
                    return Err(vec![Problem { line, key: String::new(), message }]);
                }
            }
        };
    let conf = reader.root(root.as_ref());
    match conf {
        Some(conf) if reader.problems.is_empty() => Ok(conf),
        _ => Err(reader.problems),
    }
}

/// A mapping being read, with its path.
pub(super) struct Group<'a> {
    path: String,
    pub(super) line: u64,
    entries: &'a [(Spanned<String>, Node)],
}

impl<'a> Group<'a> {
    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(name, _)| name.value == key).map(|(_, node)| node)
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

pub(super) struct Reader {
    pub(super) problems: Vec<Problem>,
}

impl Reader {
    pub(super) fn problem(
        &mut self,
        line: u64,
        key: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.problems.push(Problem { line, key: key.into(), message: message.into() });
    }

    fn root(&mut self, root: Option<&Node>) -> Option<ServerConf> {
        let Some(root) = root else {
            self.problem(
                0,
                "network.walt-net.ip",
                format!("is missing: the file is empty; {EXAMPLE}"),
            );
            return None;
        };
        let root = self.group("", root)?;
        self.known_keys(&root, SECTIONS, "section");
        let (walt_net, other_networks) = self.networks(&root);
        let registries = self.registries(&root);
        if let Some(services) = root.get("services") {
            self.services(services);
        }
        let vpn = self.vpn(&root);
        let (logs, web, otlp) = (self.logs(&root), self.web(&root), self.otlp(&root));
        Some(ServerConf { walt_net: walt_net?, other_networks, registries, vpn, logs, web, otlp })
    }

    /// A mapping with distinct keys; `null` is an empty one.
    pub(super) fn group<'a>(&mut self, path: &str, node: &'a Node) -> Option<Group<'a>> {
        let line = node.referenced.line();
        let entries: &[(Spanned<String>, Node)] = match &node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            other => {
                let found = other.describe();
                self.problem(
                    line,
                    path,
                    format!("expected a group of 'key: value' lines, found {found}"),
                );
                return None;
            }
        };
        Some(Group { path: path.to_owned(), line, entries })
    }

    pub(super) fn known_keys(&mut self, group: &Group<'_>, known: &[&str], what: &str) {
        for (name, _) in group.entries {
            if known.contains(&name.value.as_str()) {
                continue;
            }
            let advice = match nearest(&name.value, known) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("known ones: {}", known.join(", ")),
            };
            let path = group.path_of(&name.value);
            self.problem(name.referenced.line(), path, format!("unknown {what}; {advice}"));
        }
    }

    fn networks(&mut self, root: &Group<'_>) -> (Option<WaltNet>, Vec<OtherNetwork>) {
        let mut others = Vec::new();
        let Some(node) = root.get("network") else {
            self.problem(0, "network.walt-net.ip", format!("is missing; {EXAMPLE}"));
            return (None, others);
        };
        let Some(networks) = self.group("network", node) else { return (None, others) };
        let mut walt_net = None;
        if networks.get("walt-net").is_none() {
            let near = networks
                .entries
                .iter()
                .find(|(name, _)| nearest(&name.value, &["walt-net"]).is_some());
            match near {
                Some((name, _)) => {
                    let path = networks.path_of(&name.value);
                    self.problem(
                        name.referenced.line(),
                        path,
                        "unknown network; did you mean 'walt-net'?",
                    );
                }
                None => self.problem(
                    networks.line,
                    "network.walt-net.ip",
                    format!("is missing; {EXAMPLE}"),
                ),
            }
        }
        for (name, node) in networks.entries {
            let path = networks.path_of(&name.value);
            let Some(group) = self.group(&path, node) else { continue };
            self.known_keys(&group, NETWORK_KEYS, "key");
            let raw_device = self.interface(&group);
            let vlan = self.vlan(&group, raw_device.is_some());
            let ip_line =
                group.get("ip").map_or(name.referenced.line(), |node| node.referenced.line());
            let ip = self.network_ip(&group);
            if name.value == "walt-net" {
                let missing = group.get("ip").is_none_or(|node| node.value == Value::Null);
                match ip {
                    Some(NetworkIp::Static(ip)) => {
                        walt_net = Some(WaltNet { raw_device, vlan, ip })
                    }
                    Some(NetworkIp::Dhcp) => self.problem(
                        ip_line,
                        group.path_of("ip"),
                        "must be a static address with a prefix length such as 192.168.12.1/24: \
                         on this network the server is the DHCP server",
                    ),
                    None if missing => {
                        self.problem(
                            ip_line,
                            group.path_of("ip"),
                            format!("is missing; {EXAMPLE}"),
                        );
                    }
                    None => {}
                }
            } else {
                if !is_interface_name(&name.value) {
                    self.problem(name.referenced.line(), path, "is not usable as a network name");
                }
                others.push(OtherNetwork { name: name.value.clone(), raw_device, vlan, ip });
            }
        }
        self.shared_interfaces(&networks);
        (walt_net, others)
    }

    /// Two networks on one interface need two VLANs, and a plain network cannot share it with tagged ones.
    fn shared_interfaces(&mut self, networks: &Group<'_>) {
        let mut seen: Vec<(String, Option<i64>, String)> = Vec::new();
        for (name, node) in networks.entries {
            let Value::Map(entries) = &node.value else { continue };
            let get = |key: &str| entries.iter().find(|(k, _)| k.value == key).map(|(_, n)| n);
            let Some(Node { value: Value::Text(device), referenced, .. }) = get("raw-device")
            else {
                continue;
            };
            let vlan = match get("vlan").map(|n| &n.value) {
                Some(Value::Int(n)) if *n != 0 => Some(*n),
                _ => None,
            };
            let clash = seen.iter().find(|(other, other_vlan, _)| {
                other == device && (*other_vlan == vlan || other_vlan.is_none() || vlan.is_none())
            });
            if let Some((_, _, other)) = clash {
                let message = format!(
                    "'{device}' is already used by network '{other}'; give each its own VLAN or interface"
                );
                self.problem(
                    referenced.line(),
                    format!("network.{}.raw-device", name.value),
                    message,
                );
            }
            seen.push((device.clone(), vlan, name.value.clone()));
        }
    }

    fn interface(&mut self, group: &Group<'_>) -> Option<String> {
        let node = group.get("raw-device")?;
        match &node.value {
            Value::Null => None,
            Value::Text(name) if is_interface_name(name) => Some(name.clone()),
            other => {
                let message = format!(
                    "expected the name of a network interface or null, found {}",
                    other.describe()
                );
                self.problem(node.referenced.line(), group.path_of("raw-device"), message);
                None
            }
        }
    }

    /// `0` means no VLAN, as it always did.
    fn vlan(&mut self, group: &Group<'_>, has_device: bool) -> Option<u16> {
        let node = group.get("vlan")?;
        let line = node.referenced.line();
        let path = group.path_of("vlan");
        let vlan = match node.value {
            Value::Null | Value::Int(0) => return None,
            Value::Int(n @ 1..=4094) => u16::try_from(n).ok(),
            ref other => {
                let message =
                    format!("expected a VLAN number from 1 to 4094, found {}", other.describe());
                self.problem(line, path, message);
                return None;
            }
        };
        let broken_device = group.get("raw-device").is_some_and(|node| node.value != Value::Null);
        if !has_device && !broken_device {
            self.problem(line, path, "needs 'raw-device': the interface that carries this VLAN");
            return None;
        }
        vlan
    }

    fn network_ip(&mut self, group: &Group<'_>) -> Option<NetworkIp> {
        let node = group.get("ip")?;
        let result = match &node.value {
            Value::Null => return None,
            Value::Text(text) if text == "dhcp" => return Some(NetworkIp::Dhcp),
            Value::Text(text) => text.parse::<Subnet>().map_err(|error| error.to_string()),
            other => Err(format!(
                "expected an address such as 192.168.12.1/24, found {}",
                other.describe()
            )),
        };
        match result {
            Ok(subnet) => Some(NetworkIp::Static(subnet)),
            Err(message) => {
                self.problem(node.referenced.line(), group.path_of("ip"), message);
                None
            }
        }
    }

    fn services(&mut self, node: &Node) {
        // Known of old and without effect here: the NFS server is ours.
        let Some(services) = self.group("services", node) else { return };
        self.known_keys(&services, &["nfsd"], "service");
        if let Some(node) = services.get("nfsd")
            && let Some(nfsd) = self.group("services.nfsd", node)
        {
            self.known_keys(&nfsd, &["service-name"], "key");
        }
    }

    fn vpn(&mut self, root: &Group<'_>) -> Vpn {
        let Some(node) = root.get("vpn") else { return Vpn::default() };
        let Some(group) = self.group("vpn", node) else { return Vpn::default() };
        self.known_keys(&group, VPN_KEYS, "key");
        let enabled = match group.get("enabled").map(|node| (&node.value, node.referenced.line())) {
            None | Some((Value::Null, _)) => false,
            Some((Value::Bool(enabled), _)) => *enabled,
            Some((other, line)) => {
                self.problem(
                    line,
                    "vpn.enabled",
                    format!("expected true or false, found {}", other.describe()),
                );
                false
            }
        };
        if !enabled {
            return Vpn::default();
        }
        let modes = [("permissive", VpnBootMode::Permissive), ("enforced", VpnBootMode::Enforced)];
        let boot_mode = self.choice(&group, "boot-mode", &modes, Some(VpnBootMode::Permissive));
        Vpn {
            enabled,
            ssh_entrypoint: self.text(&group, "ssh-entrypoint", None),
            http_entrypoint: self.text(&group, "http-entrypoint", None),
            boot_mode: boot_mode.unwrap_or_default(),
        }
    }

    pub(super) fn text(
        &mut self,
        group: &Group<'_>,
        key: &str,
        default: Option<&str>,
    ) -> Option<String> {
        match (group.get(key), default) {
            (Some(Node { value: Value::Text(text), .. }), _) => Some(text.clone()),
            (None, Some(default)) => Some(default.to_owned()),
            (None, None) => {
                self.problem(group.line, group.path_of(key), "is missing");
                None
            }
            (Some(node), _) => {
                let message = format!("expected a text, found {}", node.value.describe());
                self.problem(node.referenced.line(), group.path_of(key), message);
                None
            }
        }
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        group: &Group<'_>,
        key: &str,
        choices: &[(&str, T)],
        default: Option<T>,
    ) -> Option<T> {
        if group.get(key).is_none() && default.is_some() {
            return default;
        }
        let text = self.text(group, key, None)?;
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice);
        if found.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            let line = group.get(key).map_or(group.line, |node| node.referenced.line());
            let advice = match nearest(&text, &words) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("expected one of: {}", words.join(", ")),
            };
            self.problem(line, group.path_of(key), format!("unknown value '{text}'; {advice}"));
        }
        found
    }
}

fn is_interface_name(name: &str) -> bool {
    (1..=INTERFACE_NAME_MAX).contains(&name.len())
        && !matches!(name, "." | "..")
        && name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':')
}

/// The known word that was probably meant: at most 2 edits away (1 for short words), or equal once `_`,
/// case and dashes are ignored.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let bare = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
    let word = bare(word);
    known
        .iter()
        .map(|candidate| (distance(&word, &bare(candidate)), *candidate))
        .filter(|(edits, candidate)| *edits <= if candidate.len() > 4 { 2 } else { 1 })
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "tests.rs"]
mod tests;
