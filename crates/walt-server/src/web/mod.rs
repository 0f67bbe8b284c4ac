//! What is asked over HTTP beside boot files: the web API, the metrics, and values of VPN nodes.
//!
//! Served where `web.listen` of `server.conf` says. At port 80 of walt-net, where any node can ask, only the
//! values of VPN nodes are, unless `web.walt-net` is true.

mod images;
mod logs;
pub mod metrics;
mod nodes;
mod query;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use walt_netboot::http::{Fallback, HttpBody, bytes_response, error_response, only_reading};

use crate::platform::Platform;

/// Where Raspberry Pi 5 images ask, at each boot, how they could boot from outside of walt-net.
const VPN_NODE: &str = "/walt-vpn/node-conf/";

/// Why a request is refused.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    /// The request is wrong.
    fn bad(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into() }
    }

    /// The server failed.
    fn failed(error: &impl std::fmt::Display) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, message: format!("{error}") }
    }
}

/// Answers everything that is not below `/boot/`. Without `api`, only values of VPN nodes.
pub fn routes(platform: Arc<Platform>, api: bool) -> Fallback {
    Arc::new(move |request, peer| {
        let platform = platform.clone();
        Box::pin(async move { answer(&platform, api, &request, peer).await })
    })
}

async fn answer(
    platform: &Arc<Platform>,
    api: bool,
    request: &Request<Incoming>,
    peer: SocketAddr,
) -> Response<HttpBody> {
    let path = request.uri().path();
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return only_reading(request.headers());
    }
    if let Some(value) = vpn_value(path) {
        return bytes_response(StatusCode::OK, "text/plain; charset=utf-8", value);
    }
    let refused =
        |refusal: Refusal| error_response(request.headers(), refusal.status, &refusal.message);
    let Some(page) = Page::at(path) else {
        tracing::debug!(%peer, path, "HTTP: no such page");
        return refused(Refusal {
            status: StatusCode::NOT_FOUND,
            message: "No such page.".to_owned(),
        });
    };
    if !api {
        return refused(Refusal {
            status: StatusCode::FORBIDDEN,
            message: "The administrator of this platform does not offer this to nodes \
                      (web.walt-net in server.conf)."
                .to_owned(),
        });
    }
    platform.counters.web_requests.fetch_add(1, Ordering::Relaxed);
    let query = request.uri().query().unwrap_or_default();
    let answered = match page {
        Page::Welcome => Ok(html(WELCOME)),
        Page::Api => Ok(html(API)),
        Page::Nodes => nodes::answer(platform, query),
        Page::Images => images::answer(platform, query).await,
        Page::Logs => logs::answer(platform, query).await,
        Page::Metrics => metrics::answer(platform).await,
    };
    answered.unwrap_or_else(refused)
}

/// The pages.
#[derive(Clone, Copy)]
enum Page {
    Welcome,
    Api,
    Nodes,
    Images,
    Logs,
    Metrics,
}

impl Page {
    fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/" | "/index.html" => Self::Welcome,
            "/api" | "/api/" | "/api/index.html" => Self::Api,
            "/api/v1/nodes" => Self::Nodes,
            "/api/v1/images" => Self::Images,
            "/api/v1/logs" => Self::Logs,
            "/metrics" => Self::Metrics,
            _ => return None,
        })
    }
}

const WELCOME: &str = "<!DOCTYPE html>\n<html><head><title>WalT</title></head><body>\n\
    <h1>WalT server HTTP service</h1>\n<ul>\n\
    <li><a href=\"/api\">/api</a>: nodes, images and logs, for programs</li>\n\
    <li><a href=\"/metrics\">/metrics</a>: figures of this server, for Prometheus</li>\n\
    <li>/boot: boot files of nodes, on the platform network only</li>\n\
    </ul>\n</body></html>\n";

const API: &str = "<!DOCTYPE html>\n<html><head><title>WalT web API</title></head><body>\n\
    <h1>WalT web API</h1>\n<ul>\n\
    <li><a href=\"/api/v1/nodes\">/api/v1/nodes</a></li>\n\
    <li><a href=\"/api/v1/images\">/api/v1/images</a></li>\n\
    <li>/api/v1/logs?from=...&amp;to=...</li>\n\
    </ul>\n<p>Their parameters and answers: <code>walt help show web-api</code>.</p>\n</body></html>\n";

fn html(page: &'static str) -> Response<HttpBody> {
    bytes_response(StatusCode::OK, "text/html; charset=utf-8", page)
}

/// A JSON answer.
fn json(body: impl Into<Bytes>) -> Response<HttpBody> {
    fresh(bytes_response(StatusCode::OK, "application/json", body))
}

/// Says that the answer is not to be kept.
fn fresh(mut response: Response<HttpBody>) -> Response<HttpBody> {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A value of the configuration of the caller as a VPN node. Empty means that there is none: the image
/// then leaves its EEPROM alone.
fn vpn_value(path: &str) -> Option<&'static str> {
    let name = path.strip_prefix(VPN_NODE)?;
    let known = [
        "vpn-mac",
        "ssh-entrypoint",
        "http-entrypoint",
        "boot-mode",
        "http-path",
        "ssh-pubkey-cert",
        "ssh-entrypoint-host-keys",
        "public.pem",
    ];
    known.contains(&name).then_some("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_vpn_every_value_is_empty() {
        for name in ["vpn-mac", "boot-mode", "ssh-entrypoint", "public.pem"] {
            assert_eq!(vpn_value(&format!("/walt-vpn/node-conf/{name}")), Some(""));
        }
        for other in
            ["/walt-vpn/node-conf/", "/walt-vpn/node-conf/a/../vpn-mac", "/walt-vpn/enroll"]
        {
            assert_eq!(vpn_value(other), None);
        }
    }
}
