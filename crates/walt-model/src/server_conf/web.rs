//! Sections `web` and `otlp`.

use super::read::{Group, Reader};
use super::tree::{Node, Value};
use super::{Otlp, Web};
use std::net::SocketAddr;

const WEB_KEYS: &[&str] = &["listen", "walt-net"];
const OTLP_KEYS: &[&str] = &["url", "authorization-file", "from"];
/// Most addresses of `web.listen`.
const MAX_LISTEN: usize = 16;

impl Reader {
    pub(super) fn web(&mut self, root: &Group<'_>) -> Web {
        let mut web = Web::default();
        let Some(group) = root.get("web").and_then(|node| self.group("web", node)) else {
            return web;
        };
        self.known_keys(&group, WEB_KEYS, "key");
        if let Some(node) = group.get("listen") {
            web.listen = self.addresses(&group, node);
        }
        match group.get("walt-net").map(|node| (&node.value, node.referenced.line())) {
            None | Some((Value::Null, _)) => {}
            Some((Value::Bool(wanted), _)) => web.on_walt_net = *wanted,
            Some((other, line)) => {
                let message = format!("expected true or false, found {}", other.describe());
                self.problem(line, group.path_of("walt-net"), message);
            }
        }
        web
    }

    fn addresses(&mut self, group: &Group<'_>, node: &Node) -> Vec<SocketAddr> {
        let one;
        let list = match &node.value {
            Value::Null => return Vec::new(),
            Value::List(list) if list.len() <= MAX_LISTEN => list.as_slice(),
            Value::Text(_) => {
                one = [node.clone()];
                &one
            }
            other => {
                let found = other.describe();
                let message =
                    format!("expected a list of at most {MAX_LISTEN} addresses, found {found}");
                self.problem(node.referenced.line(), group.path_of("listen"), message);
                return Vec::new();
            }
        };
        let mut addresses = Vec::new();
        for node in list {
            let parsed = match &node.value {
                Value::Text(text) => text.parse::<SocketAddr>().ok(),
                _ => None,
            };
            match parsed.filter(|address| address.port() != 0) {
                Some(address) => addresses.push(address),
                None => {
                    let found = node.value.describe();
                    let message = format!(
                        "{found} is not an address and a port, for instance '127.0.0.1:80' or '[::1]:8080'"
                    );
                    self.problem(node.referenced.line(), group.path_of("listen"), message);
                }
            }
        }
        addresses
    }

    pub(super) fn otlp(&mut self, root: &Group<'_>) -> Option<Otlp> {
        let node = root.get("otlp").filter(|node| node.value != Value::Null)?;
        let group = self.group("otlp", node)?;
        self.known_keys(&group, OTLP_KEYS, "key");
        let url = self.text(&group, "url", None)?;
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let legal = |b: u8| b.is_ascii_graphic();
        if !rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(legal)) {
            let message = format!(
                "'{url}' is not the address of a collector, for instance 'http://collector:4318/v1/logs'"
            );
            self.problem(group.line, group.path_of("url"), message);
        }
        let authorization_file = match group.get("authorization-file") {
            None => None,
            Some(_) => Some(self.text(&group, "authorization-file", None)?),
        };
        let places = [("now", false), ("beginning", true)];
        let from_beginning = self.choice(&group, "from", &places, Some(false))?;
        Some(Otlp { url, authorization_file, from_beginning })
    }
}
