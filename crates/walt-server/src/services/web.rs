//! What nodes ask over HTTP beside boot files.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use walt_netboot::http::{Fallback, HttpBody, bytes_response, error_response};

/// Where Raspberry Pi 5 images ask, at each boot, how they could boot from outside of walt-net.
const VPN_NODE: &str = "/walt-vpn/node-conf/";

/// Answers everything that is not below `/boot/`.
pub fn routes() -> Fallback {
    Arc::new(|request, peer| Box::pin(async move { answer(&request, peer) }))
}

fn answer(request: &Request<Incoming>, peer: SocketAddr) -> Response<HttpBody> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match vpn_value(request.uri().path()) {
        Some(value) if reads => bytes_response(StatusCode::OK, "text/plain; charset=utf-8", value),
        _ => {
            tracing::debug!(%peer, path = request.uri().path(), "HTTP: no such page");
            error_response(request.headers(), StatusCode::NOT_FOUND, "No such page.")
        }
    }
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
