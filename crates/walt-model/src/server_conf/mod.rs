//! `/etc/walt/server.conf`: what the administrator decides.
//!
//! YAML, or JSON with `#` comments, of the sections `network`, `registries`, `services`, `vpn`,
//! `logs`, `web` and `otlp`.
//! [`ServerConf::parse`] finds all problems at once, each with its line and the path of its key.

mod logs;
mod read;
mod registries;
mod tree;
mod web;

use crate::Subnet;
pub use logs::{Logs, Quota};
use serde::Serialize;
use std::fmt;
use std::net::SocketAddr;

/// Where the file is, unless told otherwise.
pub const DEFAULT_PATH: &str = "/etc/walt/server.conf";

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerConf {
    /// The platform network (`network.walt-net`), mandatory.
    pub walt_net: WaltNet,
    /// The other networks (`walt-adm`, `walt-out`...), in the order of the file.
    pub other_networks: Vec<OtherNetwork>,
    /// Where images can be taken from and published to; the Docker Hub when the file names none.
    pub registries: Vec<Registry>,
    /// Access of remote nodes.
    pub vpn: Vpn,
    /// How long log lines are kept.
    pub logs: Logs,
    /// Where the web pages and the web API are.
    pub web: Web,
    /// Where log lines are sent too.
    pub otlp: Option<Otlp>,
}

/// Where the web pages, the web API and the metrics are served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Web {
    /// Addresses and ports; `127.0.0.1:80` unless told otherwise.
    pub listen: Vec<SocketAddr>,
    /// Also on the platform network, at port 80 of the server, where nodes get their boot files.
    pub on_walt_net: bool,
}

impl Default for Web {
    fn default() -> Self {
        Self { listen: vec![SocketAddr::from(([127, 0, 0, 1], 80))], on_walt_net: false }
    }
}

/// A collector of logs that speaks OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Otlp {
    /// Its address (`http://collector:4318/v1/logs`).
    pub url: String,
    /// File whose text is the value of the header `Authorization`.
    pub authorization_file: Option<String>,
    /// Start with the oldest line kept, instead of those to come, when nothing was ever sent.
    pub from_beginning: bool,
}

/// The platform network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaltNet {
    /// Interface on which it runs; `None` makes a platform of virtual nodes only.
    pub raw_device: Option<String>,
    /// VLAN on that interface, 1 to 4094.
    pub vlan: Option<u16>,
    /// Address of the server and prefix of the network.
    pub ip: Subnet,
}

/// A network that the server only gets an address on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OtherNetwork {
    /// Its name, also set as alternate name of the interface.
    pub name: String,
    /// Interface on which it runs; `None` for a dummy one.
    pub raw_device: Option<String>,
    /// VLAN on that interface, 1 to 4094.
    pub vlan: Option<u16>,
    /// How the server gets its address there; `None` leaves it to the system.
    pub ip: Option<NetworkIp>,
}

/// How the server gets an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkIp {
    /// From a DHCP server.
    Dhcp,
    /// This one.
    Static(Subnet),
}

/// Which protocol a registry speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegistryApi {
    /// The public Docker Hub.
    DockerHub,
    /// Docker registry HTTP API V2.
    DockerRegistryV2,
    /// JFrog Artifactory, one of its repositories.
    JfrogArtifactory,
}

/// How a registry is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegistryProtocol {
    /// TLS, certificate verified.
    #[default]
    Https,
    /// Clear text.
    Http,
    /// TLS, certificate not verified.
    HttpsNoVerify,
}

/// How a registry authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegistryAuth {
    /// User name and password or token.
    #[default]
    Basic,
    /// Not at all.
    None,
}

/// A registry of images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Registry {
    /// Its name in clone links: `hub`, or lower-case letters, digits and dashes.
    pub label: String,
    /// What it speaks.
    pub api: RegistryApi,
    /// One line for users.
    pub description: String,
    /// Where it is; empty for the hub.
    pub host: String,
    /// Its port, 443 by default.
    pub port: u16,
    /// How to reach it.
    pub protocol: RegistryProtocol,
    /// How to log in.
    pub auth: RegistryAuth,
    /// Repository, for JFrog Artifactory.
    pub repository: Option<String>,
}

impl Registry {
    /// The Docker Hub.
    pub fn hub() -> Self {
        Self {
            label: "hub".to_owned(),
            api: RegistryApi::DockerHub,
            description: "Public registry at hub.docker.com".to_owned(),
            host: String::new(),
            port: 443,
            protocol: RegistryProtocol::Https,
            auth: RegistryAuth::Basic,
            repository: None,
        }
    }
}

/// What VPN nodes do when the VPN cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VpnBootMode {
    /// They may boot something else.
    #[default]
    Permissive,
    /// They keep trying.
    Enforced,
}

/// Access of remote nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Vpn {
    /// Is it on?
    pub enabled: bool,
    /// Host that relays SSH to this server; set when enabled.
    pub ssh_entrypoint: Option<String>,
    /// Host that relays HTTP to this server; set when enabled.
    pub http_entrypoint: Option<String>,
    /// What nodes do when it cannot be used.
    pub boot_mode: VpnBootMode,
}

/// One problem of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1; 0 when the problem is that something is missing from the whole file.
    pub line: u64,
    /// Dotted path of the key concerned (`network.walt-net.ip`); empty for syntax.
    pub key: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// All problems of a configuration file, in line order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ServerConfError(pub Vec<Problem>);

impl ServerConf {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// All problems found, each with its line and key.
    pub fn parse(text: &str) -> Result<Self, ServerConfError> {
        read::server_conf(text).map_err(|mut problems| {
            problems.sort_by_key(|problem| problem.line);
            ServerConfError(problems)
        })
    }

    /// A platform of virtual nodes only.
    pub fn virtual_only(ip: Subnet) -> Self {
        Self {
            walt_net: WaltNet { raw_device: None, vlan: None, ip },
            other_networks: Vec::new(),
            registries: vec![Registry::hub()],
            vpn: Vpn::default(),
            logs: Logs::default(),
            web: Web::default(),
            otlp: None,
        }
    }
}
