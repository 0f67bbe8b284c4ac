//! The connection to the server: HTTP calls, event streams and WebSocket sessions over its Unix socket.

pub mod stream;
mod transport;
pub mod websocket;

use crate::failure::Failure;
use crate::terminal::spinner::Spinner;
use serde::{Serialize, de::DeserializeOwned};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use stream::EventStream;
use ureq::http::{Method, Request, Response};
use ureq::{Agent, AsSendBody, Body, SendBody};
use walt_proto::api::{
    ApiError, DEFAULT_SOCKET, ErrorBody, ErrorKind, NDJSON, SERVER_VARIABLE, TAR,
};

/// One server. Cheap to make: nothing is opened before the first call.
pub struct Server {
    socket: PathBuf,
    agent: Agent,
}

impl Server {
    /// The server named by `WALT_SERVER`, else the one of this machine.
    ///
    /// # Errors
    /// When `WALT_SERVER` is not of the form `unix:/path`.
    pub fn from_environment() -> Result<Self, Failure> {
        let socket = match std::env::var(SERVER_VARIABLE) {
            Err(_) => PathBuf::from(DEFAULT_SOCKET),
            Ok(value) => socket_of(&value)?,
        };
        Ok(Self::at(socket))
    }

    /// The server behind a socket.
    pub fn at(socket: PathBuf) -> Self {
        Self { agent: transport::agent(&socket), socket }
    }

    /// `GET`.
    ///
    /// # Errors
    /// Those of the server, and those of the connection.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let _busy = Spinner::start();
        let answer = self.call(Method::GET, path, None, SendBody::none())?;
        read_json(answer)
    }

    /// `POST` with a JSON body.
    ///
    /// # Errors
    /// Those of the server, and those of the connection.
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let _busy = Spinner::start();
        let body = to_json(body)?;
        let answer = self.call(Method::POST, path, Some(JSON), body.as_slice())?;
        read_json(answer)
    }

    /// `DELETE`.
    ///
    /// # Errors
    /// Those of the server, and those of the connection.
    pub fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let _busy = Spinner::start();
        let answer = self.call(Method::DELETE, path, None, SendBody::none())?;
        read_json(answer)
    }

    /// `POST` with a JSON body, answered by a stream of events.
    ///
    /// # Errors
    /// Those of the server before the first event, and those of the connection.
    pub fn events(&self, path: &str, body: &impl Serialize) -> Result<EventStream, Failure> {
        let spinner = Spinner::start();
        let body = to_json(body)?;
        stream(self.call(Method::POST, path, Some(JSON), body.as_slice())?, spinner)
    }

    /// Sends a tar stream, answered by a stream of events once all is sent.
    ///
    /// # Errors
    /// Those of the server before the first event, those of the connection, those of reading `data`.
    pub fn upload_events(
        &self,
        method: Method,
        path: &str,
        data: &mut dyn Read,
        spinner: Spinner,
    ) -> Result<EventStream, Failure> {
        let mut data = data;
        let body = SendBody::from_reader(&mut data);
        stream(self.call(method, path, Some(TAR), body)?, spinner)
    }

    /// Sends a tar stream.
    ///
    /// # Errors
    /// Those of the server, those of the connection, those of reading `data`.
    pub fn upload(&self, path: &str, data: &mut dyn Read) -> Result<(), Failure> {
        let mut data = data;
        let body = SendBody::from_reader(&mut data);
        self.call(Method::PUT, path, Some(TAR), body)?;
        Ok(())
    }

    /// Receives a tar stream.
    ///
    /// # Errors
    /// Those of the server before the first byte, and those of the connection.
    pub fn download(&self, path: &str) -> Result<impl Read + use<>, Failure> {
        let answer = self.call(Method::GET, path, None, SendBody::none())?;
        Ok(answer.into_body().into_reader())
    }

    /// `POST` with a JSON body, answered by the bytes of a file.
    ///
    /// # Errors
    /// Those of the server before the first byte, and those of the connection.
    pub fn file<T: Serialize>(&self, path: &str, body: &T) -> Result<impl Read + use<T>, Failure> {
        let body = to_json(body)?;
        let answer = self.call(Method::POST, path, Some(JSON), body.as_slice())?;
        Ok(answer.into_body().into_reader())
    }

    /// `PUT` with the bytes of a file.
    ///
    /// # Errors
    /// Those of the server, those of the connection, those of reading `data`.
    pub fn send_file<T: DeserializeOwned>(
        &self,
        path: &str,
        data: &mut dyn Read,
    ) -> Result<T, Failure> {
        let mut data = data;
        let body = SendBody::from_reader(&mut data);
        let answer = self.call(Method::PUT, path, Some("application/octet-stream"), body)?;
        read_json(answer)
    }

    fn call(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: impl AsSendBody,
    ) -> Result<Response<Body>, Failure> {
        let mut request = Request::builder().method(method).uri(format!("{BASE}{path}"));
        if let Some(kind) = content_type {
            request = request.header("content-type", kind);
        }
        let request = request.body(body).map_err(|error| Failure::plain(error.to_string()))?;
        let answer = self.agent.run(request).map_err(|error| self.unreachable(&error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status().as_u16();
        let mut text = String::new();
        // What cannot be read of a refusal is replaced by the sentence below.
        let _ = answer.into_body().into_reader().take(MAX_REFUSAL).read_to_string(&mut text);
        Err(refusal(status, &text).into())
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        match error {
            ureq::Error::Io(error) => connection_failure(&self.socket, error),
            other => Failure::Connection(format!("{other} ({})", self.socket.display())),
        }
    }
}

/// The address is never resolved: the transport opens the socket whatever it is.
const BASE: &str = "http://127.0.0.1";

const JSON: &str = "application/json";

/// Longest refusal read, in bytes.
const MAX_REFUSAL: u64 = 1 << 20;

fn socket_of(value: &str) -> Result<PathBuf, Failure> {
    match value.strip_prefix("unix:") {
        Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
        _ => Err(Failure::plain(format!(
            "{SERVER_VARIABLE} is '{value}'; it should be of the form unix:/path/to/api.sock"
        ))),
    }
}

fn connection_failure(socket: &Path, error: &std::io::Error) -> Failure {
    use std::io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
    let socket = socket.display();
    Failure::Connection(match error.kind() {
        NotFound => format!(
            "There is no socket {socket}. Is walt-server running? \
             (tip: {SERVER_VARIABLE}=unix:<path> selects another server)"
        ),
        ConnectionRefused => format!("Nobody answers at {socket}: walt-server is not running."),
        PermissionDenied => format!(
            "You may not use {socket}. \
             (tip: its group is allowed to; ask your administrator to add you to it)"
        ),
        _ => format!("{error} ({socket})"),
    })
}

/// The error of an answer; one is made up when something else than our server answers.
pub(crate) fn refusal(status: u16, body: &str) -> ApiError {
    match serde_json::from_str::<ErrorBody>(body) {
        Ok(body) => body.error,
        Err(_) => {
            let kind = if status == 404 { ErrorKind::Unsupported } else { ErrorKind::Internal };
            let message = match status {
                404 => "This server does not know this operation; it is probably older than this client.".to_owned(),
                _ => format!("The server failed (HTTP status {status})."),
            };
            ApiError::new(kind, message)
        }
    }
}

fn stream(answer: Response<Body>, spinner: Spinner) -> Result<EventStream, Failure> {
    let kind = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
    if !kind.is_some_and(|kind| kind.starts_with(NDJSON)) {
        return Err(Failure::Connection("The server did not answer with events.".into()));
    }
    let reader = BufReader::new(answer.into_body().into_reader());
    Ok(EventStream::new(Box::new(reader), spinner))
}

fn to_json(body: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(body).map_err(|error| Failure::plain(error.to_string()))
}

fn read_json<T: DeserializeOwned>(answer: Response<Body>) -> Result<T, Failure> {
    serde_json::from_reader(BufReader::new(answer.into_body().into_reader())).map_err(|error| {
        Failure::Connection(format!("The server's answer was cut or not understood: {error}."))
    })
}

/// A query string: `?a=1&b=x%20y`; absent values are left out.
pub fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let mut out = String::new();
    for (key, value) in pairs {
        if let Some(value) = value {
            out.push(if out.is_empty() { '?' } else { '&' });
            out.push_str(&format!("{key}={}", walt_proto::api::route::encode(value)));
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn where_the_server_is() {
        assert_eq!(socket_of("unix:/x/y").unwrap(), PathBuf::from("/x/y"));
        for wrong in ["", "unix:", "/x/y", "tcp:1.2.3.4"] {
            assert!(socket_of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn queries() {
        assert_eq!(query(&[]), "");
        assert_eq!(query(&[("a", None), ("b", Some("x y")), ("c", Some("&"))]), "?b=x%20y&c=%26");
    }

    #[test]
    fn refusals_of_strangers() {
        assert_eq!(refusal(404, "<html>").kind, ErrorKind::Unsupported);
        let text = r#"{"error":{"kind":"conflict","message":"m"}}"#;
        assert_eq!(refusal(409, text), ApiError::new(ErrorKind::Conflict, "m"));
    }
}
