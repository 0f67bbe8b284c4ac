//! Images between places: other users of this server, the docker daemon of its machine, registries.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A password or token: never shown, not even by `{:?}`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the registry only.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// An account on a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Name of the account.
    pub username: String,
    /// Its password or token.
    pub password: Secret,
}

/// Accounts given with a request, by registry label. The server uses them for this request and keeps none.
pub type Accounts = BTreeMap<String, Account>;

/// Facts behind [`ErrorKind::CredentialsNeeded`](crate::api::ErrorKind::CredentialsNeeded): send the request again with
/// an account for this registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialsNeeded {
    /// Label of the registry.
    pub registry: String,
    /// The registry refused the account given; else none was given.
    #[serde(default)]
    pub refused: bool,
}

/// A registry of `server.conf`. [`route::REGISTRIES`](crate::api::route::REGISTRIES) answers an array of them, in the
/// order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryInfo {
    /// Its name in clone links.
    pub label: String,
    /// One line about it.
    pub description: String,
    /// `docker-hub`, `docker-registry-v2` or `jfrog-artifactory`.
    pub api: String,
    /// `host:port`; empty for the hub.
    #[serde(default)]
    pub address: String,
    /// Some operations need an account.
    pub needs_account: bool,
}

/// Body of [`route::IMAGES_SEARCH`](crate::api::route::IMAGES_SEARCH).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchImages {
    /// Only images whose clone link holds this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyword: Option<String>,
    /// Accounts to search with.
    #[serde(default)]
    pub accounts: Accounts,
    /// Labels of registries to leave out.
    #[serde(default)]
    pub without: Vec<String>,
}

/// An image found by a search.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundImage {
    /// Its owner there.
    pub owner: String,
    /// Its name there, with its tag unless that is `latest`.
    pub name: String,
    /// What kind of place it is in.
    pub place: Place,
    /// Word before the colon of the link: `walt`, `docker`, or the label of a registry.
    pub location: String,
    /// Node models it can boot, sorted.
    pub models: Vec<String>,
    /// What `walt image clone` accepts for it.
    pub clone_link: String,
    /// The version of WalT it needs, when this server is older: it cannot be cloned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs_version: Option<u32>,
}

/// Kinds of places images come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The working set of another user of this server.
    Walt,
    /// The docker daemon of the server's machine.
    DockerDaemon,
    /// The Docker Hub.
    DockerHub,
    /// Another registry.
    Registry,
    /// A place added after this client was made.
    #[serde(other)]
    Other,
}

/// Body of [`route::IMAGES_CLONE`](crate::api::route::IMAGES_CLONE).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneImage {
    /// `<location>:<owner>/<name>[:<tag>]`.
    pub link: String,
    /// Name in the working set; derived from the link when it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Replace an image that has this name.
    #[serde(default)]
    pub force: bool,
    /// Accounts to download with.
    #[serde(default)]
    pub accounts: Accounts,
}

/// Body of [`route::IMAGES_PUBLISH`](crate::api::route::IMAGES_PUBLISH).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishImage {
    /// Name in the working set of the caller.
    pub image: String,
    /// Label of the registry.
    pub registry: String,
    /// Accounts to send with.
    #[serde(default)]
    pub accounts: Accounts,
}

/// Body of [`route::IMAGES_UPDATE_DEFAULTS`](crate::api::route::IMAGES_UPDATE_DEFAULTS).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateDefaults {
    /// Accounts to search and download with.
    #[serde(default)]
    pub accounts: Accounts,
    /// Labels of registries to leave out.
    #[serde(default)]
    pub without: Vec<String>,
}

/// Body of [`route::IMAGES_UPDATE_HUB_META`](crate::api::route::IMAGES_UPDATE_HUB_META).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateHubMeta {
    /// The account `waltplatform` instead of the caller's own.
    #[serde(default)]
    pub platform: bool,
    /// Account on the hub.
    #[serde(default)]
    pub accounts: Accounts,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn passwords_travel_but_are_not_shown() {
        let account = Account { username: "me".into(), password: Secret::new("s3cret") };
        assert!(!format!("{account:?}").contains("s3cret"));
        let json = serde_json::to_string(&account).unwrap();
        assert_eq!(json, r#"{"username":"me","password":"s3cret"}"#);
        assert_eq!(serde_json::from_str::<Account>(&json).unwrap(), account);
    }
}
