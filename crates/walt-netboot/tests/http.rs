//! HTTP boot, with curl.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;

use common::{Platform, Services, pattern, run, same_content, stdout, tool};
use walt_netboot::http::{Fallback, HttpConfig, HttpServer, bytes_response};
use walt_netboot::policy::{BootEvent, Via};

fn serve(platform: &Arc<Platform>, fallback: Option<Fallback>) -> (Services, u16) {
    let services = Services::new();
    let mut port = 0;
    services.start(
        || {
            let config = HttpConfig::new((Ipv4Addr::LOCALHOST, 0).into());
            let server = HttpServer::bind(config, platform.clone(), fallback).unwrap();
            port = server.local_addr().unwrap().port();
            server
        },
        HttpServer::run,
    );
    (services, port)
}

fn curl(port: u16, path: &str) -> Command {
    let mut curl = tool("curl", "curl");
    curl.args(["-sS", "--globoff", "--path-as-is", "--max-time", "20"]);
    curl.arg(format!("http://127.0.0.1:{port}{path}"));
    curl
}

#[test]
fn files_of_the_peer_and_of_another_node() {
    let platform = Platform::on_loopback();
    let (_services, port) = serve(&platform, None);
    let content = pattern(20_000_001);
    platform.put("kernel", &content);
    platform.put_for("127.0.0.77", "kernel", b"of another");
    let target = platform.root.path().join("received");
    run(curl(port, "/boot/kernel").arg("-o").arg(&target));
    same_content(&target, &content);
    assert_eq!(stdout(&run(&mut curl(port, "/boot/kernel?node_ip=127.0.0.77"))), "of another");
    platform.wait_for("the end", |event| {
        matches!(event, BootEvent::FileEnd { via: Via::Http, bytes: 20_000_001, path, .. } if path == "kernel")
    });
    let head = stdout(&run(curl(port, "/boot/kernel").arg("--head")));
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(head.to_lowercase().contains("content-length: 20000001"), "{head}");
    platform
        .wait_for("the size", |event| matches!(event, BootEvent::FileSized { via: Via::Http, .. }));
}

#[test]
fn names_with_spaces_and_parentheses() {
    let platform = Platform::on_loopback();
    let (_services, port) = serve(&platform, None);
    platform.put("QEMU/Standard PC (i440FX + PIIX, 1996)/boot-params.ipxe", b"#!ipxe");
    let path = "/boot/QEMU/Standard%20PC%20(i440FX%20+%20PIIX,%201996)/boot-params.ipxe";
    let output = run(curl(port, path).arg("-i"));
    let text = stdout(&output);
    assert!(text.ends_with("\r\n\r\n#!ipxe"), "{text}");
    assert!(text.to_lowercase().contains("content-length: 6\r\n"), "{text}");
}

#[test]
fn ranges() {
    let platform = Platform::on_loopback();
    let (_services, port) = serve(&platform, None);
    platform.put("initrd", b"0123456789");
    assert_eq!(stdout(&run(curl(port, "/boot/initrd").args(["-r", "2-4"]))), "234");
    assert_eq!(stdout(&run(curl(port, "/boot/initrd").args(["-r", "-3"]))), "789");
    let text = stdout(&run(curl(port, "/boot/initrd").args(["-i", "-r", "8-"])));
    assert!(text.starts_with("HTTP/1.1 206"), "{text}");
    assert!(text.to_lowercase().contains("content-range: bytes 8-9/10"), "{text}");
    let text = stdout(&run(curl(port, "/boot/initrd").args(["-i", "-r", "20-"])));
    assert!(text.starts_with("HTTP/1.1 416"), "{text}");
    // An interrupted download goes on.
    let target = platform.write("received", b"01234");
    run(curl(port, "/boot/initrd").args(["-C", "-", "-o"]).arg(&target));
    same_content(&target, b"0123456789");
}

#[test]
fn errors_in_the_form_the_client_prefers() {
    let platform = Platform::on_loopback();
    let (_services, port) = serve(&platform, None);
    platform.write("nodes/127.0.0.1/secret", b"not for nodes");
    let status =
        |path: &str| stdout(&run(curl(port, path).args(["-o", "/dev/null", "-w", "%{http_code}"])));
    for path in [
        "/boot/none",
        "/boot/",
        "/boot/../secret",
        "/boot/%2e%2e/secret",
        "/boot/..%2fsecret",
        "/boot/x%2f..%2f..%2fsecret",
        "/boot/..%2f..%2f..%2f..%2f..%2fetc/shadow",
        "/boot/%ff",
        "/boot/a%00",
        "/other",
    ] {
        assert_eq!(status(path), "404", "{path}");
    }
    assert_eq!(status("/boot/kernel?node_ip=nobody"), "400");
    assert_eq!(
        stdout(&run(curl(port, "/boot/none").args(["-H", "Prefer: errors=text-only"]))),
        "No such file.\n"
    );
    assert_eq!(
        stdout(&run(curl(port, "/boot/none").args(["-H", "Prefer: errors=json"]))),
        r#"{"error":"No such file.","status_code":404}"#
    );
    assert!(stdout(&run(&mut curl(port, "/boot/none"))).contains("<p>No such file.</p>"));
    let post = curl(port, "/boot/none")
        .args(["-d", "x", "-o", "/dev/null", "-w", "%{http_code}"])
        .output()
        .unwrap();
    assert_eq!(stdout(&post), "405");
}

#[test]
fn other_routes_go_to_the_caller() {
    let platform = Platform::on_loopback();
    let fallback: Fallback = Arc::new(|request, peer| {
        Box::pin(async move {
            let text = format!("{} for {}", request.uri().path(), peer.ip());
            bytes_response(hyper::StatusCode::OK, "text/plain", text)
        })
    });
    let (_services, port) = serve(&platform, Some(fallback));
    let path = "/walt-vpn/node-conf/boot-mode";
    assert_eq!(stdout(&run(&mut curl(port, path))), format!("{path} for 127.0.0.1"));
    // The generic script of iPXE clients is here too.
    assert!(stdout(&run(&mut curl(port, "/boot/walt.ipxe"))).starts_with("#!ipxe\n"));
}

#[test]
fn a_cut_download_is_noted_and_hurts_nobody() {
    let platform = Platform::on_loopback();
    let (_services, port) = serve(&platform, None);
    platform.put("kernel", &pattern(50_000_000));
    let cut = curl(port, "/boot/kernel")
        .args(["-o", "/dev/null", "--limit-rate", "1M", "-m", "1"])
        .output()
        .unwrap();
    assert_eq!(cut.status.code(), Some(28), "a time-out: {cut:?}");
    platform.wait_for("the cut", |event| {
        matches!(event, BootEvent::FileBroken { via: Via::Http, bytes, .. } if *bytes < 50_000_000)
    });
    platform.put("small", b"small");
    assert_eq!(stdout(&run(&mut curl(port, "/boot/small"))), "small");
}
