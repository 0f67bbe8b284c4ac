//! Answers: small ones, and errors in the form the client prefers.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::sync::mpsc;

use super::HttpBody;

/// An answer of a few bytes.
pub fn bytes_response(
    status: StatusCode,
    content_type: &'static str,
    bytes: impl Into<Bytes>,
) -> Response<HttpBody> {
    let body = Full::new(bytes.into()).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A body sent piece by piece as they are given. The client is slowed down by, and slows down, whoever gives
/// them; when it goes away, giving fails. An error given ends the connection, so that the client knows that the
/// answer is not whole.
pub fn stream_body(pieces: mpsc::Receiver<io::Result<Bytes>>) -> HttpBody {
    Pieces(pieces).boxed()
}

struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// An error: a page of HTML, or what the request's `Prefer` header asks for: `errors=text-only`
/// (message and newline) or `errors=json` (`{"error": message, "status_code": code}`).
pub fn error_response(
    request: &HeaderMap,
    status: StatusCode,
    message: &str,
) -> Response<HttpBody> {
    match preferred(request) {
        Form::Text => bytes_response(status, "text/plain; charset=utf-8", format!("{message}\n")),
        Form::Json => {
            let json = format!(
                "{{\"error\":\"{}\",\"status_code\":{}}}",
                json_text(message),
                status.as_u16()
            );
            bytes_response(status, "application/json", json)
        }
        Form::Html => {
            let message = html_text(message);
            let page = format!(
                "<!DOCTYPE html>\n<html><head><title>Error: {status}</title></head>\n\
                 <body><h1>Error: {status}</h1><p>{message}</p></body></html>\n"
            );
            bytes_response(status, "text/html; charset=utf-8", page)
        }
    }
}

/// Error 405.
pub fn only_reading(request: &HeaderMap) -> Response<HttpBody> {
    let mut response = error_response(
        request,
        StatusCode::METHOD_NOT_ALLOWED,
        "Only GET and HEAD are possible here.",
    );
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

enum Form {
    Html,
    Text,
    Json,
}

fn preferred(request: &HeaderMap) -> Form {
    const PREFER: HeaderName = HeaderName::from_static("prefer");
    let wishes = request.get_all(PREFER);
    for wish in wishes
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']))
    {
        match wish.trim() {
            "errors=text-only" => return Form::Text,
            "errors=json" => return Form::Json,
            _ => {}
        }
    }
    Form::Html
}

fn html_text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The text between the quotes of a JSON string.
fn json_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            c if c.is_control() => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    async fn body(prefer: Option<&'static str>, message: &str) -> String {
        let mut headers = HeaderMap::new();
        if let Some(prefer) = prefer {
            headers.insert("prefer", HeaderValue::from_static(prefer));
        }
        let response = error_response(&headers, StatusCode::NOT_FOUND, message);
        assert_eq!(response.status(), 404);
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec())
            .unwrap()
    }

    #[tokio::test]
    async fn errors_as_the_client_prefers() {
        assert_eq!(body(Some("errors=text-only"), "No such file.").await, "No such file.\n");
        assert_eq!(
            body(Some("wait=1, errors=json"), "No \"such\" file.").await,
            r#"{"error":"No \"such\" file.","status_code":404}"#
        );
        let page = body(None, "<b>").await;
        assert!(page.contains("&lt;b&gt;") && page.contains("404 Not Found"), "{page}");
    }
}
