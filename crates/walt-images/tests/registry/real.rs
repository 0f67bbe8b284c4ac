//! Debian's docker-registry.

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Instant;

use walt_images::command::Command;
use walt_images::registry::{Credentials, Reference, Remote, RemoteError, Stage, Transfer, Use};
use walt_model::server_conf::{RegistryAuth, RegistryProtocol};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_image_goes_to_a_registry_and_comes_to_another_server() {
    let registry = RealRegistry::open().await;
    let remote = plain(registry.port);
    let (here, there) = (Platform::new().await, Platform::new().await);
    let id = here.image("docker.io/alice/lab:latest", 3 << 20).await;
    let image: Reference = "alice/lab".parse().unwrap();
    assert!(!remote.needs_credentials(Use::Push));

    let (work, resume) = (here.work(), here.path("resume"));
    let seen = Mutex::new(Vec::new());
    let record = |transfer| seen.lock().unwrap().push(transfer);
    let pushed =
        remote.push(&id, &image, None, &here.place(&work, &resume), &record).await.unwrap();
    let last = *seen.lock().unwrap().last().unwrap();
    assert_eq!((last.stage, Some(last.done)), (Stage::Uploading, last.total));
    assert!(pushed.uploaded > 3 << 20 && pushed.reused == 0, "{pushed:?}");

    // It is found.
    assert_eq!(remote.catalogue(None).await.unwrap(), ["alice/lab"]);
    assert_eq!(remote.tags("alice/lab", None).await.unwrap(), ["latest"]);
    let found = Mutex::new(Vec::new());
    remote.search(None, &|image| found.lock().unwrap().push(image.unwrap())).await.unwrap();
    let found = found.into_inner().unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].image, image);
    assert_eq!(found[0].models(), ["pc-x86-64", "qemu"]);
    let looked = remote.inspect(&image, &amd64(), None).await.unwrap();
    assert_eq!((&looked.digest, &looked.id, looked.layers), (&pushed.digest, &id, 2));
    assert!(looked.created.unwrap() > 1_600_000_000);

    // Another server gets the same image, with the same digest in its store.
    let (work, resume) = (there.work(), there.path("resume"));
    seen.lock().unwrap().clear();
    let place = there.place(&work, &resume);
    let pulled = remote.pull(&image, &amd64(), None, &place, &record).await.unwrap();
    assert_eq!((&pulled.id, &pulled.digest), (&id, &pushed.digest));
    let last =
        seen.lock().unwrap().iter().rev().copied().find(|t| t.stage == Stage::Downloading).unwrap();
    assert_eq!(Some(last.done), last.total);
    let digest = there.run(&["image", "inspect", "--format", "{{.Digest}}", TAG]).await;
    assert_eq!(digest, pushed.digest.as_str());
    let left: Vec<_> =
        std::fs::read_dir(&resume).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["seen-here.json"]);

    // Again: nothing is transferred, either way.
    let work = there.work();
    let place = there.place(&work, &resume);
    let again = remote.pull(&image, &amd64(), None, &place, &quiet).await.unwrap();
    assert_eq!((again.downloaded, again.id), (0, id.clone()));
    let back = remote.push(&id, &image, None, &place, &quiet).await.unwrap();
    assert_eq!((back.uploaded, &back.digest), (0, &pushed.digest));

    // Under another name the registry copies the layers itself.
    let other: Reference = "bob/lab:2".parse().unwrap();
    let work = there.work();
    let place = there.place(&work, &resume);
    let mounted = remote.push(&id, &other, None, &place, &quiet).await.unwrap();
    assert!(mounted.uploaded < 10_000 && mounted.reused > 3 << 20, "{mounted:?}");
    assert_eq!(mounted.digest, pushed.digest);

    // The server it came from gets it back without a download: it has the content.
    here.run(&["rmi", "-f", "docker.io/alice/lab:latest"]).await;
    let (work, resume) = (here.work(), here.path("resume"));
    let place = here.place(&work, &resume);
    let home = remote.pull(&other, &amd64(), None, &place, &quiet).await.unwrap();
    assert_eq!((&home.id, &home.digest), (&id, &pushed.digest));
    println!("taken back: {home:?}");

    // A disk without room for the export: nothing is written to it.
    let work = here.work();
    let small = ["-t", "tmpfs", "-o", "size=64m", "tmpfs", work.to_str().unwrap()];
    Command::new("mount").args(small).run().await.unwrap();
    let place = here.place(&work, &resume);
    let third: Reference = "carol/full".parse().unwrap();
    let local = here.image("docker.io/alice/full:latest", 2 << 20).await;
    let error = remote.push(&local, &third, None, &place, &quiet).await.unwrap_err();
    assert!(matches!(error, RemoteError::NoRoom { .. }), "{error:?}");

    let missing: Reference = "alice/none".parse().unwrap();
    let error = remote.inspect(&missing, &amd64(), None).await.unwrap_err();
    assert_eq!(error.to_string(), "alice/none:latest was not found on registry 'here'");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_with_tls_and_passwords() {
    let registry = RealRegistry::closed().await;
    let with = |protocol, auth, trusted: bool| {
        let mut settings = settings();
        if trusted {
            settings.certificates.push(registry.authorities());
        }
        Remote::new(&conf(registry.port, protocol, auth), &settings).unwrap()
    };
    let good = Credentials::new(USER, PASSWORD);
    let bad = Credentials::new(USER, "wrong");

    let stranger = with(RegistryProtocol::Https, RegistryAuth::Basic, false);
    let error = stranger.login(&good).await.unwrap_err();
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("certificate"), "{error}");
    let careless = with(RegistryProtocol::HttpsNoVerify, RegistryAuth::Basic, false);
    careless.login(&good).await.unwrap();

    let remote = with(RegistryProtocol::Https, RegistryAuth::Basic, true);
    remote.login(&good).await.unwrap();
    let error = remote.login(&bad).await.unwrap_err();
    assert!(matches!(error, RemoteError::Refused { .. }) && error.wants_credentials(), "{error}");
    assert!(!format!("{error} {error:?}").contains("wrong"), "{error:?}");
    let image: Reference = "alice/lab:v1".parse().unwrap();
    let error = remote.inspect(&image, &amd64(), None).await.unwrap_err();
    assert!(matches!(error, RemoteError::CredentialsNeeded { .. }), "{error:?}");
    // Configured without authentication: credentials are not even sent.
    let shut = with(RegistryProtocol::Https, RegistryAuth::None, true);
    let error = shut.inspect(&image, &amd64(), Some(&good)).await.unwrap_err();
    assert!(error.to_string().contains("server.conf says 'auth: none'"), "{error}");

    let platform = Platform::new().await;
    let id = platform.image("docker.io/alice/lab:v1", 100_000).await;
    let (work, resume) = (platform.work(), platform.path("resume"));
    let place = platform.place(&work, &resume);
    let error = remote.push(&id, &image, None, &place, &quiet).await.unwrap_err();
    assert!(error.wants_credentials(), "{error}");
    let pushed = remote.push(&id, &image, Some(&good), &place, &quiet).await.unwrap();
    platform.run(&["rmi", "-af"]).await;
    let work = platform.work();
    let place = platform.place(&work, &resume);
    let pulled = remote.pull(&image, &amd64(), Some(&good), &place, &quiet).await.unwrap();
    assert_eq!((pulled.id, pulled.digest), (id, pushed.digest));
    assert!(!format!("{remote:?} {good:?}").contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_are_cut_and_go_on() {
    let registry = RealRegistry::open().await;
    let platform = Platform::new().await;
    let id = platform.image("docker.io/alice/big:latest", 12 << 20).await;
    let image: Reference = "alice/big".parse().unwrap();
    let (work, resume) = (platform.work(), platform.path("resume"));

    // An upload is cut in the middle: this registry wants the whole layer again.
    let once = Relay::to(registry.port, 5 << 20, i64::MAX).await;
    let place = platform.place(&work, &resume);
    let seen = Mutex::new(Vec::new());
    let record = |transfer: Transfer| {
        if transfer.stage == Stage::Uploading {
            seen.lock().unwrap().push(transfer);
        }
    };
    let pushed = plain(once.port).push(&id, &image, None, &place, &record).await.unwrap();
    platform.run(&["rmi", "-af"]).await;
    // What was told goes back by what was lost, and ends at the whole.
    let seen = seen.into_inner().unwrap();
    let last = seen.last().unwrap();
    assert_eq!(Some(last.done), last.total);
    assert!(seen.iter().all(|told| Some(told.done) <= told.total), "{seen:?}");
    let back = seen.windows(2).filter(|pair| pair[1].done + (1 << 20) < pair[0].done).count();
    assert_eq!(back, 1, "{seen:?}");

    // Download: so often that it is given up...
    assert!(once.budget.load(Ordering::Relaxed) > 1 << 40);
    let dead = Relay::to(registry.port, 6 << 20, 0).await;
    let work = platform.work();
    let place = platform.place(&work, &resume);
    let error = plain(dead.port).pull(&image, &amd64(), None, &place, &quiet).await.unwrap_err();
    assert!(
        matches!(error, RemoteError::Cut { .. } | RemoteError::Unreachable { .. }),
        "{error:?}"
    );
    assert_eq!(platform.images().await, "");
    let kept: u64 = std::fs::read_dir(&resume)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().extension().is_some_and(|end| end == "part"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert!(kept > 1 << 20, "{kept}");

    // ...and the next try (another process would do the same) goes on where it was, cut every 3 MiB.
    let relay = Relay::to(registry.port, 3 << 20, 3 << 20).await;
    let work = platform.work();
    let place = platform.place(&work, &resume);
    let pulled = plain(relay.port).pull(&image, &amd64(), None, &place, &quiet).await.unwrap();
    assert_eq!((&pulled.id, &pulled.digest), (&id, &pushed.digest));
    assert!(pulled.reused >= kept && pulled.downloaded < 12 << 20, "{pulled:?}, {kept} were kept");
}

/// Times beside those of `skopeo copy` doing the same: printed, not judged.
#[tokio::test(flavor = "multi_thread")]
async fn times_beside_skopeo() {
    let registry = RealRegistry::open().await;
    let remote = plain(registry.port);
    let (here, there, third) =
        (Platform::new().await, Platform::new().await, Platform::new().await);
    let id = here.image("docker.io/alice/big:latest", 48 << 20).await;
    let image: Reference = "alice/big".parse().unwrap();
    let skopeo = async |from: String, to: String| {
        let before = Instant::now();
        let base = Command::new("skopeo").args(["--insecure-policy", "copy", "-q"]);
        let args = ["--src-tls-verify=false", "--dest-tls-verify=false", &from, &to];
        base.args(args).run().await.unwrap();
        before.elapsed()
    };
    let theirs = format!("docker://127.0.0.1:{}/alice/skopeo:latest", registry.port);
    let push = skopeo(format!("{}@{id}", here.podman.skopeo_prefix()), theirs.clone()).await;
    let pull = skopeo(theirs, format!("{}localhost/x:1", third.podman.skopeo_prefix())).await;
    let (work, resume) = (here.work(), here.path("resume"));
    let before = Instant::now();
    remote.push(&id, &image, None, &here.place(&work, &resume), &quiet).await.unwrap();
    println!("push of 48 MiB: {:?}, skopeo {push:?}", before.elapsed());
    let (work, resume) = (there.work(), there.path("resume"));
    let before = Instant::now();
    let place = there.place(&work, &resume);
    remote.pull(&image, &amd64(), None, &place, &quiet).await.unwrap();
    println!("pull of 48 MiB: {:?}, skopeo {pull:?}", before.elapsed());
}
