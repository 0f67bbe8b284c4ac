//! JFrog's Artifactory, played: a catalogue for each of its repositories, an account for everything.

use std::sync::Mutex;

use serde_json::json;
use walt_images::registry::{Credentials, Reference, Remote, RemoteError, Use};
use walt_model::server_conf::{Registry, RegistryApi, RegistryAuth, RegistryProtocol};

use crate::server::*;
use crate::support::*;

fn jfrog(port: u16, auth: RegistryAuth) -> Registry {
    Registry {
        api: RegistryApi::JfrogArtifactory,
        repository: Some("docker-local".to_owned()),
        ..conf(port, RegistryProtocol::Http, auth)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_of_artifactory_is_searched_and_cloned_from() {
    let lab = Made::ordinary(20_000);
    let chart = Made::of(&[0; 1024], json!(null));
    let server = Server::new(move |asked| {
        // "alice:p@ss/%:word"
        if asked.header("authorization") != "Basic YWxpY2U6cEBzcy8lOndvcmQ=" {
            let body = r#"{"errors":[{"status":401,"message":"Authentication is required"}]}"#;
            let challenge = "Basic realm=\"Artifactory Realm\"";
            return Answer::new(401, body).with("www-authenticate", challenge);
        }
        match asked.path.as_str() {
            "/v2/" => Answer::new(200, "{}"),
            "/v2/docker-local/_catalog?n=100" => {
                let next = "</v2/docker-local/_catalog?last=gone&n=100>; rel=\"next\"";
                Answer::new(200, r#"{"repositories":["chart","gone"]}"#).with("link", next)
            }
            "/v2/docker-local/_catalog?last=gone&n=100" => {
                Answer::new(200, r#"{"repositories":["lab"]}"#)
            }
            "/v2/docker-local/lab/tags/list?n=100" => {
                Answer::new(200, r#"{"name":"lab","tags":["latest","v2"]}"#)
            }
            "/v2/docker-local/chart/tags/list?n=100" => {
                Answer::new(200, r#"{"name":"chart","tags":["1"]}"#)
            }
            path if path.starts_with("/v2/docker-local/lab/") => lab.answer(asked),
            path if path.starts_with("/v2/docker-local/chart/") => chart.answer(asked),
            _ => Answer::new(404, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#),
        }
    })
    .await;
    let remote = Remote::new(&jfrog(server.port, RegistryAuth::Basic), &settings()).unwrap();
    let good = Credentials::new(USER, PASSWORD);
    assert!(remote.needs_credentials(Use::Pull) && remote.needs_credentials(Use::Push));
    let error = remote.catalogue(None).await.unwrap_err();
    assert!(matches!(error, RemoteError::CredentialsNeeded { .. }), "{error:?}");
    let bad = Credentials::new(USER, "wrong");
    assert!(remote.login(&bad).await.unwrap_err().wants_credentials());
    remote.login(&good).await.unwrap();

    let names = ["docker-local/chart", "docker-local/gone", "docker-local/lab"];
    assert_eq!(remote.catalogue(Some(&good)).await.unwrap(), names);
    let found = Mutex::new(Vec::new());
    let note = |image: Result<walt_images::registry::FoundImage, RemoteError>| {
        found.lock().unwrap().push(image.unwrap());
    };
    remote.search(Some(&good), &note).await.unwrap();
    let mut images: Vec<String> =
        found.lock().unwrap().iter().map(|found| found.image.to_string()).collect();
    images.sort();
    assert_eq!(images, ["docker-local/lab:latest", "docker-local/lab:v2"]);

    let platform = Platform::new().await;
    let (work, resume) = (platform.work(), platform.path("resume"));
    let place = platform.place(&work, &resume);
    let image: Reference = "docker-local/lab:v2".parse().unwrap();
    let pulled = remote.pull(&image, &amd64(), Some(&good), &place, &quiet).await.unwrap();
    assert!(pulled.downloaded > 20_000, "{pulled:?}");
    assert!(platform.images().await.contains(pulled.id.as_str()));
    let missing: Reference = "docker-local/none".parse().unwrap();
    let error = remote.inspect(&missing, &amd64(), Some(&good)).await.unwrap_err();
    assert!(matches!(error, RemoteError::NotFound { .. }), "{error:?}");
    let asked = server.asked.lock().unwrap();
    let elsewhere = asked
        .iter()
        .find(|asked| asked.path != "/v2/" && !asked.path.starts_with("/v2/docker-local/"));
    assert!(elsewhere.is_none(), "{elsewhere:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_there_belongs_to_the_repository() {
    let registry = RealRegistry::open().await;
    let remote = Remote::new(&jfrog(registry.port, RegistryAuth::None), &settings()).unwrap();
    let platform = Platform::new().await;
    let id = platform.image("docker.io/bob/lab:v2", 10_000).await;
    let requester = "bob".parse().unwrap();
    let named = |local: &str| {
        let local: walt_model::ImageFullName = local.parse().unwrap();
        remote.pushed_as(&local, &requester, None).unwrap()
    };
    for local in ["bob/lab:v2", "alice/lab:v2", "waltplatform/lab:v2"] {
        assert_eq!(named(local).to_string(), "docker-local/lab:v2");
    }
    let (work, resume) = (platform.work(), platform.path("resume"));
    let place = platform.place(&work, &resume);
    let image = named("bob/lab:v2");
    let pushed = remote.push(&id, &image, None, &place, &quiet).await.unwrap();
    let looked = remote.inspect(&image, &amd64(), None).await.unwrap();
    assert_eq!((looked.id, looked.digest), (id, pushed.digest));
    assert_eq!(plain(registry.port).catalogue(None).await.unwrap(), ["docker-local/lab"]);
}
