//! Lists of repositories and tags, page by page.

use std::collections::HashSet;

use reqwest::header::LINK;
use serde::Deserialize;

use super::RemoteError;
use super::reference::is_repository;
use super::session::{Request, Session};

/// Names asked for in one page.
const PAGE: u32 = 100;

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    repositories: Option<Vec<String>>,
    #[serde(default)]
    tags: Option<Vec<String>>,
}

/// All repositories (`prefix`: empty, or the repository of JFrog with a `/`).
pub(super) async fn repositories(
    session: &Session<'_>,
    prefix: &str,
) -> Result<Vec<String>, RemoteError> {
    let path = format!("v2/{prefix}_catalog?n={PAGE}");
    let names = pages(session, &path, "its catalogue", |page| page.repositories).await?;
    Ok(names
        .into_iter()
        .map(|name| format!("{prefix}{name}"))
        .filter(|name| is_repository(name))
        .collect())
}

/// All tags of a repository.
pub(super) async fn tags(
    session: &Session<'_>,
    repository: &str,
) -> Result<Vec<String>, RemoteError> {
    let path = format!("v2/{repository}/tags/list?n={PAGE}");
    pages(session, &path, &format!("the tags of {repository}"), |page| page.tags).await
}

async fn pages(
    session: &Session<'_>,
    path: &str,
    what: &str,
    names: impl Fn(Page) -> Option<Vec<String>>,
) -> Result<Vec<String>, RemoteError> {
    let http = session.http;
    let mut url = http.url(path)?;
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    loop {
        let response = session.send(&Request::get(url.clone(), what)).await?;
        let links = response.headers().get_all(LINK);
        let next = links.iter().filter_map(|link| link.to_str().ok()).find_map(next_page);
        let next = next.map(str::to_owned);
        let bytes = http.document(response, http.limits.document, what).await?;
        let page =
            serde_json::from_slice(&bytes).map_err(|error| http.answer(what, error.to_string()))?;
        let before = found.len();
        for name in names(page).unwrap_or_default() {
            if seen.insert(name.clone()) {
                found.push(name);
            }
        }
        if found.len() > http.limits.names {
            return Err(http.answer(what, format!("more than {} names", http.limits.names)));
        }
        let Some(next) = next else { return Ok(found) };
        if found.len() == before {
            // A further page without anything new: the registry turns in circles.
            return Err(http.answer(what, "pages that lead to each other"));
        }
        url = http.given_url(&url, &next, what)?;
        if !http.is_own(&url) {
            return Err(http.answer(what, "its next page is elsewhere"));
        }
    }
}

/// The address of `Link: <address>; rel="next"` (RFC 8288).
fn next_page(header: &str) -> Option<&str> {
    header.split(',').find_map(|link| {
        let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters
            .split(';')
            .map(str::trim)
            .any(|parameter| matches!(parameter, "rel=\"next\"" | "rel=next"));
        is_next.then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_pages() {
        assert_eq!(
            next_page("</v2/_catalog?last=b&n=2>; rel=\"next\""),
            Some("/v2/_catalog?last=b&n=2")
        );
        assert_eq!(next_page("<a>; rel=prev, <b>; title=x; rel=next"), Some("b"));
        assert_eq!(next_page("<a>; rel=\"last\""), None);
        assert_eq!(next_page("nonsense"), None);
    }
}
