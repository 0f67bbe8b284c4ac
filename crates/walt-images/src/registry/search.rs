//! Finding WalT images: every image of a registry is looked at; on the hub, the catalogue each account keeps.

use futures_util::{StreamExt, stream};
use serde::Deserialize;

use super::architecture::Wanted;
use super::http::Http;
use super::inspect::{self, pull_scope};
use super::reference::{Reference, is_repository};
use super::session::Session;
use super::{Credentials, FoundImage, HubAddresses, OnFound, RemoteError, account, lists};

/// Images looked at together.
const TOGETHER: usize = 8;
/// Most pages of the hub's answers.
const PAGES: u32 = 100;

/// Looks at all images of a registry. `prefix`: see [`lists::repositories`].
pub(super) async fn everything(
    http: &Http,
    prefix: &str,
    credentials: Option<&Credentials>,
    found: OnFound<'_>,
) -> Result<(), RemoteError> {
    let session = Session::new(http, credentials, vec!["registry:catalog:*".to_owned()]);
    let names = lists::repositories(&session, prefix).await?;
    stream::iter(names)
        .for_each_concurrent(TOGETHER, |name| async move {
            if !name.ends_with(account::REPOSITORY_END) {
                repository(http, &name, credentials, found).await;
            }
        })
        .await;
    Ok(())
}

/// Looks at all images of a repository.
pub(super) async fn repository(
    http: &Http,
    name: &str,
    credentials: Option<&Credentials>,
    found: OnFound<'_>,
) {
    let session = Session::new(http, credentials, vec![pull_scope(name)]);
    let tags = match lists::tags(&session, name).await {
        // Deleted since, or with all its tags deleted.
        Err(RemoteError::NotFound { .. }) => return,
        Err(error) => return found(Err(error)),
        Ok(tags) => tags,
    };
    for tag in tags {
        let Ok(image) = Reference::tagged(name, &tag) else { continue };
        match inspect::resolve(&session, &image, &Wanted::any()).await {
            Ok(resolved) => {
                let found_image = FoundImage {
                    image,
                    labels: resolved.image.labels,
                    created: resolved.image.created,
                };
                if !found_image.models().is_empty() {
                    found(Ok(found_image));
                }
            }
            // Things that are no images (charts, signatures) live on registries too.
            Err(RemoteError::WrongArchitecture { .. } | RemoteError::NotFound { .. }) => {}
            Err(error) => found(Err(error)),
        }
    }
}

/// Looks at the catalogues of all accounts of the hub that keep one.
pub(super) async fn hub(
    http: &Http,
    hub: &HubAddresses,
    credentials: Option<&Credentials>,
    found: OnFound<'_>,
) -> Result<(), RemoteError> {
    #[derive(Deserialize)]
    struct Page {
        #[serde(default)]
        num_pages: u32,
        #[serde(default)]
        results: Vec<Account>,
    }
    #[derive(Deserialize)]
    struct Account {
        name: String,
    }
    let mut users = Vec::new();
    let at_hub = Http { base: base(http, &hub.index)?, ..http.clone() };
    // The search is anonymous: no credentials go to this other address.
    let session = Session::new(&at_hub, None, Vec::new());
    for number in 1..=PAGES {
        let path = format!("v1/search?q=walt_metadata&n=100&page={number}");
        let page: Page = session.json(at_hub.url(&path)?, "its search").await?;
        for account in page.results {
            if let Some(user) = account.name.strip_suffix(account::REPOSITORY_END)
                && is_repository(user)
                && !user.contains('/')
                && users.len() < http.limits.names
            {
                users.push(user.to_owned());
            }
        }
        if number >= page.num_pages {
            break;
        }
    }
    users.sort();
    users.dedup();
    stream::iter(users)
        .for_each_concurrent(TOGETHER, |user| async move {
            match account::read(http, &user, credentials).await {
                Ok(images) => images.into_iter().for_each(|image| found(Ok(image))),
                Err(error) => found(Err(error)),
            }
        })
        .await;
    Ok(())
}

/// The repositories of an account of the hub.
pub(super) async fn hub_repositories(
    http: &Http,
    hub: &HubAddresses,
    user: &str,
) -> Result<Vec<String>, RemoteError> {
    #[derive(Deserialize)]
    struct Page {
        next: Option<String>,
        #[serde(default)]
        results: Vec<Repository>,
    }
    #[derive(Deserialize)]
    struct Repository {
        name: String,
    }
    let at_hub = Http { base: base(http, &hub.accounts)?, ..http.clone() };
    let session = Session::new(&at_hub, None, Vec::new());
    let what = format!("the repositories of {user}");
    let mut url = at_hub.url(&format!("v2/repositories/{user}/?page_size=100"))?;
    let mut names = Vec::new();
    for _ in 0..PAGES {
        let page: Page = session.json(url.clone(), &what).await?;
        let paths =
            page.results.into_iter().map(|repository| format!("{user}/{}", repository.name));
        names.extend(paths.filter(|name| is_repository(name)));
        let Some(next) = page.next.filter(|next| !next.is_empty()) else { break };
        url = at_hub.given_url(&url, &next, &what)?;
    }
    Ok(names)
}

fn base(http: &Http, address: &str) -> Result<reqwest::Url, RemoteError> {
    reqwest::Url::parse(&format!("{address}/"))
        .map_err(|error| http.answer(address, error.to_string()))
}
