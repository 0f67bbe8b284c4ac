//! One request to the collector.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response};
use serde_json::Value;
use walt_model::server_conf::Otlp;

/// Longest time for a batch.
const LIMIT: Duration = Duration::from_secs(30);
/// Longest answer read, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// What the collector said.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// It took the batch, all but some lines.
    Taken { refused: u64, why: String },
    /// It will never take this batch.
    Refused(String),
    /// It may take less at a time.
    TooLarge(String),
    /// Not now; perhaps with its wish for how long to wait.
    Later(String, Option<Duration>),
}

/// Where batches are sent.
pub(super) struct Collector {
    client: Client,
    url: String,
    authorization_file: Option<String>,
}

impl Collector {
    /// # Errors
    /// There is no TLS on this machine.
    pub(super) fn new(conf: &Otlp) -> Result<Self, String> {
        // Fails when another part of the program chose a provider before: then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent(concat!("walt-server/", env!("CARGO_PKG_VERSION")))
            .timeout(LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| reason(&error))?;
        let (url, authorization_file) = (conf.url.clone(), conf.authorization_file.clone());
        Ok(Self { client, url, authorization_file })
    }

    /// Sends a batch.
    pub(super) async fn send(&self, body: Bytes) -> Answer {
        let mut request =
            self.client.post(&self.url).header(CONTENT_TYPE, "application/json").body(body);
        if let Some(file) = &self.authorization_file {
            // Each time: tokens are renewed.
            match tokio::fs::read_to_string(file).await {
                Ok(text) => request = request.header(AUTHORIZATION, text.trim()),
                Err(error) => return Answer::Later(format!("{file}: {error}"), None),
            }
        }
        match request.send().await {
            Err(error) => Answer::Later(reason(&error), None),
            Ok(answer) => {
                let status = answer.status().as_u16();
                let wish = answer.headers().get(RETRY_AFTER);
                let wish = wish.and_then(|value| value.to_str().ok()?.parse().ok());
                judge(status, wish.map(Duration::from_secs), &beginning(answer).await)
            }
        }
    }
}

/// The beginning of the body of an answer.
async fn beginning(mut answer: Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(piece)) = answer.chunk().await {
        bytes.extend_from_slice(&piece);
        if bytes.len() > MAX_ANSWER {
            bytes.truncate(MAX_ANSWER);
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An error with its causes; the address, which may hold a secret, is left out.
fn reason(error: &reqwest::Error) -> String {
    let mut text = String::from("no answer");
    let mut cause = error.source();
    while let Some(why) = cause {
        text = format!("{text}: {why}");
        cause = why.source();
    }
    text
}

/// What an answer means (OTLP/HTTP response). What is refused for another reason than its content is tried again:
/// an address or a token can be corrected.
fn judge(status: u16, wish: Option<Duration>, text: &str) -> Answer {
    match status {
        200..=299 => {
            let answer: Value = serde_json::from_str(text).unwrap_or_default();
            let partial = &answer["partialSuccess"];
            let rejected = &partial["rejectedLogRecords"];
            // 64-bit integers are texts in the JSON of protobuf; some write numbers.
            let refused = rejected.as_u64().or_else(|| rejected.as_str()?.parse().ok());
            let why = partial["errorMessage"].as_str().unwrap_or("no reason given").to_owned();
            Answer::Taken { refused: refused.unwrap_or(0), why }
        }
        413 => Answer::TooLarge(format!("HTTP status {status}: {}", brief(text))),
        400 | 422 => Answer::Refused(format!("HTTP status {status}: {}", brief(text))),
        _ => Answer::Later(format!("HTTP status {status}: {}", brief(text)), wish),
    }
}

fn brief(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let taken = |refused| Answer::Taken { refused, why: "no reason given".to_owned() };
        assert_eq!(judge(200, None, "{}"), taken(0));
        assert_eq!(judge(200, None, ""), taken(0));
        assert_eq!(judge(200, None, r#"{"partialSuccess":{"rejectedLogRecords":"3"}}"#), taken(3));
        assert_eq!(judge(202, None, r#"{"partialSuccess":{"rejectedLogRecords":2}}"#), taken(2));
        assert!(matches!(judge(400, None, "bad"), Answer::Refused(why) if why.ends_with("bad")));
        let wish = Some(Duration::from_secs(3));
        for status in [401, 404, 429, 500, 503] {
            assert!(matches!(judge(status, wish, ""), Answer::Later(_, found) if found == wish));
        }
    }
}
