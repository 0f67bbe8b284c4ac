//! Section `registries`.

use super::read::{Group, Reader};
use super::tree::Value;
use super::{Registry, RegistryApi, RegistryAuth, RegistryProtocol};

const REGISTRY_KEYS: &[&str] =
    &["label", "api", "description", "host", "port", "protocol", "auth", "repository"];

impl Reader {
    pub(super) fn registries(&mut self, root: &Group<'_>) -> Vec<Registry> {
        let Some(node) = root.get("registries") else { return vec![Registry::hub()] };
        let list = match &node.value {
            Value::Null => return vec![Registry::hub()],
            Value::List(list) if !list.is_empty() => list,
            other => {
                let message =
                    format!("expected a list of at least one registry, found {}", other.describe());
                self.problem(node.referenced.line(), "registries", message);
                return Vec::new();
            }
        };
        let mut registries: Vec<Registry> = Vec::new();
        for (index, node) in list.iter().enumerate() {
            let path = format!("registries[{index}]");
            let Some(group) = self.group(&path, node) else { continue };
            let Some(registry) = self.registry(&group) else { continue };
            if registries.iter().any(|other| other.label == registry.label) {
                let message =
                    format!("'{}' is already the label of another registry", registry.label);
                self.problem(group.line, group.path_of("label"), message);
            }
            let same_place = |other: &&Registry| {
                registry.api != RegistryApi::DockerHub
                    && (&other.host, other.port) == (&registry.host, registry.port)
                    && !(other.repository.is_some()
                        && registry.repository.is_some()
                        && other.repository != registry.repository)
            };
            if let Some(other) = registries.iter().find(same_place) {
                let message = format!("is the same place as registry '{}'", other.label);
                self.problem(group.line, group.path_of("host"), message);
            }
            registries.push(registry);
        }
        registries
    }

    fn registry(&mut self, group: &Group<'_>) -> Option<Registry> {
        let before = self.problems.len();
        self.known_keys(group, REGISTRY_KEYS, "key");
        let apis = [
            ("docker-hub", RegistryApi::DockerHub),
            ("docker-registry-v2", RegistryApi::DockerRegistryV2),
            ("jfrog-artifactory", RegistryApi::JfrogArtifactory),
        ];
        let api = self.choice(group, "api", &apis, None)?;
        let is_hub = api == RegistryApi::DockerHub;
        let label = self.text(group, "label", is_hub.then_some("hub"))?;
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let reserved = matches!(label.as_str(), "walt" | "docker") || (label == "hub") != is_hub;
        if label.is_empty() || !label.bytes().all(legal) || reserved {
            let advice = if is_hub {
                "must be 'hub' for the Docker Hub"
            } else {
                "must be lower-case letters, digits and dashes, and not 'hub', 'walt' nor 'docker'"
            };
            self.problem(group.line, group.path_of("label"), advice);
        }
        let description = self.text(group, "description", Some(&label))?;
        if !(1..=35).contains(&description.chars().count()) {
            self.problem(group.line, group.path_of("description"), "must have 1 to 35 characters");
        }
        let hub = Registry::hub();
        let mut registry = Registry { label, api, description, ..hub };
        if !is_hub {
            registry.host = self.text(group, "host", None)?;
            if registry.host.is_empty()
                || !registry
                    .host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b))
            {
                self.problem(group.line, group.path_of("host"), "is not a host name");
            }
            registry.port = self.port(group)?;
            let protocols = [
                ("https", RegistryProtocol::Https),
                ("http", RegistryProtocol::Http),
                ("https-no-verify", RegistryProtocol::HttpsNoVerify),
            ];
            registry.protocol =
                self.choice(group, "protocol", &protocols, Some(RegistryProtocol::Https))?;
            let auths = [("basic", RegistryAuth::Basic), ("none", RegistryAuth::None)];
            registry.auth = self.choice(group, "auth", &auths, Some(RegistryAuth::Basic))?;
        }
        if api == RegistryApi::JfrogArtifactory {
            let repository = self.text(group, "repository", None)?;
            let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
            let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            let correct = repository.starts_with(edge) && repository.ends_with(edge);
            if !correct || !repository.bytes().all(legal) {
                let advice =
                    "must be lower-case letters and digits, with '.', '_', '-' between them";
                self.problem(group.line, group.path_of("repository"), advice);
            }
            registry.repository = Some(repository);
        }
        (self.problems.len() == before).then_some(registry)
    }

    fn port(&mut self, group: &Group<'_>) -> Option<u16> {
        let Some(node) = group.get("port") else { return Some(443) };
        match node.value {
            Value::Int(n @ 1..=65535) => u16::try_from(n).ok(),
            ref other => {
                let message =
                    format!("expected a port number from 1 to 65535, found {}", other.describe());
                self.problem(node.referenced.line(), group.path_of("port"), message);
                None
            }
        }
    }
}
