//! What differs between two images of the caller.

use std::io;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use walt_images::difference::{self, Became, Difference};
use walt_images::packages::{self, Packages};
use walt_images::stack::Directory;
use walt_proto::api::image::diff::{self, DiffImages, FileDifference, PackageDifference};
use walt_proto::api::{ApiError, ErrorKind, Event};

use crate::api::Shared;
use crate::api::caller::Caller;
use crate::api::extract::Body;
use crate::api::failure::Failure;
use crate::api::stream::{Reporter, events};
use crate::state::Content;
use crate::workflow::image::history::content_of;
use crate::workflow::image::space::Space;
use crate::workflow::{Progress, WorkflowError};

/// A client that reads nothing for that long has gone.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn diff(
    State(platform): State<Shared>,
    caller: Caller,
    Body(request): Body<DiffImages>,
) -> Result<Response, Failure> {
    let a = content_of(&platform, &caller.user, &request.a).await?;
    let b = content_of(&platform, &caller.user, &request.b).await?;
    let tasks = platform.tasks.clone();
    Ok(events(&tasks, "image diff", |report| async move {
        report.label("Comparing");
        // Both stay while they are read, even if their names go meanwhile.
        let (first, second) = (Space::open(&platform)?, Space::open(&platform)?);
        let result = told(&platform, [(&a, &first), (&b, &second)], &report).await;
        first.close().await;
        second.close().await;
        result.map(|()| None)
    }))
}

async fn told(
    platform: &Shared,
    images: [(&Content, &Space<'_>); 2],
    report: &Reporter,
) -> Result<(), Failure> {
    let mut roots = Vec::new();
    for (content, space) in images {
        let catalogue = platform.images.catalogue();
        let held = catalogue.add_reference(&content.id, space.workplace().tag).await;
        held.map_err(WorkflowError::Store)?;
        let layers = catalogue.layers(&content.id).await.map_err(WorkflowError::Store)?;
        roots.push(Directory::root(layers));
    }
    let (report, runtime) = (report.clone(), tokio::runtime::Handle::current());
    let walk = tokio::task::spawn_blocking(move || {
        let tell = |event| {
            let sent = runtime.block_on(tokio::time::timeout(PATIENCE, report.send(event)));
            match sent {
                Ok(true) => Ok(()),
                _ => Err(io::Error::from(io::ErrorKind::BrokenPipe)),
            }
        };
        let [a, b] = roots.as_slice() else { return Ok(()) };
        compare(a, b, &tell)
    });
    match walk.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Ok(Err(error)) => {
            let message = format!("These images cannot be compared: {error}.");
            Err(ApiError::new(ErrorKind::Unavailable, message).into())
        }
        Err(error) => Err(Failure::internal(&error)),
    }
}

/// Blocks.
fn compare(a: &Directory, b: &Directory, tell: &dyn Fn(Event) -> io::Result<()>) -> io::Result<()> {
    let (before, after) = (packages::of(a)?, packages::of(b)?);
    // Of an image without database nothing is known: its packages are not gone.
    if let (Some(before), Some(after)) = (before, after) {
        tell_packages(&before, &after, tell)?;
    }
    difference::compare(a, b, &mut |found| tell(Event::File(file(found))))
}

fn tell_packages(
    before: &Packages,
    after: &Packages,
    tell: &dyn Fn(Event) -> io::Result<()>,
) -> io::Result<()> {
    for (package, before, after) in packages::compare(before, after) {
        let became = match (&before, &after) {
            (None, _) => diff::Became::Added,
            (_, None) => diff::Became::Removed,
            _ => diff::Became::Changed,
        };
        tell(Event::Package(PackageDifference { package, became, before, after }))?;
    }
    Ok(())
}

fn file(found: Difference) -> FileDifference {
    FileDifference {
        path: format!("/{}", found.path.display()),
        became: match found.became {
            Became::Added => diff::Became::Added,
            Became::Changed => diff::Became::Changed,
            Became::Removed => diff::Became::Removed,
        },
        kind: found.kind.to_owned(),
        what: found.what.into_iter().map(str::to_owned).collect(),
        before_bytes: found.before,
        after_bytes: found.after,
    }
}
