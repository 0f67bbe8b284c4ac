//! The walt layer: what is written into every image before it is served.
//!
//! [`WaltLayer::plan`] lists the steps, in the order images were always prepared in;
//! [`crate::inject`] carries them out.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::catalogue::ImageId;
use crate::keys::PlatformKeys;
use crate::layer_files::FILES;
use crate::percent::{self, Values};

/// What the walt layer depends on, besides the keys and the table of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaltLayer {
    /// The server's address on `walt-net`.
    pub server_ip: Ipv4Addr,
    /// The server's MAC address on `walt-net`, `aa:bb:cc:dd:ee:ff`.
    pub server_mac: String,
    /// TCP port of the node RPC service (12345).
    pub rpc_port: u16,
    /// TCP port of logs and of the bootup notification (12347).
    pub logs_port: u16,
    /// TCP port of the service nodes run (12346).
    pub node_service_port: u16,
    /// Features of the server (`/etc/walt/server.spec`), default `["ptp"]`.
    pub features: Vec<String>,
    /// The server's time zone, e.g. `Europe/Paris`; None leaves the image's own.
    pub timezone: Option<String>,
}

/// What was done to a root, and what could not be done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerReport {
    /// Steps carried out, e.g. `wrote /etc/hosts`.
    pub done: Vec<String>,
    /// What could not be done and is not vital, worded for a person.
    pub warnings: Vec<String>,
}

/// One change made to an image. Paths are absolute, seen from inside the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Removes this if it is a symlink.
    RemoveSymlink(&'static str),
    /// Writes this file, whatever stood there.
    Write {
        /// Where.
        path: String,
        /// Its bytes.
        content: Vec<u8>,
        /// Its permission bits.
        mode: u32,
        /// Whether a node cannot boot without it.
        vital: bool,
    },
    /// Adds a line to a file (made with mode 0600 if missing) unless it is there already.
    AppendLine {
        /// Where.
        path: &'static str,
        /// The line, without its end.
        line: Vec<u8>,
    },
    /// Keeps the file at this path under another name in its directory.
    SetAside(&'static str, &'static str),
    /// Removes this if it is a regular file.
    RemoveFile(&'static str),
    /// Makes the absolute symlinks below this directory relative, following chains.
    RelativeLinks(&'static str),
    /// Fills the template files that `/etc/walt/image.spec` lists.
    FillTemplates(Values),
    /// Runs the commands of `/etc/walt/image.spec` for the features the server has too.
    EnableFeatures(Vec<String>),
    /// Adapts `/etc/ptpd.conf` to a server that is a hybrid-mode PTP master.
    PtpConfiguration,
    /// Points `/etc/localtime` to this zone if the image has it.
    TimeZone(String),
    /// Could not be planned: the sentence to report.
    Warn(String),
}

impl WaltLayer {
    /// The layer of a server at this address, with the ports every image knows and the time zone of
    /// this machine.
    pub fn new(server_ip: Ipv4Addr, server_mac: impl Into<String>) -> Self {
        Self {
            server_ip,
            server_mac: server_mac.into(),
            rpc_port: 12345,
            logs_port: 12347,
            node_service_port: 12346,
            features: vec!["ptp".into()],
            timezone: local_timezone(),
        }
    }

    /// sha256 of everything the layer puts in an image, the image's own values excepted.
    pub fn digest(&self, keys: &PlatformKeys) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut feed = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        feed(b"walt layer, form 1");
        for file in FILES {
            feed(file.path.as_bytes());
            feed(&file.mode.to_be_bytes());
            feed(&[u8::from(file.templated)]);
            feed(file.content);
        }
        feed(format!("{self:?}").as_bytes());
        feed(&keys.host_private);
        feed(&keys.host_public);
        feed(keys.host_dropbear.as_deref().unwrap_or_default());
        feed(&keys.identity_public);
        hash.finalize().into()
    }

    /// The values of `%(key)s` placeholders for an image.
    pub fn values(&self, image: &ImageId, size_kib: u64) -> Values {
        Values::from([
            ("server_ip", self.server_ip.to_string()),
            ("server_mac", self.server_mac.clone()),
            ("walt_server_rpc_port", self.rpc_port.to_string()),
            ("walt_server_logs_port", self.logs_port.to_string()),
            ("walt_server_notify_bootup_port", self.logs_port.to_string()),
            ("walt_node_net_service_port", self.node_service_port.to_string()),
            ("walt_image_id", image.to_string()),
            ("walt_image_size_kib", size_kib.to_string()),
        ])
    }

    /// All changes to make to an image, in order (`docs`: what the server does to an image).
    pub fn plan(&self, keys: &PlatformKeys, image: &ImageId, size_kib: u64) -> Vec<Step> {
        let values = self.values(image, size_kib);
        let write = |path: &str, content: &[u8], mode, vital| Step::Write {
            path: path.to_owned(),
            content: content.to_vec(),
            mode,
            vital,
        };
        let mut steps = vec![
            Step::RemoveSymlink("/etc/ssh"),
            Step::RemoveSymlink("/etc/dropbear"),
            write("/etc/hosts", HOSTS.as_bytes(), 0o644, false),
            write("/etc/ssh/ssh_host_ecdsa_key", &keys.host_private, 0o600, false),
            write("/etc/ssh/ssh_host_ecdsa_key.pub", &keys.host_public, 0o644, false),
            match &keys.host_dropbear {
                Ok(key) => write("/etc/dropbear/dropbear_ecdsa_host_key", key, 0o600, false),
                Err(problem) => Step::Warn(format!("no host key for dropbear: {problem}")),
            },
            Step::AppendLine {
                path: "/root/.ssh/authorized_keys",
                line: keys.identity_public.trim_ascii().to_vec(),
            },
            Step::SetAside("/etc/resolv.conf", "resolv.conf.saved"),
            write(
                "/etc/resolv.conf",
                format!("\ndomain walt\nsearch walt.\nnameserver {}\n", self.server_ip).as_bytes(),
                0o644,
                false,
            ),
            Step::RemoveFile("/etc/hostname"),
            Step::RelativeLinks("/boot"),
            Step::RemoveFile("/usr/local/bin/walt-echo"),
        ];
        for file in FILES {
            let (content, problems) = if file.templated {
                percent::fill(file.content, &values)
            } else {
                (file.content.to_vec(), Vec::new())
            };
            steps.push(write(file.path, &content, file.mode, true));
            steps.extend(problems.into_iter().map(|p| Step::Warn(format!("{}: {p}", file.path))));
        }
        steps.push(Step::FillTemplates(values));
        steps.push(Step::EnableFeatures(self.features.clone()));
        let features: Vec<String> = self.features.iter().map(|name| format!("{name:?}")).collect();
        let spec = format!("features: [ {} ]\n", features.join(", "));
        steps.push(write("/etc/walt/server.spec", spec.as_bytes(), 0o644, false));
        steps.push(Step::PtpConfiguration);
        steps.extend(self.timezone.clone().map(Step::TimeZone));
        steps
    }
}

const HOSTS: &str = "\
127.0.0.1   localhost
::1         localhost ip6-localhost ip6-loopback
ff02::1     ip6-allnodes
ff02::2     ip6-allrouters
";

/// Zone of this machine by its `/etc/localtime`, e.g. `Europe/Paris`.
fn local_timezone() -> Option<String> {
    let target = std::fs::read_link("/etc/localtime").ok()?;
    let (_, zone) = target.to_str()?.split_once("zoneinfo/")?;
    Some(zone.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn the_plan_is_complete_and_its_digest_stable() {
        let state = tempfile::tempdir().unwrap();
        let keys = PlatformKeys::open(state.path()).await.unwrap();
        let layer = WaltLayer::new(Ipv4Addr::new(192, 168, 152, 1), "52:54:00:00:00:01");
        let image: ImageId = "ab".repeat(32).parse().unwrap();
        let plan = layer.plan(&keys, &image, 1234);
        let wrote = |wanted: &str| {
            plan.iter().find_map(|step| match step {
                Step::Write { path, content, mode, .. } if path == wanted => {
                    Some((String::from_utf8_lossy(content).into_owned(), *mode))
                }
                _ => None,
            })
        };
        let (resolv, _) = wrote("/etc/resolv.conf").unwrap();
        assert_eq!(resolv, "\ndomain walt\nsearch walt.\nnameserver 192.168.152.1\n");
        assert_eq!(wrote("/etc/ssh/ssh_host_ecdsa_key").unwrap().1, 0o600);
        assert_eq!(wrote("/etc/walt/server.spec").unwrap().0, "features: [ \"ptp\" ]\n");
        for file in FILES {
            let (content, mode) = wrote(file.path).unwrap();
            assert_eq!(mode, file.mode, "{}", file.path);
            assert!(!file.templated || !content.contains("%("), "{}", file.path);
        }
        assert!(!plan.iter().any(|step| matches!(step, Step::Warn(_))), "{plan:?}");

        assert_eq!(layer.digest(&keys), layer.clone().digest(&keys));
        let other = WaltLayer { server_ip: Ipv4Addr::new(192, 168, 152, 2), ..layer.clone() };
        assert_ne!(layer.digest(&keys), other.digest(&keys));
    }
}
