//! One operation on a registry: its requests, with what they need to be let in, tried again when that may help.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use reqwest::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::RemoteError;
use super::challenge::Challenge;
use super::credentials::Credentials;
use super::http::{self, Failure, Http};

/// Longest answer of a token service, in bytes.
const TOKEN_MAX: u64 = 64 << 10;

/// One operation on a registry. What lets it in lives as long as it.
#[derive(Debug)]
pub(super) struct Session<'a> {
    pub http: &'a Http,
    credentials: Option<&'a Credentials>,
    /// Rights to ask token services for; empty: those that the registry names.
    scopes: Vec<String>,
    /// The current `Authorization`, and its number: renewed once by those that were refused with the same one.
    pass: Mutex<(u64, Option<HeaderValue>)>,
    renewing: tokio::sync::Mutex<()>,
}

/// A request: made again for every try.
pub(super) struct Request<'r> {
    pub method: Method,
    pub url: Url,
    /// For messages: what is asked for.
    pub what: &'r str,
    pub headers: &'r [(&'static str, String)],
    /// Answers other than success that the caller wants to see.
    pub expected: &'r [StatusCode],
    /// Makes the body, for each try.
    pub body: Option<&'r (dyn Fn() -> Body + Send + Sync)>,
    /// Counts what was sent of the body, to tell whether it moves.
    pub sent: Option<&'r AtomicU64>,
    /// How often it may be made in all; the registry's limit when `None`.
    pub tries: Option<u32>,
}

impl<'r> Request<'r> {
    pub fn new(method: Method, url: Url, what: &'r str) -> Self {
        Self { method, url, what, headers: &[], expected: &[], body: None, sent: None, tries: None }
    }

    pub fn get(url: Url, what: &'r str) -> Self {
        Self::new(Method::GET, url, what)
    }
}

impl<'a> Session<'a> {
    pub fn new(http: &'a Http, credentials: Option<&'a Credentials>, scopes: Vec<String>) -> Self {
        Self {
            http,
            credentials: credentials.filter(|_| http.may_log_in),
            scopes,
            pass: Mutex::new((0, None)),
            renewing: tokio::sync::Mutex::new(()),
        }
    }

    fn user(&self) -> Option<&str> {
        self.credentials.map(Credentials::user)
    }

    /// Makes a request until it succeeds or no further try makes sense.
    pub async fn send(&self, request: &Request<'_>) -> Result<Response, RemoteError> {
        let most = request.tries.unwrap_or(u32::MAX);
        let mut tries = 1;
        let mut renewed = false;
        loop {
            let (number, pass) = self.pass();
            let mut builder = self.http.client.request(request.method.clone(), request.url.clone());
            for (name, value) in request.headers {
                builder = builder.header(*name, value);
            }
            if let Some(body) = request.body {
                builder = builder.body(body());
            }
            if let Some(pass) = pass.filter(|_| self.http.is_own(&request.url)) {
                builder = builder.header(AUTHORIZATION, pass);
            }
            let (error, wait) = match self.once(builder, request.sent).await {
                Ok(response)
                    if response.status().is_success()
                        || request.expected.contains(&response.status()) =>
                {
                    return Ok(response);
                }
                Ok(response)
                    if response.status() == StatusCode::UNAUTHORIZED
                        && !renewed
                        && self.http.is_own(&request.url) =>
                {
                    renewed = true;
                    self.renew(number, &response, request.what).await?;
                    continue;
                }
                Ok(response) => {
                    let status = response.status();
                    let asked = http::retry_after(response.headers());
                    let error = self.http.refusal(response, request.what, self.user()).await;
                    if !http::may_pass(status) {
                        return Err(error);
                    }
                    (error, self.http.wait_before_next(tries, asked))
                }
                Err(failure) => {
                    let wait = self.http.wait_before_next(tries, None);
                    (self.http.failed(&failure, request.what), wait.filter(|_| failure.may_pass()))
                }
            };
            let Some(wait) = wait.filter(|_| tries < most) else { return Err(error) };
            tracing::debug!(registry = self.http.label, %error, ?wait, "trying again");
            tokio::time::sleep(wait).await;
            tries += 1;
        }
    }

    /// One try: ends when nothing moves, of the body sent or of the answer.
    async fn once(
        &self,
        builder: RequestBuilder,
        sent: Option<&AtomicU64>,
    ) -> Result<Response, Failure> {
        let send = builder.send();
        tokio::pin!(send);
        let moved = || sent.map(|sent| sent.load(Ordering::Relaxed));
        loop {
            let before = moved();
            tokio::select! {
                result = &mut send => return result.map_err(Failure::Http),
                () = tokio::time::sleep(self.http.limits.stall) => {
                    if before == moved() {
                        return Err(Failure::Stalled);
                    }
                }
            }
        }
    }

    /// Asks for a JSON document.
    pub async fn json<T: DeserializeOwned>(&self, url: Url, what: &str) -> Result<T, RemoteError> {
        let response = self.send(&Request::get(url, what)).await?;
        let bytes = self.http.document(response, self.http.limits.document, what).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.http.answer(what, error.to_string()))
    }

    fn pass(&self) -> (u64, Option<HeaderValue>) {
        self.pass.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_pass(&self, value: HeaderValue) {
        let mut pass = self.pass.lock().unwrap_or_else(PoisonError::into_inner);
        *pass = (pass.0 + 1, Some(value));
    }

    /// After a 401 to a request made with pass `number`: gets a new one.
    async fn renew(&self, number: u64, response: &Response, what: &str) -> Result<(), RemoteError> {
        let headers = response.headers().get_all(WWW_AUTHENTICATE);
        let challenge = Challenge::from_headers(headers.iter().map(HeaderValue::as_bytes));
        let _one = self.renewing.lock().await;
        if self.pass().0 != number {
            return Ok(());
        }
        let registry = self.http.label.clone();
        if !self.http.may_log_in && challenge == Some(Challenge::Basic) {
            let problem = "it asks for a user name, but server.conf says 'auth: none'".to_owned();
            return Err(RemoteError::Configuration { registry, problem });
        }
        match challenge {
            None => Err(match self.user() {
                None if self.http.may_log_in => RemoteError::CredentialsNeeded { registry },
                _ => self.http.answer(what, "401 without a way to log in that is known here"),
            }),
            Some(Challenge::Basic) => {
                let Some(credentials) = self.credentials else {
                    return Err(RemoteError::CredentialsNeeded { registry });
                };
                if number > 0 {
                    return Err(self.refused(what));
                }
                self.set_pass(basic(credentials));
                Ok(())
            }
            Some(Challenge::Bearer { realm, service, scope }) => {
                let token = self.token(&realm, service, scope, what).await?;
                let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                    .map_err(|_| self.http.answer(what, "the token is not a word"))?;
                value.set_sensitive(true);
                self.set_pass(value);
                Ok(())
            }
        }
    }

    fn refused(&self, what: &str) -> RemoteError {
        RemoteError::Refused {
            registry: self.http.label.clone(),
            what: what.to_owned(),
            user: self.user().unwrap_or_default().to_owned(),
            detail: String::new(),
        }
    }

    /// Asks a token service (distribution project, "Token Authentication Specification").
    async fn token(
        &self,
        realm: &str,
        service: Option<String>,
        scope: Option<String>,
        what: &str,
    ) -> Result<String, RemoteError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            token: String,
            #[serde(default)]
            access_token: String,
        }
        let mut url = self.http.given_url(&self.http.base, realm, "its token service")?;
        if url.scheme() == "http" && url.host_str() != self.http.base.host_str() {
            return Err(self
                .http
                .answer("its token service", format!("refused address '{realm}'")));
        }
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = &service {
                query.append_pair("service", service);
            }
            let named = if self.scopes.is_empty() {
                scope.into_iter().collect()
            } else {
                self.scopes.clone()
            };
            for scope in &named {
                query.append_pair("scope", scope);
            }
        }
        let mut tries = 1;
        let response = loop {
            let mut builder = self.http.client.get(url.clone());
            if let Some(credentials) = self.credentials {
                builder = builder.header(AUTHORIZATION, basic(credentials));
            }
            let (error, asked) = match self.once(builder, None).await {
                Ok(response) if response.status().is_success() => break response,
                Ok(response) => {
                    let status = response.status();
                    let asked = http::retry_after(response.headers());
                    let error = self.http.refusal(response, what, self.user()).await;
                    if !http::may_pass(status) {
                        return Err(error);
                    }
                    (error, asked)
                }
                Err(failure) => (self.http.failed(&failure, "its token service"), None),
            };
            let Some(wait) = self.http.wait_before_next(tries, asked) else { return Err(error) };
            tokio::time::sleep(wait).await;
            tries += 1;
        };
        let bytes = self.http.document(response, TOKEN_MAX, "its token").await?;
        // What the parser says could show a part of the token.
        let answer: Answer = serde_json::from_slice(&bytes)
            .map_err(|_| self.http.answer("its token", "not the JSON of a token"))?;
        let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
        if token.is_empty() {
            return Err(self.http.answer("its token", "there is none in the answer"));
        }
        Ok(token)
    }
}

fn basic(credentials: &Credentials) -> HeaderValue {
    use base64::Engine;
    let mut plain = format!("{}:{}", credentials.user(), credentials.password()).into_bytes();
    let mut text = base64::engine::general_purpose::STANDARD.encode(&plain).into_bytes();
    text.splice(0..0, *b"Basic ");
    plain.fill(0);
    std::hint::black_box(&plain);
    // Base64 is made of characters that headers allow.
    let mut value = HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static(""));
    text.fill(0);
    std::hint::black_box(&text);
    value.set_sensitive(true);
    value
}
