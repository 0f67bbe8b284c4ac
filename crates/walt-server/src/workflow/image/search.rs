//! Looking for images everywhere at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use walt_images::registry::{Reference, Remote, RemoteError, Use, Wanted};
use walt_model::server_conf::RegistryApi;
use walt_model::{ImageFullName, UserName};
use walt_proto::api::image::registry::{Accounts, FoundImage, Place};

use super::elsewhere::{Known, MoveError, Source, account_or, credentials, models, needs_newer};
use crate::platform::Platform;
use crate::remotes::{DOCKER, WALT};
use crate::workflow::WorkflowError;

/// What is looked for, by whom.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    /// Who asks: the own images are not shown.
    pub user: &'a UserName,
    /// Text the link must hold.
    pub keyword: Option<&'a str>,
    /// Accounts to use.
    pub accounts: &'a Accounts,
    /// Registries to leave out.
    pub without: &'a [String],
}

/// What a search tells.
#[derive(Debug)]
pub enum Finding {
    /// An image.
    Image(FoundImage),
    /// A place that is left out, and why: a sentence.
    LeftOut(String),
}

/// Looks everywhere, all places at once. Places that fail are told and left out.
///
/// # Errors
/// A registry that is not to be left out needs an account, or refused the one given; the store does not work.
pub async fn search(
    platform: &Platform,
    query: &Query<'_>,
    tell: &(dyn Fn(Finding) + Send + Sync),
) -> Result<(), WorkflowError> {
    let remotes = wanted(platform.remotes.searched(), query.without);
    for remote in &remotes {
        credentials(remote, Use::Search, query.accounts)?;
    }
    let (here, docker, mut there) = (
        here(platform, query, tell),
        docker(platform, query, tell),
        remotes
            .into_iter()
            .map(|remote| there(remote, query, tell))
            .collect::<FuturesUnordered<_>>(),
    );
    let there = async {
        // The first account that is missing ends the search.
        while let Some(result) = there.next().await {
            result?;
        }
        Ok::<_, WorkflowError>(())
    };
    let ((), here, there) = tokio::join!(docker, here, there);
    here.and(there)
}

fn wanted<'a>(remotes: &'a [Remote], without: &[String]) -> Vec<&'a Remote> {
    let left_out = |remote: &&Remote| !without.iter().any(|label| label == remote.label());
    remotes.iter().filter(left_out).collect()
}

async fn here(
    platform: &Platform,
    query: &Query<'_>,
    tell: &(dyn Fn(Finding) + Send + Sync),
) -> Result<(), WorkflowError> {
    let store = platform.images.catalogue().current().await?;
    for entry in store.values().filter(|entry| *query.user != entry.owner.as_str()) {
        let found = described(WALT, Place::Walt, &entry.owner, entry.user_name(), &entry.labels);
        found.filter(|found| fits(found, query)).map(Finding::Image).into_iter().for_each(tell);
    }
    Ok(())
}

async fn docker(platform: &Platform, query: &Query<'_>, tell: &(dyn Fn(Finding) + Send + Sync)) {
    let Some(daemon) = platform.remotes.docker() else { return };
    match daemon.search().await {
        Ok(images) => {
            for image in images {
                let found = of_reference(DOCKER, Place::DockerDaemon, &image.image, &image.labels);
                found
                    .filter(|found| fits(found, query))
                    .map(Finding::Image)
                    .into_iter()
                    .for_each(tell);
            }
        }
        Err(error) => tell(Finding::LeftOut(left_out("The docker daemon", &error))),
    }
}

async fn there(
    remote: &Remote,
    query: &Query<'_>,
    tell: &(dyn Fn(Finding) + Send + Sync),
) -> Result<(), WorkflowError> {
    let place = match remote.conf().api {
        RegistryApi::DockerHub => Place::DockerHub,
        _ => Place::Registry,
    };
    let label = remote.label();
    let credentials = credentials(remote, Use::Search, query.accounts)?;
    let unreadable = AtomicUsize::new(0);
    let found = |result: Result<walt_images::registry::FoundImage, RemoteError>| match result {
        Ok(image) => {
            let found = of_reference(label, place, &image.image, &image.labels);
            found.filter(|found| fits(found, query)).map(Finding::Image).into_iter().for_each(tell);
        }
        Err(error) => {
            tracing::info!(registry = label, "an image could not be looked at: {error}");
            unreadable.fetch_add(1, Ordering::Relaxed);
        }
    };
    let searched = remote.search(credentials.as_ref(), &found).await;
    match unreadable.into_inner() {
        0 => {}
        1 => {
            tell(Finding::LeftOut(format!("1 image of registry '{label}' could not be looked at.")))
        }
        n => tell(Finding::LeftOut(format!(
            "{n} images of registry '{label}' could not be looked at."
        ))),
    }
    match searched {
        Ok(()) => Ok(()),
        Err(error) if error.wants_credentials() => {
            Err(account_or(error, label, credentials.is_some()).into())
        }
        Err(error) => {
            tell(Finding::LeftOut(left_out(&format!("Registry '{label}'"), &error)));
            Ok(())
        }
    }
}

fn left_out(what: &str, error: &RemoteError) -> String {
    format!("{what} is left out of this search: {error}.")
}

fn of_reference(
    location: &str,
    place: Place,
    image: &Reference,
    labels: &BTreeMap<String, String>,
) -> Option<FoundImage> {
    let name = image.to_string();
    let (owner, name) = name.split_once('/')?;
    described(location, place, owner, name.strip_suffix(":latest").unwrap_or(name), labels)
}

/// An image users can read about and clone: its name can stand in a link, its labels say what it boots.
fn described(
    location: &str,
    place: Place,
    owner: &str,
    name: &str,
    labels: &BTreeMap<String, String>,
) -> Option<FoundImage> {
    format!("{owner}/{name}").parse::<ImageFullName>().ok()?;
    Some(FoundImage {
        owner: owner.to_owned(),
        name: name.to_owned(),
        place,
        location: location.to_owned(),
        models: models(labels)?,
        clone_link: format!("{location}:{owner}/{name}"),
        needs_version: needs_newer(labels),
    })
}

fn fits(found: &FoundImage, query: &Query<'_>) -> bool {
    query.keyword.is_none_or(|keyword| found.clone_link.contains(keyword))
}

/// Looks for one image in all registries and docker, all at once: where it is and when it was made there. Places that
/// fail are told and left out.
///
/// # Errors
/// A registry that is not to be left out needs an account, or refused the one given.
pub async fn everywhere(
    platform: &Platform,
    image: &ImageFullName,
    wanted_by: &Wanted,
    accounts: &Accounts,
    without: &[String],
    tell: &(dyn Fn(String) + Send + Sync),
) -> Result<Vec<(Source, ImageFullName, Known)>, WorkflowError> {
    let registries = platform.remotes.registries();
    let remotes =
        wanted(registries, without).into_iter().cloned().map(Box::new).map(Source::Registry);
    let sources = remotes.chain(platform.remotes.docker().map(Box::new).map(Source::Docker));
    let places: Vec<(Source, ImageFullName)> =
        sources.map(|source| (source.clone(), source.name_of(image))).collect();
    let looked = join_all(places.iter().map(|(source, name)| async move {
        source.look(platform, name, wanted_by, accounts).await
    }))
    .await;
    let mut found = Vec::new();
    for ((source, name), result) in places.into_iter().zip(looked) {
        match result {
            Ok(known) => found.push((source, name, known)),
            Err(WorkflowError::Move(MoveError::NoSuchImage(_) | MoveError::NotWalt(_))) => {}
            Err(error @ WorkflowError::Move(MoveError::CredentialsNeeded { .. })) => {
                return Err(error);
            }
            Err(error) => tell(error.to_string()),
        }
    }
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_can_be_cloned() {
        let labels: BTreeMap<String, String> =
            [("walt.node.models".to_owned(), "b,a".to_owned())].into();
        let image: Reference = "bob/x:1.0".parse().unwrap();
        let found = of_reference("lab", Place::Registry, &image, &labels).unwrap();
        assert_eq!(found.clone_link, "lab:bob/x:1.0");
        assert_eq!(found.models, ["a", "b"]);
        assert!(found.clone_link.parse::<walt_model::CloneLink>().is_ok());
        let image: Reference = "bob/x".parse().unwrap();
        let found = of_reference("lab", Place::Registry, &image, &labels).unwrap();
        assert_eq!(found.clone_link, "lab:bob/x");
        for name in ["alone", "a/b/c"] {
            let image: Reference = name.parse().unwrap();
            assert!(of_reference("lab", Place::Registry, &image, &labels).is_none(), "{name}");
        }
        assert!(
            of_reference("lab", Place::Registry, &"bob/x".parse().unwrap(), &BTreeMap::new())
                .is_none()
        );
    }
}
