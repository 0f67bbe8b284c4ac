//! Files of images: out of them as they are, into them as a new version.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::{StreamExt, stream};
use rustix::fs::FileType;
use walt_images::session::pack;
use walt_images::turn::{Task, Turn};
use walt_images::{ImageEntry, Inside};
use walt_model::{ImageFullName, ImageName, UserName};
use walt_proto::api::transfer::{PathInfo, PathKind, PathQuery};
use walt_proto::api::{ApiError, ErrorKind, Event, TAR, route};

use super::reboot_users;
use super::shell::overwriting;
use crate::api::Shared;
use crate::api::caller::Caller;
use crate::api::extract::{Name, Query};
use crate::api::failure::Failure;
use crate::api::stream::{Reporter, events};
use crate::node_access::path::absolute;
use crate::pipe;
use crate::workflow::WorkflowError;
use crate::workflow::image::copy::{copy_in, files};
use crate::workflow::image::{Origin, put, take, users};

/// Most names given for completion.
const MOST_NAMES: usize = 1000;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route(route::IMAGE_PATH, get(look))
        .route(route::IMAGE_NAMES, get(names))
        .route(route::IMAGE_FILES, get(download).put(upload).layer(DefaultBodyLimit::disable()))
}

/// An image of a user, by its name in the working set.
pub(super) async fn own(
    platform: &Shared,
    user: &UserName,
    name: &str,
) -> Result<(ImageFullName, Arc<ImageEntry>), Failure> {
    let name = ImageName::existing(name).map_err(|error| Failure::invalid(error.to_string()))?;
    let full = name.clone().owned_by(user.clone());
    let store = platform.images.catalogue().current().await.map_err(WorkflowError::Store)?;
    match store.get(&full.to_string()) {
        Some(entry) => Ok((full, entry.clone())),
        None => Err(WorkflowError::NoSuchImage(name).into()),
    }
}

/// Work on the files of an image of the caller, away from the threads that answer requests.
async fn inside<T: Send + 'static>(
    platform: &Shared,
    caller: &Caller,
    name: &str,
    work: impl FnOnce(&Inside) -> T + Send + 'static,
) -> Result<T, Failure> {
    let (_, entry) = own(platform, &caller.user, name).await?;
    let files = files(platform, &entry.id).await?;
    let done = tokio::task::spawn_blocking(move || work(&files)).await;
    done.map_err(|error| Failure::internal(&error))
}

async fn look(
    State(platform): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Query(query): Query<PathQuery>,
) -> Result<Json<PathInfo>, Failure> {
    Ok(Json(inside(&platform, &caller, &name, move |files| info(files, &query.path)).await?))
}

pub(super) fn info(files: &Inside, path: &str) -> PathInfo {
    let path = absolute(path);
    let kind = |path: &Path| match files.target_kind(path) {
        Some(FileType::RegularFile) => PathKind::File,
        Some(FileType::Directory) => PathKind::Dir,
        Some(_) => PathKind::Other,
        None => PathKind::Missing,
    };
    let parent = Path::new(&path).parent().unwrap_or(Path::new("/"));
    PathInfo { kind: kind(Path::new(&path)), parent: kind(parent), path }
}

async fn names(
    State(platform): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Query(query): Query<PathQuery>,
) -> Result<Json<Vec<String>>, Failure> {
    let typed = query.path;
    let (parent, prefix) =
        typed.rsplit_once('/').map_or(("", typed.as_str()), |(parent, prefix)| {
            (if parent.is_empty() { "/" } else { parent }, prefix)
        });
    let start = typed[..typed.len() - prefix.len()].to_owned();
    let (parent, prefix) = (absolute(parent), prefix.to_owned());
    let found = inside(&platform, &caller, &name, move |files| {
        pack::names(files, Path::new(&parent), prefix.as_bytes(), MOST_NAMES)
    })
    .await?;
    // A directory that is not there has no names in it.
    let found = found.unwrap_or_default();
    let found = found.iter().filter_map(|name| name.to_str());
    Ok(Json(found.map(|name| format!("{start}{name}")).collect()))
}

async fn download(
    State(platform): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Query(query): Query<PathQuery>,
) -> Result<Response, Failure> {
    let (_, entry) = own(&platform, &caller.user, &name).await?;
    let files = files(&platform, &entry.id).await?;
    let found = info(&files, &query.path);
    if found.kind == PathKind::Missing {
        let message = format!("No such file or directory: {}", found.path);
        return Err(ApiError::new(ErrorKind::NotFound, message).into());
    }
    let path = PathBuf::from(found.path);
    let base = path.file_name().unwrap_or_default().to_owned();
    let member = query.name.map_or(base, OsString::from);
    if member.is_empty() || member.as_bytes().contains(&b'/') {
        return Err(Failure::invalid("The name of the copy is not one name."));
    }
    let (writer, got) = pipe::writer();
    tokio::task::spawn_blocking(move || {
        let failures = writer.failures();
        let sent = pack::pack(&files, &path, &member, writer).and_then(|mut writer| {
            use std::io::Write;
            writer.flush()
        });
        if let Err(error) = sent
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            tracing::warn!("a download from an image failed: {error}");
            // The body is cut before its last chunk: the client knows.
            let _ = failures.blocking_send(Err(error));
        }
    });
    let body = stream::unfold(got, |mut got| async move { Some((got.recv().await?, got)) });
    Ok(([(CONTENT_TYPE, TAR)], Body::from_stream(body)).into_response())
}

async fn upload(
    State(platform): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Query(query): Query<PathQuery>,
    body: Body,
) -> Result<Response, Failure> {
    let (image, entry) = own(&platform, &caller.user, &name).await?;
    let turn = receiving(&platform, &caller.user, &image, &entry, query.confirmed)?;
    let directory = PathBuf::from(absolute(&query.path));
    let (given, reader) = pipe::reader();
    let tasks = platform.tasks.clone();
    // A task of its own: a body that ends early is a stream that is cut, and nothing is kept.
    tasks.spawn("upload to an image", async move {
        let mut data = body.into_data_stream();
        let mut listened = true;
        while let Some(chunk) = data.next().await {
            let cut = chunk.is_err();
            let chunk = chunk.map_err(|_| io::Error::new(io::ErrorKind::UnexpectedEof, "cut"));
            // What comes after a failure is read all the same: only then does the client read why.
            listened = listened && given.send(chunk).await.is_ok();
            if cut {
                return;
            }
        }
    });
    let detail = format!("files copied to {}", directory.display());
    Ok(events(&tasks, "image cp", |report| async move {
        let change = Change { image, entry, turn, detail };
        receive(&platform, change, directory, reader, &report).await.map(|()| None)
    }))
}

/// Takes the turn of an image that is to receive files.
pub(super) fn receiving(
    platform: &Shared,
    user: &UserName,
    image: &ImageFullName,
    entry: &ImageEntry,
    confirmed: bool,
) -> Result<Turn, Failure> {
    if !entry.editable() {
        return Err(WorkflowError::TooManyLayers(image.name().clone()).into());
    }
    let nodes = users(platform, image).len();
    if nodes > 0 && !confirmed {
        let message = overwriting(image.name(), nodes);
        return Err(ApiError::new(ErrorKind::ConfirmationNeeded, message).into());
    }
    Ok(take(platform, image, Task::FileTransfer, user)?)
}

/// Files that come to an image.
pub(super) struct Change {
    pub image: ImageFullName,
    pub entry: Arc<ImageEntry>,
    pub turn: Turn,
    pub detail: String,
}

/// Makes a new version of an image with the files of a tar stream.
pub(super) async fn receive(
    platform: &Shared,
    change: Change,
    directory: PathBuf,
    stream: pipe::Reader,
    report: &Reporter,
) -> Result<(), Failure> {
    let Change { image, entry, turn, detail } = change;
    let (told, hints) = (AtomicU64::new(0), report.clone());
    let written = move |bytes: u64| {
        // One in every 4 MiB is enough to be seen moving.
        if bytes.abs_diff(told.load(Ordering::Relaxed)) >= 4 << 20 {
            told.store(bytes, Ordering::Relaxed);
            let (what, unit) = ("Transferring".to_owned(), "bytes".to_owned());
            hints.hint(Event::Progress { what, done: bytes, total: None, unit });
        }
    };
    let new = copy_in(platform, &entry.id, directory, stream, Arc::new(written)).await?;
    let origin = Origin { task: Task::FileTransfer, by: image.owner().clone(), detail };
    let put = put(platform, &turn, &image, &new.id, &origin, report).await;
    new.let_go(platform).await;
    let put = put?;
    drop(turn);
    report.send(Event::Out { text: format!("Image {} updated.\n", image.name()) }).await;
    reboot_users(platform, put, report).await;
    Ok(())
}
