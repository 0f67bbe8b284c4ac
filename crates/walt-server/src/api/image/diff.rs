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

/// A comparison whose client reads nothing for that long is given up. People read answers page by page.
const PATIENCE: Duration = Duration::from_secs(900);

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
        let first = Space::holding(&platform, &a.id).await?;
        let result = match Space::holding(&platform, &b.id).await {
            Ok(second) => {
                let result = told(&platform, [&a, &b], &report).await;
                second.close().await;
                result
            }
            Err(error) => Err(error.into()),
        };
        first.close().await;
        result.map(|()| None)
    }))
}

async fn told(platform: &Shared, images: [&Content; 2], report: &Reporter) -> Result<(), Failure> {
    let mut roots = Vec::new();
    for content in images {
        let catalogue = platform.images.catalogue();
        let layers = catalogue.layers(&content.id).await.map_err(WorkflowError::Store)?;
        roots.push(Directory::root(layers));
    }
    let (report, runtime) = (report.clone(), tokio::runtime::Handle::current());
    let walk = tokio::task::spawn_blocking(move || {
        let tell = |event| runtime.block_on(tell_within(PATIENCE, &report, event));
        let [a, b] = roots.as_slice() else { return Ok(()) };
        compare(a, b, &tell)
    });
    match walk.await {
        Ok(result) => ended(result),
        Err(error) => Err(Failure::internal(&error)),
    }
}

async fn tell_within(patience: Duration, report: &Reporter, event: Event) -> io::Result<()> {
    match tokio::time::timeout(patience, report.send(event)).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(io::ErrorKind::BrokenPipe.into()),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// A client that has gone needs no answer; one that reads again must not take what it has for the whole.
fn ended(result: io::Result<()>) -> Result<(), Failure> {
    let Err(error) = result else { return Ok(()) };
    let message = match error.kind() {
        io::ErrorKind::BrokenPipe => return Ok(()),
        io::ErrorKind::TimedOut => format!(
            "The comparison was given up: its answer was not read for {} minutes.",
            PATIENCE.as_secs() / 60
        ),
        _ => format!("These images cannot be compared: {error}."),
    };
    Err(ApiError::new(ErrorKind::Unavailable, message).into())
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_nobody_reads_is_no_whole_answer() {
        let (report, mut read) = Reporter::pair();
        let tell = || tell_within(Duration::from_millis(20), &report, Event::Live);
        let given_up = loop {
            if let Err(error) = tell().await {
                break error;
            }
        };
        let Failure(error) = ended(Err(given_up)).unwrap_err();
        assert!(error.message.contains("was not read for 15 minutes"), "{}", error.message);
        read.recv().await.unwrap();
        tell().await.unwrap();
        drop(read);
        ended(tell().await).unwrap();
    }
}
