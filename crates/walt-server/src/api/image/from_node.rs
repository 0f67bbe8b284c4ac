//! Files of a node into the image it boots, without a way through the client.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::process::Child;
use walt_proto::api::error::GateMode;
use walt_proto::api::image::files::FilesToImage;
use walt_proto::api::transfer::PathKind;
use walt_proto::api::{ApiError, ErrorKind};

use super::files::{Change, info, own, receive, receiving};
use crate::api::Shared;
use crate::api::caller::Caller;
use crate::api::extract::{Body, Name};
use crate::api::failure::Failure;
use crate::api::files::kept;
use crate::api::gate;
use crate::api::stream::events;
use crate::node_access::{SshError, path};
use crate::pipe;
use crate::workflow::image::copy::files;

/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;

pub(super) async fn copy(
    State(platform): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Body(request): Body<FilesToImage>,
) -> Result<Response, Failure> {
    // The client has asked already whether the node may be used; what is asked here is whether the image may be changed.
    let device = gate::one(&platform, &caller.user, &name, GateMode::OwnedOrFree, true)?;
    let image = device.node.as_ref().map(|node| node.image.clone());
    let Some(image) = image.filter(|image| *image.owner() == caller.user) else {
        let message = format!("The image that {name} boots is not yours: it cannot be changed.");
        let error = ApiError::new(ErrorKind::Forbidden, message);
        return Err(error.with_tip(format!("walt node acquire {name}")).into());
    };
    let Some(ip) = device.ip else {
        let message = format!("The address of {name} is not known yet.");
        return Err(ApiError::new(ErrorKind::Unreachable, message).into());
    };
    let (image, entry) = own(&platform, &caller.user, &image.name().to_string()).await?;
    let found = path::look(&platform.ssh, ip, &request.path).await?;
    let inside = files(&platform, &entry.id).await?;
    let there = tokio::task::spawn_blocking({
        let path = found.path.clone();
        move || info(&inside, &path)
    });
    let there = there.await.map_err(|error| Failure::internal(&error))?;
    let (directory, member) = place(&found.path, found.kind, there.kind, there.parent)?;
    let turn = receiving(&platform, &caller.user, &image, &entry, request.confirmed)?;

    let remote = path::send_command(&found.path, Some(&member));
    let mut command = platform.ssh.command(ip, false, Some(&remote));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(SshError::Start)?;
    let (given, reader) = pipe::reader();
    platform.tasks.spawn("files of a node", feed(child, given));
    let detail = format!("{} of {name}", found.path);
    let tasks = platform.tasks.clone();
    Ok(events(&tasks, "node cp", |report| async move {
        let change = Change { image, entry, turn, detail };
        receive(&platform, change, directory, reader, &report).await.map(|()| None)
    }))
}

/// Where a path of a node goes in the image: its directory there, and its name in the stream.
fn place(
    path: &str,
    kind: PathKind,
    there: PathKind,
    parent: PathKind,
) -> Result<(PathBuf, String), Failure> {
    let missing = |path: &str, whose: &str| {
        let message = format!("No such file or directory{whose}: {path}");
        Failure::from(ApiError::new(ErrorKind::NotFound, message))
    };
    let above = Path::new(path).parent().unwrap_or(Path::new("/"));
    let name = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(".");
    match (kind, there) {
        (PathKind::Missing, _) => Err(missing(path, " on the node")),
        (PathKind::Dir, PathKind::Dir) => Ok((path.into(), ".".into())),
        (_, PathKind::Dir) => {
            Err(Failure::invalid(format!("{path} is a directory in the image, not on the node.")))
        }
        (PathKind::Dir, PathKind::File | PathKind::Other) => {
            Err(Failure::invalid(format!("{path} is not a directory in the image.")))
        }
        _ if parent != PathKind::Dir => Err(missing(&above.display().to_string(), " in the image")),
        _ => Ok((above.into(), name.into())),
    }
}

/// Gives what ssh sends; its failure is the stream's.
async fn feed(mut child: Child, given: pipe::Given) {
    let (Some(mut stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return;
    };
    let errors = tokio::spawn(kept(stderr));
    loop {
        let mut chunk = vec![0; CHUNK];
        let piece = match stdout.read(&mut chunk).await {
            Ok(0) => break,
            Ok(count) => {
                chunk.truncate(count);
                Ok(Bytes::from(chunk))
            }
            Err(error) => Err(error),
        };
        // Nobody reads any more: ssh is hung up with its end.
        if given.send(piece).await.is_err() {
            return;
        }
    }
    if !child.wait().await.is_ok_and(|status| status.success()) {
        let said = errors.await.unwrap_or_default();
        let said = if said.is_empty() { "the node stopped answering".to_owned() } else { said };
        let _ = given.send(Err(std::io::Error::other(said))).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use PathKind::{Dir, File, Missing};

    #[test]
    fn the_same_place_in_the_image() {
        let gives = |path: &str, kind, there, parent, directory: &str, name: &str| {
            let (at, member) = place(path, kind, there, parent).unwrap();
            assert_eq!((at.to_str().unwrap(), member.as_str()), (directory, name));
        };
        gives("/etc/motd", File, File, Dir, "/etc", "motd");
        gives("/etc/new", File, Missing, Dir, "/etc", "new");
        gives("/etc", Dir, Dir, Dir, "/etc", ".");
        gives("/srv/new", Dir, Missing, Dir, "/srv", "new");
        gives("/", Dir, Dir, Dir, "/", ".");
        for (kind, there, parent) in
            [(Missing, File, Dir), (File, Missing, Missing), (File, Dir, Dir), (Dir, File, Dir)]
        {
            assert!(place("/a/b", kind, there, parent).is_err());
        }
    }
}
