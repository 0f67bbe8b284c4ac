//! Images from Dockerfiles.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use walt_images::build::{containers, context, dockerfile, git::GitUrl, sources};
use walt_images::command::Command;
use walt_images::command::live::Said;
use walt_images::{CatalogueError, ImageId, Inside, foreign};
use walt_model::{ImageName, UserName};

use super::operation::{Operation, blocking};
use crate::killpoint;
use crate::platform::Platform;

/// Limit on fetching a repository.
const FETCH: Duration = Duration::from_secs(1800);
/// Limit on a build.
const BUILD: Duration = Duration::from_secs(4 * 3600);
/// How often the disk is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// What git may do: no local files, no programs, no questions, no keys of the server.
const GIT: &[(&str, &str)] = &[
    ("GIT_ALLOW_PROTOCOL", "https:http:git:ssh"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_ASKPASS", "true"),
    ("GIT_LFS_SKIP_SMUDGE", "1"),
    (
        "GIT_SSH_COMMAND",
        "ssh -F none -o BatchMode=yes -o IdentityFile=none -o IdentityAgent=none -o StrictHostKeyChecking=no \
         -o UserKnownHostsFile=/dev/null",
    ),
];

/// Why a build failed: sentences for the user, who may have seen more of it before.
pub type Why = String;

/// Fetches a repository in the folder `context` of the operation.
///
/// # Errors
/// git did not work: it has said why.
pub async fn fetch(operation: &Operation, url: &GitUrl, told: &Sender<Said>) -> Result<(), Why> {
    let folder = operation.folder().join("context");
    let mut command = Command::new("git")
        .args([
            "-c",
            "core.hooksPath=/dev/null",
            "clone",
            "--quiet",
            "--depth",
            "1",
            "--single-branch",
        ])
        .args(["--no-tags", "--no-recurse-submodules", "--template=", "--", url.as_str()])
        .arg(&folder)
        .env("HOME", operation.folder())
        .deadline(FETCH);
    for (name, value) in GIT {
        command = command.env(name, value);
    }
    let fetched = guarded(operation.folder(), command.apart().run_told(told)).await?;
    // The command line, which may hold a password, is not shown.
    fetched.map_err(|_| format!("The repository {url} could not be fetched."))?;
    let git = folder.join(".git");
    let _ = blocking(move || std::fs::remove_dir_all(git)).await;
    Ok(())
}

/// What is ready to be built.
#[derive(Debug)]
pub struct Recipe {
    context: PathBuf,
    bases: Vec<From>,
}

/// An image it starts from.
#[derive(Debug)]
struct From {
    /// As the user wrote it.
    image: String,
    /// As the builder gets it.
    name: String,
    /// Of another platform than this machine's.
    platform: Option<String>,
}

/// Looks for the Dockerfile in a folder of the context and finds the images it starts from.
///
/// # Errors
/// There is none; an image does not exist; programs of its CPU do not run here.
pub async fn prepare(
    platform: &Arc<Platform>,
    operation: &Operation,
    user: &UserName,
    sub_dir: &str,
) -> Result<Recipe, Why> {
    let root = operation.folder().join("context");
    let sub = format!("/{sub_dir}");
    let shown = sub_dir.to_owned();
    let (context, text, ignored) = blocking(move || {
        let inside = Inside::enter(&root)?;
        let place = inside.physical(&sub).and_then(|place| inside.list(&place).map(|_| place));
        let place = place
            .map_err(|_| std::io::Error::other(format!("there is no folder '{shown}' in it")))?;
        let context = root.join(place.strip_prefix("/").unwrap_or(&place));
        let inside = Inside::enter(&context)?;
        let (_, text) = context::dockerfile(&inside)?;
        let ignored = match inside.read(".dockerignore", dockerfile::LARGEST) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            // What is to stay out would be in the image.
            read => {
                read.map_err(|error| std::io::Error::other(format!(".dockerignore: {error}")))?
            }
        };
        Ok((context, text, ignored))
    })
    .await
    .map_err(|error| format!("This cannot be built: {error}."))?;
    sources::check(&text).map_err(|error| format!("This cannot be built: {error}."))?;
    let (mut names, mut bases) = (Vec::new(), Vec::new());
    for base in dockerfile::bases(&text) {
        let platform_word = base.platform.as_deref().unwrap_or_default();
        if let Some(arch) = platform_word.split('/').nth(1) {
            foreign::ensure(arch).await.map_err(|error| sentence(&error))?;
        }
        let Some(image) = base.image else {
            return Err(format!(
                "FROM {}: this name is not known before the build.\n\
                 Give its variables a value with ARG before the first FROM.",
                &text[base.place]
            ));
        };
        let Some(reference) = resolved(&image, user) else {
            return Err(format!(
                "FROM {image}: this is not the name of an image (tip: walt help show image-build)."
            ));
        };
        if reference.ours {
            ready(platform, &reference.name, &image).await?;
        }
        names.push((base.place, reference.name.clone()));
        bases.push(From { image, name: reference.name, platform: base.platform });
    }
    let text = dockerfile::replaced(&text, &names);
    let folder = operation.folder().to_owned();
    blocking(move || {
        std::fs::write(folder.join("Dockerfile"), text)?;
        std::fs::write(folder.join("ignored"), ignored)
    })
    .await
    .map_err(|error| format!("The Dockerfile could not be written: {error}."))?;
    Ok(Recipe { context, bases })
}

/// What the name of an image in a Dockerfile means.
#[derive(Debug, PartialEq, Eq)]
struct Reference {
    name: String,
    /// It must be there: an image of the user.
    ours: bool,
}

/// `name` is the user's image, `a/b` is on Docker Hub unless this server has it; others begin with a registry. None: it
/// is no name of an image, or one of the builder's ways to files of the server.
fn resolved(image: &str, user: &UserName) -> Option<Reference> {
    let (name, ours) = match image.split_once('/') {
        None => {
            let name = ImageName::existing(image).ok()?;
            return Some(Reference {
                name: format!("docker.io/{user}/{}:{}", name.name(), name.tag()),
                ours: true,
            });
        }
        Some((host, _)) if !host.contains(['.', ':']) && host != "localhost" => {
            (format!("docker.io/{image}"), false)
        }
        Some(_) => (image.to_owned(), false),
    };
    sources::is_reference(&name).then_some(Reference { name, ours })
}

/// The image is in the store and its programs run here.
async fn ready(platform: &Platform, reference: &str, image: &str) -> Result<(), Why> {
    let podman = platform.images.catalogue().podman();
    let args = ["image", "inspect", "--format", "{{.Architecture}}", reference];
    let told = podman.run(&args, Duration::from_secs(60)).await.map_err(|_| {
        format!(
            "FROM {image}: you have no image of this name (tip: walt image show).\n\
             An image of Docker Hub is written with its owner: docker.io/library/{image}."
        )
    })?;
    let arch = String::from_utf8_lossy(&told.stdout).trim().to_owned();
    foreign::ensure(&arch).await.map_err(|error| sentence(&error))
}

/// The images are in the store, and what they add to files that start from them (`ONBUILD`) is harmless.
async fn bring(platform: &Platform, bases: &[From], told: &Sender<Said>) -> Result<(), Why> {
    let podman = platform.images.catalogue().podman();
    for base in bases {
        let id = match found(platform, base).await? {
            Some(id) => id,
            None => {
                let mut pull = podman.command_of("podman").arg("pull");
                if let Some(platform) = &base.platform {
                    pull = pull.arg(format!("--platform={platform}"));
                }
                let pull = pull.args(["--", &base.name]).deadline(BUILD);
                let pulled =
                    guarded(podman.graph_root(), pull.apart().run_told(told)).await?.is_ok();
                let id = if pulled { found(platform, base).await? } else { None };
                id.ok_or_else(|| format!("FROM {}: it could not be downloaded.", base.image))?
            }
        };
        let source = format!("{}@{id}", podman.skopeo_prefix());
        let read = podman.skopeo().args(["inspect", "--config", "--raw", &source]).run().await;
        let config = read.map_err(|error| sentence(&error))?.stdout;
        on_build(&config)
            .map_err(|error| error.to_string())
            .and_then(|added| sources::check(&added).map_err(|error| error.to_string()))
            .map_err(|error| {
                format!("FROM {}: what it adds to the build (ONBUILD): {error}.", base.image)
            })?;
    }
    Ok(())
}

/// What the builder finds under the name of a base without downloading it.
async fn found(platform: &Platform, base: &From) -> Result<Option<ImageId>, Why> {
    let podman = platform.images.catalogue().podman();
    let args = ["image", "inspect", "--format", "{{.Os}}/{{.Architecture}}/ {{.Id}}", &base.name];
    let told = podman.command_of("podman").args(args).run_any().await;
    let told = told.map_err(|error| sentence(&error))?;
    let told = String::from_utf8_lossy(&told.stdout);
    let Some((has, id)) = told.trim().split_once(' ') else { return Ok(None) };
    // The variant of a CPU is no part of what the store tells.
    let fits = |wanted: &str| format!("{}/", wanted.trim_end_matches('/')).starts_with(has);
    if base.platform.as_deref().is_none_or(fits) {
        return id.parse().map(Some).map_err(|error: CatalogueError| sentence(&error));
    }
    Ok(None)
}

/// What an image adds to Dockerfiles that start from it, of its configuration (OCI image specification, and Docker's).
fn on_build(config: &[u8]) -> serde_json::Result<String> {
    #[derive(serde::Deserialize)]
    struct Image {
        #[serde(default)]
        config: Option<Config>,
    }
    #[derive(serde::Deserialize)]
    struct Config {
        #[serde(default, rename = "OnBuild")]
        on_build: Option<Vec<String>>,
    }
    let image: Image = serde_json::from_slice(config)?;
    let lines = image.config.and_then(|config| config.on_build).unwrap_or_default();
    Ok(lines.join("\n"))
}

/// Builds: the result is under the tag of the operation. Layers made before are used again.
///
/// # Errors
/// A step failed: the build has said why.
pub async fn run(
    platform: &Platform,
    operation: &Operation,
    recipe: &Recipe,
    told: &Sender<Said>,
) -> Result<(), Why> {
    bring(platform, &recipe.bases, told).await?;
    let podman = platform.images.catalogue().podman();
    let folder = operation.folder();
    let command = podman
        .command_of("podman")
        .args(["build", "--format", "docker", "--network", "host", "--layers", "--force-rm"])
        .arg(containers::mark(operation.name()))
        .args(["--tag", &operation.tag()])
        .arg("--file")
        .arg(folder.join("Dockerfile"))
        .arg("--ignorefile")
        .arg(folder.join("ignored"))
        .arg(&recipe.context)
        .deadline(BUILD);
    killpoint::reached("build: before podman");
    let built = guarded(podman.graph_root(), command.apart().run_told(told)).await?;
    killpoint::reached("build: built");
    built.map_err(|error| match error {
        walt_images::command::CommandError::Failed { .. } => {
            "A step of the build failed.".to_owned()
        }
        other => sentence(&other),
    })
}

/// Containers of builds cut by the end of the server that ran them.
pub async fn remove_leftovers(platform: &Platform) {
    let count = containers::remove(platform.images.catalogue().podman(), |_| true).await;
    if count > 0 {
        tracing::info!("removed {count} containers that interrupted builds left");
    }
}

/// Does something that writes, and stops it when the disk is nearly full.
async fn guarded<T>(place: &Path, work: impl Future<Output = T>) -> Result<T, Why> {
    let full = async {
        loop {
            if let Err(error) = context::room(place, 0) {
                return error;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        done = work => Ok(done),
        error = full => Err(sentence(&error)),
    }
}

fn sentence(error: &dyn std::fmt::Display) -> String {
    format!("{}.", walt_model::sentence::capitalised(&error.to_string()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_names_mean() {
        let user: UserName = "me".parse().unwrap();
        let told =
            |image: &str| resolved(image, &user).map(|reference| (reference.name, reference.ours));
        assert_eq!(told("pc"), Some(("docker.io/me/pc:latest".into(), true)));
        assert_eq!(told("pc:v1"), Some(("docker.io/me/pc:v1".into(), true)));
        let default = "waltplatform/pc-x86-64-default";
        assert_eq!(told(default), Some((format!("docker.io/{default}"), false)));
        for known in ["quay.io/a/b:c", "localhost/x", "host:5000/x"] {
            assert_eq!(told(known), Some((known.into(), false)));
        }
        // It is an image of the user, whatever the builder would take it for.
        assert_eq!(told("oci:x"), Some(("docker.io/me/oci:x".into(), true)));
        for other in [
            "-x",
            "docker-archive:/etc/shadow",
            "dir:/srv/x",
            "oci:5000/x",
            "docker://quay.io/a",
            "containers-storage:[overlay@/var/lib/containers]a/b",
            "a/../b",
            "a/b\" c",
        ] {
            assert_eq!(told(other), None, "{other}");
        }
    }

    #[test]
    fn what_images_add() {
        let config =
            br#"{"os":"linux","config":{"OnBuild":["COPY --from=dir:/x / /","RUN true"]}}"#;
        assert_eq!(on_build(config).unwrap(), "COPY --from=dir:/x / /\nRUN true");
        assert!(sources::check(&on_build(config).unwrap()).is_err());
        assert_eq!(on_build(br#"{"config":{"OnBuild":null}}"#).unwrap(), "");
        assert_eq!(on_build(b"{}").unwrap(), "");
        assert!(on_build(b"[").is_err());
    }
}
