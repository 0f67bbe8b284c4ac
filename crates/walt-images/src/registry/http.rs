//! The HTTP client of one registry: who is reached, how, and what is tried again.

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Certificate, Client, Response, StatusCode, Url, redirect};
use walt_model::server_conf::{Registry, RegistryApi, RegistryAuth, RegistryProtocol};

use super::RemoteError;
use super::settings::{Limits, Settings};

/// Most redirections of one request.
const REDIRECTIONS: usize = 5;
/// Longest part of a registry's own words shown to people, in characters.
const WORDS: usize = 200;
/// Most bytes of an error's body read.
const ERROR_BODY: u64 = 16 << 10;

/// The HTTP client of one registry.
#[derive(Debug, Clone)]
pub(super) struct Http {
    pub client: Client,
    /// Where the registry is; its path ends with `/`.
    pub base: Url,
    /// The registry's label.
    pub label: String,
    /// Whether credentials are ever sent.
    pub may_log_in: bool,
    pub limits: Limits,
}

impl Http {
    /// The client for a registry of `server.conf`.
    pub fn new(conf: &Registry, settings: &Settings) -> Result<Self, RemoteError> {
        let problem =
            |problem: String| RemoteError::Configuration { registry: conf.label.clone(), problem };
        let address = match (conf.api, conf.protocol) {
            (RegistryApi::DockerHub, _) => settings.hub.registry.clone(),
            (_, RegistryProtocol::Http) => format!("http://{}:{}", conf.host, conf.port),
            (_, RegistryProtocol::Https | RegistryProtocol::HttpsNoVerify) => {
                format!("https://{}:{}", conf.host, conf.port)
            }
        };
        let base = Url::parse(&format!("{address}/"))
            .map_err(|error| problem(format!("{address} is no address: {error}")))?;
        let mut builder = Client::builder()
            .user_agent(concat!("walt-server/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.limits.connect)
            .pool_max_idle_per_host(settings.limits.parallel + 1)
            .referer(false)
            .redirect(redirections());
        if !settings.proxies || is_loopback(&base) {
            builder = builder.no_proxy();
        }
        if conf.protocol == RegistryProtocol::HttpsNoVerify {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        builder = builder.tls_certs_merge(authorities(&base, &settings.certificates));
        // Fails when another part of the program chose a provider before: then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = builder.build().map_err(|error| problem(reason(&error)))?;
        Ok(Self {
            client,
            base,
            label: conf.label.clone(),
            may_log_in: conf.auth == RegistryAuth::Basic,
            limits: settings.limits.clone(),
        })
    }

    /// An address of the registry: `path` without its first `/`.
    pub fn url(&self, path: &str) -> Result<Url, RemoteError> {
        self.base.join(path).map_err(|error| self.answer(path, format!("bad address: {error}")))
    }

    /// An address the registry gave, which must not leave it for clear text.
    pub fn given_url(&self, from: &Url, given: &str, what: &str) -> Result<Url, RemoteError> {
        let url = from
            .join(given)
            .map_err(|error| self.answer(what, format!("bad address '{given}': {error}")))?;
        let clear = url.scheme() == "http" && self.base.scheme() == "http";
        if !(url.scheme() == "https" || clear) || !url.username().is_empty() {
            return Err(self.answer(what, format!("refused address '{given}'")));
        }
        Ok(url)
    }

    /// Whether an address is on the registry itself: only then credentials go with a request.
    pub fn is_own(&self, url: &Url) -> bool {
        (url.scheme(), url.host_str(), url.port_or_known_default())
            == (self.base.scheme(), self.base.host_str(), self.base.port_or_known_default())
    }

    pub fn answer(&self, what: &str, problem: impl Into<String>) -> RemoteError {
        RemoteError::Answer {
            registry: self.label.clone(),
            what: what.to_owned(),
            problem: problem.into(),
        }
    }

    /// What a failed request means, once it is not tried again.
    pub fn failed(&self, failure: &Failure, what: &str) -> RemoteError {
        let (registry, detail) = (self.label.clone(), failure.reason());
        match failure {
            Failure::Http(error) if error.is_connect() => {
                RemoteError::Unreachable { registry, detail }
            }
            _ => RemoteError::Cut { registry, what: what.to_owned(), detail },
        }
    }

    /// The next piece of an answer; `None` at its end.
    pub async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>, Failure> {
        match tokio::time::timeout(self.limits.stall, response.chunk()).await {
            Ok(result) => result.map_err(Failure::Http),
            Err(_) => Err(Failure::Stalled),
        }
    }

    /// Reads a whole answer of a bounded size.
    pub async fn document(
        &self,
        response: Response,
        limit: u64,
        what: &str,
    ) -> Result<Vec<u8>, RemoteError> {
        let too_large =
            || RemoteError::TooLarge { registry: self.label.clone(), what: what.to_owned(), limit };
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let mut response = response;
        let mut bytes = Vec::new();
        while let Some(chunk) =
            self.chunk(&mut response).await.map_err(|failure| self.failed(&failure, what))?
        {
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// What an answer other than success means.
    pub async fn refusal(&self, response: Response, what: &str, user: Option<&str>) -> RemoteError {
        let status = response.status();
        let registry = self.label.clone();
        match (status, user) {
            (StatusCode::NOT_FOUND, _) => {
                return RemoteError::NotFound { registry, what: what.to_owned() };
            }
            (StatusCode::TOO_MANY_REQUESTS, _) => {
                let wait = retry_after(response.headers());
                return RemoteError::TooManyRequests { registry, wait };
            }
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, None) if self.may_log_in => {
                return RemoteError::CredentialsNeeded { registry };
            }
            _ => {}
        }
        let detail = self.words_of(response).await;
        match (status, user) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(user)) => {
                RemoteError::Refused {
                    registry,
                    what: what.to_owned(),
                    user: user.to_owned(),
                    detail,
                }
            }
            _ => RemoteError::Fault {
                registry,
                what: what.to_owned(),
                status: status.to_string(),
                detail,
            },
        }
    }

    /// The messages of an error answer (distribution specification, "errors"), after `: `.
    async fn words_of(&self, mut response: Response) -> String {
        #[derive(serde::Deserialize)]
        struct Errors {
            errors: Vec<Message>,
        }
        #[derive(serde::Deserialize)]
        struct Message {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = self.chunk(&mut response).await {
            body.extend_from_slice(&chunk);
            if body.len() as u64 > ERROR_BODY {
                return String::new();
            }
        }
        let Ok(errors) = serde_json::from_slice::<Errors>(&body) else { return String::new() };
        let Some(first) = errors.errors.into_iter().next() else { return String::new() };
        let text = if first.message.is_empty() { first.code } else { first.message };
        let clean: String = text.chars().filter(|c| !c.is_control()).take(WORDS).collect();
        if clean.is_empty() { clean } else { format!(": {clean}") }
    }

    /// How long to wait before the try after `tries`; `None`: no further one.
    pub fn wait_before_next(&self, tries: u32, asked: Option<Duration>) -> Option<Duration> {
        if tries >= self.limits.tries {
            return None;
        }
        match asked {
            Some(asked) => (asked <= self.limits.longest_wait).then_some(asked),
            None => {
                let wait = self.limits.first_wait.saturating_mul(1 << (tries - 1).min(10));
                Some(wait.min(self.limits.longest_wait))
            }
        }
    }
}

/// Why there is no answer, or only a part of it.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection failed.
    Http(reqwest::Error),
    /// Nothing moved for too long.
    Stalled,
}

impl Failure {
    pub fn reason(&self) -> String {
        match self {
            Self::Http(error) => reason(error),
            Self::Stalled => "nothing moved for too long".to_owned(),
        }
    }

    /// Whether another try may help.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Http(error) => !error.is_redirect() && !error.is_builder(),
            Self::Stalled => true,
        }
    }
}

/// Whether a status may pass by itself.
pub(super) fn may_pass(status: StatusCode) -> bool {
    status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

/// The wait of `Retry-After`: seconds or a date (RFC 9110 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let seconds = date.as_second().saturating_sub(jiff::Timestamp::now().as_second());
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// Blobs are often elsewhere (a storage service); going on in clear text is refused. Credentials do not follow: reqwest drops
/// them when the host changes.
fn redirections() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        let was_safe = attempt.previous().iter().any(|url| url.scheme() == "https");
        if attempt.previous().len() > REDIRECTIONS {
            attempt.error("too many redirections")
        } else if was_safe && attempt.url().scheme() != "https" {
            attempt.error("redirected from https to clear text")
        } else {
            attempt.follow()
        }
    })
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Certificate authorities the administrator trusts for this registry; files that cannot be read are said in the journal.
fn authorities(base: &Url, directories: &[PathBuf]) -> Vec<Certificate> {
    let host = base.host_str().unwrap_or_default();
    let port = base.port_or_known_default().unwrap_or(443);
    let mut found = Vec::new();
    for directory in directories {
        for name in [format!("{host}:{port}"), host.to_owned()] {
            let Ok(entries) = std::fs::read_dir(directory.join(name)) else { continue };
            for path in entries.flatten().map(|entry| entry.path()) {
                if path.extension().is_none_or(|ending| ending != "crt") {
                    continue;
                }
                let read =
                    std::fs::read(&path).map_err(|error| error.to_string()).and_then(|pem| {
                        Certificate::from_pem_bundle(&pem).map_err(|error| error.to_string())
                    });
                match read {
                    Ok(certificates) => found.extend(certificates),
                    Err(error) => {
                        tracing::warn!(path = %path.display(), error, "certificate not used")
                    }
                }
            }
        }
    }
    found
}

/// The deepest reason of an error, which is what people can act on, without addresses.
pub(super) fn reason(error: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let text = if error.source().is_none() {
        if error.is_timeout() { "it took too long".to_owned() } else { "request failed".to_owned() }
    } else if error.is_timeout() {
        "it took too long".to_owned()
    } else {
        deepest.to_string()
    };
    text.chars().filter(|c| !c.is_control()).take(WORDS).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        [(RETRY_AFTER, value.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn waits() {
        assert_eq!(retry_after(&headers("7")), Some(Duration::from_secs(7)));
        let past = "Wed, 21 Oct 2015 07:28:00 GMT";
        assert_eq!(retry_after(&headers(past)), Some(Duration::ZERO));
        let future = retry_after(&headers("Wed, 21 Oct 2099 07:28:00 GMT")).unwrap();
        assert!(future > Duration::from_secs(365 * 24 * 3600), "{future:?}");
        assert_eq!(retry_after(&headers("soon")), None);
        let http = Http::new(&Registry::hub(), &Settings::default()).unwrap();
        assert_eq!(http.wait_before_next(1, None), Some(Duration::from_secs(1)));
        assert_eq!(http.wait_before_next(3, None), Some(Duration::from_secs(4)));
        assert_eq!(http.wait_before_next(5, None), None);
        assert_eq!(http.wait_before_next(1, Some(Duration::from_secs(3600))), None);
    }

    #[test]
    fn given_addresses() {
        let http = Http::new(&Registry::hub(), &Settings::default()).unwrap();
        let from = http.url("v2/a/b").unwrap();
        let given = http.given_url(&from, "/v2/_catalog?last=x", "x").unwrap();
        assert!(http.is_own(&given), "{given}");
        assert!(!http.is_own(&http.given_url(&from, "https://storage.example/x", "x").unwrap()));
        for bad in [
            "http://registry-1.docker.io/x",
            "file:///etc/passwd",
            "https://u@registry-1.docker.io/",
        ] {
            assert!(http.given_url(&from, bad, "x").is_err(), "{bad}");
        }
    }
}
