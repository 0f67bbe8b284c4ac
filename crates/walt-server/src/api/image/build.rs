//! `walt image build`

use std::io::Read;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use walt_images::build::context::unpack;
use walt_images::build::git::{GitUrl, sub_dir};
use walt_images::catalogue::LABEL_MODELS;
use walt_images::command::live::Said;
use walt_images::turn::{Task, Turn};
use walt_images::{ImageEntry, ImageId};
use walt_model::{ImageFullName, ImageName, UserName};
use walt_proto::api::image::build::BuildQuery;
use walt_proto::api::{ApiError, ErrorKind, Event};

use super::super::Shared;
use super::super::caller::Caller;
use super::super::extract::{Name, Query};
use super::super::failure::Failure;
use super::super::stream::{Reporter, events};
use super::reboot_users;
use crate::killpoint;
use crate::workflow::WorkflowError;
use crate::workflow::image::build::{Why, fetch, prepare, run};
use crate::workflow::image::operation::{Operation, blocking};
use crate::workflow::image::{Origin, Put, check, put, take, users};

/// Chunks of a directory that wait to be written.
const CHUNKS: usize = 16;
/// Pieces of what the build says that wait for a slow client.
const WORDS: usize = 64;

/// The last word about a build that failed; the client adds where to read more.
const FAILED: &str = "Sorry, image build FAILED.";

/// What an image is built from.
enum Source {
    Directory(Body),
    Repository { url: GitUrl, sub_dir: String },
}

pub(super) async fn build(
    State(platform): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Query(query): Query<BuildQuery>,
    body: Body,
) -> Result<Response, Failure> {
    let user = caller.user;
    let name = name.parse::<ImageName>().map_err(|error| Failure::invalid(error.to_string()))?;
    let image = name.owned_by(user.clone());
    let source = match query.url {
        None => Source::Directory(body),
        Some(url) => Source::Repository {
            url: url.parse().map_err(|error: walt_images::build::git::GitUrlError| {
                Failure::invalid(error.to_string())
            })?,
            sub_dir: sub_dir(query.sub_dir.as_deref().unwrap_or_default())
                .map_err(Failure::invalid)?,
        },
    };
    let exists = platform.images.catalogue().exists(&image).await.map_err(WorkflowError::Store)?;
    if exists && !query.confirmed {
        let count = users(&platform, &image).len();
        let mut message = format!("Warning: image '{}' exists and will be replaced", image.name());
        if count > 0 {
            message.push_str(&format!("; {}", rebooted(count)));
        }
        message.push('.');
        return Err(ApiError::new(ErrorKind::ConfirmationNeeded, message).into());
    }
    let turn = take(&platform, &image, Task::Build, &user)?;
    let tasks = platform.tasks.clone();
    Ok(events(&tasks, "image build", |report: Reporter| async move {
        let operation = Operation::begin(&platform).await?;
        let built = tokio::select! {
            built = make(&platform, &operation, &user, source, &report) => built,
            () = report.gone() => Err("The client went away.".to_owned()),
        };
        let done = match built {
            Ok((id, detail)) => {
                let origin = Origin { task: Task::Build, by: user, detail };
                settle(&platform, &turn, &image, &id, &origin, &report).await
            }
            Err(why) => Err(failed(&report, &why).await),
        };
        operation.end().await;
        let put = done?;
        drop(turn);
        reboot_users(&platform, put, &report).await;
        Ok(None)
    }))
}

/// Everything up to an image that is complete in the store and has no name yet. Answers it, and where it comes from.
async fn make(
    platform: &Shared,
    operation: &Operation,
    user: &UserName,
    source: Source,
    report: &Reporter,
) -> Result<(ImageId, String), Why> {
    let (sender, mut words) = mpsc::channel(WORDS);
    let passing = async {
        while let Some(said) = words.recv().await {
            let event = match said {
                Said::Out(text) => Event::Out { text },
                Said::Err(text) => Event::Err { text },
            };
            report.send(event).await;
        }
    };
    let making = async move {
        let (sub_dir, detail) = match source {
            Source::Directory(body) => {
                phase(report, "Receiving the client directory content").await;
                receive(operation, body).await?;
                (String::new(), "a directory of the client".to_owned())
            }
            Source::Repository { url, sub_dir } => {
                phase(report, &format!("Cloning the git repository at {url}")).await;
                fetch(operation, &url, &sender).await?;
                (sub_dir, url.to_string())
            }
        };
        killpoint::reached("build: the files are there");
        phase(report, "Verifying the repository").await;
        let recipe = prepare(platform, operation, user, &sub_dir).await?;
        phase(report, "Building the image").await;
        run(platform, operation, &recipe, &sender).await?;
        let id = operation.result().await.map_err(|error| error.to_string())?;
        Ok::<_, Why>((id, detail))
    };
    let (made, ()) = tokio::join!(making, passing);
    let (id, detail) = made?;
    phase(report, "Verifying the image").await;
    verify(platform, &id, report).await?;
    killpoint::reached("build: checked");
    Ok((id, detail))
}

/// The image is one of WalT; whatever else it lacks is said, and does not matter for a name that no node has.
async fn verify(platform: &Shared, id: &ImageId, report: &Reporter) -> Result<(), Why> {
    let looked = check::look(platform, id, &[]).await.map_err(|error| error.to_string())?;
    let models = looked.models.is_empty();
    for text in check::warnings(&looked) {
        report.send(Event::Err { text }).await;
    }
    match models {
        false => Ok(()),
        true => Err(format!(
            "The image has no label {LABEL_MODELS}, which tells the node models it can boot.\n\
             Add a line to the Dockerfile: LABEL {LABEL_MODELS}=<model>,<model>..."
        )),
    }
}

/// Gives the image its name.
async fn settle(
    platform: &Arc<crate::platform::Platform>,
    turn: &Turn,
    image: &ImageFullName,
    id: &ImageId,
    origin: &Origin,
    report: &Reporter,
) -> Result<Put, Failure> {
    match put(platform, turn, image, id, origin, report).await {
        Ok(put) => {
            report.send(Event::Out { text: "OK\n".into() }).await;
            Ok(put)
        }
        Err(error) => Err(failed(report, &error.to_string()).await),
    }
}

async fn phase(report: &Reporter, text: &str) {
    report.send(Event::Out { text: format!("** {text}\n") }).await;
}

async fn failed(report: &Reporter, why: &str) -> Failure {
    report.send(Event::Err { text: format!("{why}\n") }).await;
    ApiError::new(ErrorKind::Invalid, FAILED).into()
}

/// Unpacks the body in the folder of the operation.
async fn receive(operation: &Operation, body: Body) -> Result<(), Why> {
    let folder = operation.folder().join("context");
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let unpacked = blocking(move || {
        std::fs::create_dir(&folder)?;
        let mut chunks = Chunks { receiver, current: Bytes::new() };
        unpack(&mut chunks, &folder, |_| ())?;
        // What follows the end of the archive.
        std::io::copy(&mut chunks, &mut std::io::sink()).map(drop)
    });
    let sending = async move {
        let mut data = body.into_data_stream();
        while let Some(chunk) = data.next().await {
            let chunk = chunk.map_err(std::io::Error::other);
            // When nobody reads any more the archive was refused: the rest is left where it is.
            if sender.send(chunk).await.is_err() {
                return;
            }
        }
    };
    let (unpacked, ()) = tokio::join!(unpacked, sending);
    unpacked.map_err(|error| format!("The directory could not be received: {error}."))
}

/// Chunks of a body, read by a thread.
struct Chunks {
    receiver: mpsc::Receiver<std::io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let count = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// What happens to the nodes of an image that changes.
pub(super) fn rebooted(count: usize) -> String {
    match count {
        1 => "1 node boots this image and will be rebooted".to_owned(),
        count => format!("{count} nodes boot this image and will be rebooted"),
    }
}

/// An image of the caller's working set.
pub(super) async fn own_image(
    platform: &Shared,
    user: &UserName,
    name: &str,
) -> Result<(ImageFullName, Arc<ImageEntry>), Failure> {
    let name = ImageName::existing(name).map_err(|error| Failure::invalid(error.to_string()))?;
    let image = name.owned_by(user.clone());
    let store = platform.images.catalogue().current().await.map_err(WorkflowError::Store)?;
    match store.get(&image.to_string()) {
        Some(entry) => Ok((image, entry.clone())),
        None => Err(WorkflowError::NoSuchImage(image.name().clone()).into()),
    }
}
