//! Registries that fail, lie or attack: each time a clear error, and nothing in the store.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use walt_images::registry::{
    Credentials, HubAddresses, Pulled, Reference, Remote, RemoteError, Settings,
};
use walt_model::server_conf::{Registry, RegistryAuth, RegistryProtocol};

use crate::server::*;
use crate::support::*;

fn image() -> Reference {
    "x/img".parse().unwrap()
}

/// Pulls with what the registry answers.
async fn pull_from(platform: &Platform, server: &Server) -> Result<Pulled, RemoteError> {
    let (work, resume) = (platform.work(), platform.path("resume"));
    let place = platform.place(&work, &resume);
    plain(server.port).pull(&image(), &amd64(), None, &place, &quiet).await
}

/// That a pull fails, leaves nothing in the store and no blob that would be believed next time.
async fn refused(
    platform: &Platform,
    handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
) -> RemoteError {
    let server = Server::new(handler).await;
    let before = Instant::now();
    let error = pull_from(platform, &server).await.unwrap_err();
    println!("{:?}: {error}", before.elapsed());
    assert_eq!(platform.images().await, "");
    if let Ok(entries) = std::fs::read_dir(platform.path("resume")) {
        let blob = |name: &std::ffi::OsString| name.to_string_lossy().ends_with(".blob");
        assert!(!entries.map(|entry| entry.unwrap().file_name()).any(|name| blob(&name)));
    }
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_content() {
    let platform = Platform::new().await;
    let made = Made::ordinary(300_000);
    let layer = made.layer.clone();

    let mut wrong = made.clone();
    wrong.blobs.get_mut(layer.as_str()).unwrap()[5000] ^= 1;
    let error = refused(&platform, move |asked| wrong.answer(asked)).await;
    let RemoteError::WrongDigest { expected, got, .. } = &error else { panic!("{error:?}") };
    assert!(*expected == layer && *got != layer);
    assert!(error.to_string().contains(layer.short()), "{error}");

    // A wrong beginning left by an earlier try is thrown away.
    let part = platform.path("resume").join(format!("{}.part", layer.hex()));
    std::fs::write(&part, [0; 1000]).unwrap();
    let good = made.clone();
    let server = Server::new(move |asked| good.answer(asked)).await;
    let pulled = pull_from(&platform, &server).await.unwrap();
    assert!(pulled.id.as_str().len() == 64 && !part.exists());
    platform.run(&["rmi", "-af"]).await;

    // A manifest that is not the one announced; a configuration that is not.
    let lie = made.clone();
    let error = refused(&platform, move |asked| {
        lie.answer(asked).with("docker-content-digest", &format!("sha256:{}", "0".repeat(64)))
    })
    .await;
    assert!(matches!(error, RemoteError::WrongDigest { .. }), "{error:?}");

    // Content that is not what the configuration says of it.
    let other = Made::ordinary(1000);
    let mut mixed: serde_json::Value = serde_json::from_slice(&made.manifest).unwrap();
    let others: serde_json::Value = serde_json::from_slice(&other.manifest).unwrap();
    mixed["layers"] = others["layers"].clone();
    let mut blobs = made.blobs.clone();
    blobs.extend(other.blobs.clone());
    let mixed = Made { manifest: mixed.to_string().into_bytes(), blobs, layer };
    let error = refused(&platform, move |asked| mixed.answer(asked)).await;
    assert!(error.to_string().contains("the content of layer"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cuts_and_ends() {
    let platform = Platform::new().await;
    let made = Made::ordinary(3 << 20);
    let layer = made.layer.to_string();

    // Cut in the middle of a blob, then resumed with Range.
    let (once, blob) = (made.clone(), layer.clone());
    let server = Server::new(move |asked| {
        let mut answer = once.answer(asked);
        if asked.path.ends_with(&blob) && asked.header("range").is_empty() {
            answer.cut = Some(2_000_000);
        }
        answer
    })
    .await;
    let pulled = pull_from(&platform, &server).await.unwrap();
    assert_eq!(pulled.downloaded, made.blobs[&layer].len() as u64, "{pulled:?}");
    let ranges: Vec<String> = {
        let asked = server.asked.lock().unwrap();
        asked
            .iter()
            .map(|asked| asked.header("range").to_owned())
            .filter(|r| !r.is_empty())
            .collect()
    };
    assert_eq!(ranges.len(), 1);
    let from: usize = ranges[0].trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
    assert!(from > 1_000_000 && from <= 2_000_000, "{ranges:?}");
    platform.run(&["rmi", "-af"]).await;

    // A registry that does not know Range: from the start again.
    let (plain_one, blob) = (made.clone(), layer.clone());
    let cuts = AtomicUsize::new(0);
    let server = Server::new(move |asked| {
        let mut asked = asked.clone();
        asked.headers.remove("range");
        let mut answer = plain_one.answer(&asked);
        if asked.path.ends_with(&blob) && cuts.fetch_add(1, Ordering::Relaxed) == 0 {
            answer.cut = Some(2_000_000);
        }
        answer
    })
    .await;
    pull_from(&platform, &server).await.unwrap();
    platform.run(&["rmi", "-af"]).await;

    // It cuts each time, after more than a little: that is no progress the second time.
    let (stuck, blob) = (made.clone(), layer.clone());
    let server = Server::new(move |asked| {
        let mut asked = asked.clone();
        asked.headers.remove("range");
        let mut answer = stuck.answer(&asked);
        if asked.path.ends_with(&blob) {
            answer.cut = Some(2_500_000);
        }
        answer
    })
    .await;
    let ended = tokio::time::timeout(Duration::from_secs(60), pull_from(&platform, &server)).await;
    let error = ended.expect("it tries without end").unwrap_err();
    assert!(matches!(error, RemoteError::Cut { .. }), "{error:?}");
    let downloads = || server.count(&format!("/v2/x/img/blobs/{layer}"));
    assert!((2..=4).contains(&downloads()), "{}", downloads());

    // It says that a range is wrong where none was asked for.
    let (odd, blob) = (made.clone(), layer.clone());
    let server = Server::new(move |asked| match asked.path.ends_with(&blob) {
        true => Answer::new(416, ""),
        false => odd.answer(asked),
    })
    .await;
    let ended = tokio::time::timeout(Duration::from_secs(60), pull_from(&platform, &server)).await;
    let error = ended.expect("it tries without end").unwrap_err();
    assert!(error.to_string().contains("416"), "{error}");

    // Always cut, without progress.
    let (cut, blob) = (made.clone(), layer.clone());
    let error = refused(&platform, move |asked| {
        let mut answer = cut.answer(asked);
        if asked.path.ends_with(&blob) {
            answer.cut = Some(0);
        }
        answer
    })
    .await;
    assert!(matches!(error, RemoteError::Cut { .. }), "{error:?}");
    assert!(error.to_string().contains("kept for the next try"), "{error}");

    // Without end: the blob, the manifest.
    for place in [format!("blobs/{layer}"), "/manifests/".to_owned()] {
        let endless = made.clone();
        let error = refused(&platform, move |asked| {
            let mut answer = endless.answer(asked);
            answer.endless = asked.path.contains(&place);
            answer
        })
        .await;
        assert!(matches!(error, RemoteError::TooLarge { .. }), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses() {
    let platform = Platform::new().await;
    let error = refused(&platform, |_| Answer::new(404, "{}")).await;
    assert_eq!(error.to_string(), "x/img:latest was not found on registry 'here'");
    let error = refused(&platform, |_| Answer::new(401, "")).await;
    assert!(error.to_string().contains("401"), "{error}");
    let message = r#"{"errors":[{"code":"X","message":"the disk is\u001b[31m full"}]}"#;
    let error = refused(&platform, move |_| Answer::new(500, message)).await;
    let text = error.to_string();
    assert!(matches!(error, RemoteError::Fault { .. }), "{error:?}");
    assert!(text.contains("500") && text.contains("the disk is[31m full"), "{text}");
    let error = refused(&platform, |_| Answer::new(429, "").with("retry-after", "3600")).await;
    let RemoteError::TooManyRequests { wait, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*wait, Some(Duration::from_secs(3600)));
    assert!(error.to_string().contains("3600 s"), "{error}");

    // A short wait, or a fault that passes, is waited for.
    let made = Made::ordinary(1000);
    let count = AtomicUsize::new(0);
    let server = Server::new(move |asked| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Answer::new(429, "").with("retry-after", "1"),
        1 | 3 => Answer::new(503, ""),
        _ => made.answer(asked),
    })
    .await;
    let before = Instant::now();
    pull_from(&platform, &server).await.unwrap();
    assert!(before.elapsed() >= Duration::from_secs(1));
    let gone = server.port;
    drop(server);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = plain(gone).inspect(&image(), &amd64(), None).await.unwrap_err();
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn documents() {
    let platform = Platform::new().await;
    let entry = |digest: &str, architecture: &str| {
        json!({ "mediaType": MANIFEST, "size": 100, "digest": digest,
            "platform": { "os": "linux", "architecture": architecture } })
    };
    let zero = format!("sha256:{}", "0".repeat(64));

    // A million images under one name.
    let entries = vec![entry(&zero, "amd64").to_string(); 1_000_000].join(",");
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{entries}]}}"#);
    let error = refused(&platform, move |_| Answer::new(200, index.clone())).await;
    assert!(matches!(error, RemoteError::TooLarge { .. }), "{error:?}");
    assert!(error.to_string().contains("too large"), "{error}");

    // An index that leads to an index (itself would need a digest nobody can make).
    let inner = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] }).to_string();
    let digest = walt_images::registry::Digest::of(inner.as_bytes());
    let outer = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry(digest.as_str(), "amd64")] });
    let outer = outer.to_string();
    let error = refused(&platform, move |asked| {
        let text = if asked.path.ends_with("latest") { &outer } else { &inner };
        Answer::new(200, text.clone()).with("content-type", INDEX)
    })
    .await;
    assert!(error.to_string().contains("an index inside an index"), "{error}");

    // Only for other processors: the index says it, or the configuration does.
    let only =
        json!({ "schemaVersion": 2, "manifests": [entry(&zero, "arm64"), entry(&zero, "s390x")] });
    let only = only.to_string();
    let error =
        refused(&platform, move |_| Answer::new(200, only.clone()).with("content-type", INDEX))
            .await;
    assert_eq!(error.to_string(), "'x/img:latest' is not there for amd64, only for arm64, s390x");

    // For several: the one that is wanted comes, whatever its place.
    let (fits, other) = (Made::ordinary(20_000), Made::ordinary(10_000));
    let digest = |made: &Made| walt_images::registry::Digest::of(&made.manifest).to_string();
    let several = json!({ "schemaVersion": 2, "manifests": [
        entry(&digest(&other), "arm64"), entry(&digest(&fits), "amd64"), entry(&zero, "s390x")] });
    let (several, place, layer) = (several.to_string(), digest(&fits), fits.layer.clone());
    let server = Server::new(move |asked| match asked.path.rsplit('/').next() {
        Some("latest") => Answer::new(200, several.clone()).with("content-type", INDEX),
        Some(name) if asked.path.contains("/manifests/") && name != place => Answer::new(404, ""),
        _ => fits.answer(asked),
    })
    .await;
    let pulled = pull_from(&platform, &server).await.unwrap();
    assert_eq!(server.count(&format!("/v2/x/img/blobs/{layer}")), 1);
    let args = ["image", "inspect", "--format", "{{.Architecture}} {{.Id}}", TAG];
    assert_eq!(platform.run(&args).await, format!("amd64 {}", pulled.id));
    platform.run(&["rmi", "-af"]).await;

    let error = refused(&platform, |_| Answer::new(200, "<html>")).await;
    assert!(matches!(error, RemoteError::Answer { .. }), "{error:?}");
    let unlabelled = Made::of(&[0; 1024], json!(null));
    let error = refused(&platform, move |asked| unlabelled.answer(asked)).await;
    assert!(matches!(error, RemoteError::NotWalt { .. }), "{error:?}");

    // Pages that lead to each other; redirections that do.
    let server = Server::new(|_| {
        Answer::new(200, r#"{"repositories":["a/b"]}"#)
            .with("link", "</v2/_catalog?n=1>; rel=\"next\"")
    })
    .await;
    let error = plain(server.port).catalogue(None).await.unwrap_err();
    assert!(error.to_string().contains("lead to each other"), "{error}");
    let server = Server::new(|asked| Answer::new(307, "").with("location", &asked.path)).await;
    assert!(plain(server.port).catalogue(None).await.is_err());
    assert!(server.count("/") < 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn archives() {
    let platform = Platform::new().await;
    for (name, words) in
        [(&b"../../etc/cron.d/x"[..], "leaves the image"), (b"/etc/cron.d/x", "absolute")]
    {
        let made = Made::with_entry(name);
        let error = refused(&platform, move |asked| made.answer(asked)).await;
        assert!(matches!(error, RemoteError::HostileLayer { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
    // Other headers than the first say the name: none of them, both of them, another size.
    let record = |kind: u8, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(content.len() as u64);
        header.set_cksum();
        let mut bytes = [header.as_bytes(), content].concat();
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    };
    for (about, name, words) in [
        (record(b'x', b"8 path=\n"), &b"../../etc/cron.d/x"[..], "leaves the image"),
        (record(b'L', b"../../etc/cron.d/x\0"), b"fine", "leaves the image"),
        (record(b'x', b"30 path=../../etc/cron.d/xyz1\n"), b"fine", "leaves the image"),
        (record(b'x', b"35 GNU.sparse.name=../etc/cron.d/x\n"), b"fine", "sparse"),
        (
            [record(b'x', b"29 path=../../etc/cron.d/xyz\n"), record(b'L', b"fine\0")].concat(),
            b"fine",
            "leaves the image",
        ),
    ] {
        let made = Made::after(&about, name);
        let error = refused(&platform, move |asked| made.answer(asked)).await;
        assert!(matches!(error, RemoteError::HostileLayer { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let made = Made::of(b"this is no archive at all", json!({ "walt.node.models": "x" }));
    let error = refused(&platform, move |asked| made.answer(asked)).await;
    assert!(matches!(error, RemoteError::HostileLayer { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens() {
    let platform = Platform::new().await;
    let made = Made::ordinary(10_000);
    let issued = std::sync::Arc::new(AtomicUsize::new(0));
    let (count, layer) = (issued.clone(), made.layer.to_string());
    let server = Server::new(move |asked| {
        let challenge = format!(
            "Bearer realm=\"http://{}/token\",service=\"test\",scope=\"repository:x/img:pull\"",
            asked.header("host")
        );
        if asked.path.starts_with("/token") {
            assert!(asked.path.contains("scope=repository%3Ax%2Fimg%3Apull"), "{}", asked.path);
            // "alice:p@ss/%:word"
            return match asked.header("authorization") {
                "Basic YWxpY2U6cEBzcy8lOndvcmQ=" => {
                    let number = count.fetch_add(1, Ordering::Relaxed);
                    Answer::new(200, format!(r#"{{"token":"t{number}"}}"#))
                }
                _ => Answer::new(401, ""),
            };
        }
        // The first token is too old once the layer is asked for.
        let enough = match asked.header("authorization") {
            "Bearer t0" => !asked.path.ends_with(&layer),
            "Bearer t1" => true,
            _ => false,
        };
        if enough {
            made.answer(asked)
        } else {
            Answer::new(401, "").with("www-authenticate", &challenge)
        }
    })
    .await;
    let conf = conf(server.port, RegistryProtocol::Http, RegistryAuth::Basic);
    let remote = Remote::new(&conf, &settings()).unwrap();
    let good = Credentials::new(USER, PASSWORD);
    let (work, resume) = (platform.work(), platform.path("resume"));
    let place = platform.place(&work, &resume);
    remote.pull(&image(), &amd64(), Some(&good), &place, &quiet).await.unwrap();
    assert_eq!(issued.load(Ordering::Relaxed), 2);
    let error = remote.inspect(&image(), &amd64(), None).await.unwrap_err();
    assert!(matches!(error, RemoteError::CredentialsNeeded { .. }), "{error:?}");
    let bad = Credentials::new(USER, "wrong");
    let error = remote.inspect(&image(), &amd64(), Some(&bad)).await.unwrap_err();
    assert!(matches!(error, RemoteError::Refused { .. }), "{error:?}");

    // A token service elsewhere, in clear text: credentials do not go there.
    let server = Server::new(|_| {
        Answer::new(401, "").with("www-authenticate", "Bearer realm=\"http://192.0.2.1/token\"")
    })
    .await;
    let conf = crate::support::conf(server.port, RegistryProtocol::Http, RegistryAuth::Basic);
    let remote = Remote::new(&conf, &settings()).unwrap();
    let error = remote.inspect(&image(), &amd64(), Some(&good)).await.unwrap_err();
    assert!(error.to_string().contains("refused address"), "{error}");
}

/// The hub: search by accounts, the catalogue an account keeps, its making anew.
#[tokio::test(flavor = "multi_thread")]
async fn the_hub() {
    let registry = RealRegistry::open().await;
    let index = Server::new(|asked| match asked.path.as_str() {
        path if path.starts_with("/v1/search?") => Answer::new(
            200,
            r#"{"num_pages":1,"results":[{"name":"alice/walt_metadata"},{"name":"../walt_metadata"},{"name":"other"}]}"#,
        ),
        "/v2/repositories/alice/?page_size=100" => Answer::new(
            200,
            r#"{"next":null,"results":[{"name":"lab"},{"name":"walt_metadata"},{"name":"gone"}]}"#,
        ),
        _ => Answer::new(404, ""),
    })
    .await;
    let address = |port: u16| format!("http://127.0.0.1:{port}");
    let hub = HubAddresses {
        registry: address(registry.port),
        index: address(index.port),
        accounts: address(index.port),
    };
    let remote = Remote::new(&Registry::hub(), &Settings { hub, ..settings() }).unwrap();
    let alice = Credentials::new(USER, PASSWORD);
    assert!(remote.account("alice", None).await.unwrap().is_empty());
    assert!(remote.catalogue(None).await.is_err());

    // A WalT user with another name on the hub: the catalogue lists the name that can be cloned.
    let requester = "bob".parse().unwrap();
    let local: walt_model::ImageFullName = "bob/lab:latest".parse().unwrap();
    let image = remote.pushed_as(&local, &requester, Some(&alice)).unwrap();
    assert_eq!(image.to_string(), "alice/lab:latest");
    let platform = Platform::new().await;
    let id = platform.image("docker.io/bob/lab:latest", 10_000).await;
    let (work, resume) = (platform.work(), platform.path("resume"));
    let place = platform.place(&work, &resume);
    let pushed = remote.push(&id, &image, Some(&alice), &place, &quiet).await.unwrap();
    assert!(pushed.uploaded > 0);
    let labels = [("walt.node.models".to_owned(), "pc-x86-64".to_owned())].into();
    remote.published(&image, &labels, &alice).await.unwrap();
    remote.published(&image, &labels, &alice).await.unwrap();
    let listed = remote.account("alice", None).await.unwrap();
    assert_eq!((listed.len(), &listed[0].image), (1, &image));
    let found = std::sync::Mutex::new(Vec::new());
    remote.search(None, &|image| found.lock().unwrap().push(image.unwrap().image)).await.unwrap();
    assert_eq!(found.into_inner().unwrap(), std::slice::from_ref(&image));

    // What skopeo reads of it is what other WalT servers read.
    let source = format!("docker://127.0.0.1:{}/alice/walt_metadata:latest", registry.port);
    let inspect = walt_images::command::Command::new("skopeo");
    let args = ["inspect", "--tls-verify=false", "--format", "{{.Labels}}", &source];
    let answer = inspect.args(args).run().await.unwrap();
    assert!(String::from_utf8_lossy(&answer.stdout).starts_with("map[metadata:ey"), "{answer:?}");

    let count = remote.rescan("alice", &alice, &|image| drop(image.unwrap())).await.unwrap();
    assert_eq!(count, 1);
    assert_eq!(remote.account("alice", None).await.unwrap()[0].models(), ["pc-x86-64", "qemu"]);
}
