//! Shells in images.

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use walt_images::session::{Mode, State as Container};
use walt_images::turn::{Task, Turn};
use walt_model::ImageName;
use walt_proto::api::image::session::{ImageShell, OpenShell, SaveShell, ShellMode};
use walt_proto::api::session::{ClientMessage, ServerMessage};
use walt_proto::api::{ApiError, Empty, ErrorKind, Event, route};

use super::files::own;
use super::reboot_users;
use crate::api::Shared;
use crate::api::caller::Caller;
use crate::api::exec::{MAX_MESSAGE, Program, first, tell, term};
use crate::api::extract::{Body, Name};
use crate::api::failure::Failure;
use crate::api::stream::{Reporter, events};
use crate::killpoint;
use crate::sessions::{Claim, Session};
use crate::workflow::WorkflowError;
use crate::workflow::image::{Origin, put, shell, take, users};

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route(route::IMAGE_SHELLS, post(open))
        .route(route::SHELLS, get(list))
        .route(route::SHELL, delete(discard))
        .route(route::SHELL_ATTACH, get(attach))
        .route(route::SHELL_SAVE, post(save))
}

async fn open(
    State(platform): State<Shared>,
    caller: Caller,
    Name(name): Name,
    Body(request): Body<OpenShell>,
) -> Result<Json<ImageShell>, Failure> {
    let (image, entry) = own(&platform, &caller.user, &name).await?;
    if !entry.editable() {
        return Err(WorkflowError::TooManyLayers(image.name().clone()).into());
    }
    if let Some(kept) = platform.sessions.in_image(&image) {
        let message = format!("Image '{}' has a shell of yours already.", kept.image.name());
        let tip = format!("walt image shell --resume {}", kept.image.name());
        return Err(ApiError::new(ErrorKind::Conflict, message).with_tip(tip).into());
    }
    // A task of its own: a client that goes away meanwhile must not leave half a shell.
    let (sender, opened) = tokio::sync::oneshot::channel();
    let work = platform.clone();
    platform.tasks.spawn("image shell", async move {
        let term = request.term.as_deref().map(term);
        let session = shell::open(&work, &image, &entry.id, &caller.user, term).await;
        if let Err(Ok(unwanted)) = sender.send(session)
            && let Some(claim) = unwanted.claim()
        {
            shell::drop_now(&work, claim).await;
        }
    });
    let session = opened.await.map_err(|_| Failure::internal(&"the shell was not made"))??;
    Ok(Json(view(&session).await?))
}

async fn list(
    State(platform): State<Shared>,
    caller: Caller,
) -> Result<Json<Vec<ImageShell>>, Failure> {
    let mut shells = Vec::new();
    for session in platform.sessions.all() {
        if session.user == caller.user {
            shells.push(view(&session).await?);
        }
    }
    Ok(Json(shells))
}

async fn view(session: &Session) -> Result<ImageShell, Failure> {
    let state = session.shell.state().await.map_err(WorkflowError::Session)?;
    Ok(ImageShell {
        id: session.id.clone(),
        image: session.image.name().to_string(),
        mode: match session.shell.plan().mode {
            Mode::Simple => ShellMode::Simple,
            Mode::Advanced => ShellMode::Advanced,
        },
        running: matches!(state, Some(Container::Created | Container::Running)),
        attached: session.used(),
        started_ms: session.started_ms,
        expires_ms: i64::try_from(session.expires_ms()).unwrap_or(i64::MAX),
    })
}

/// The caller's shell of that id, for the caller alone.
fn claimed(platform: &Shared, caller: &Caller, id: &str) -> Result<Claim, Failure> {
    let session = platform.sessions.get(id).filter(|session| session.user == caller.user);
    let Some(session) = session else {
        let error = ApiError::new(ErrorKind::NotFound, "There is no such shell any more.");
        return Err(error.with_tip("walt image sessions").into());
    };
    session.claim().ok_or_else(|| {
        let message =
            format!("The shell in image '{}' is used in another terminal.", session.image.name());
        ApiError::new(ErrorKind::Conflict, message).into()
    })
}

async fn discard(
    State(platform): State<Shared>,
    caller: Caller,
    Name(id): Name,
) -> Result<Json<Empty>, Failure> {
    let claim = claimed(&platform, &caller, &id)?;
    let work = platform.clone();
    let dropped = async move { shell::drop_now(&work, claim).await };
    let _ = platform.tasks.spawn("image shell", dropped).await;
    Ok(Json(Empty {}))
}

async fn attach(
    State(platform): State<Shared>,
    caller: Caller,
    Name(id): Name,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade.max_message_size(MAX_MESSAGE).on_upgrade(move |mut socket| async move {
        if let Err(Failure(error)) = join(&platform, &caller, &id, &mut socket).await {
            tell(&mut socket, &ServerMessage::Error(*error)).await;
        }
        let _ = socket.send(Message::Close(None)).await;
    })
}

async fn join(
    platform: &Shared,
    caller: &Caller,
    id: &str,
    socket: &mut WebSocket,
) -> Result<(), Failure> {
    let ClientMessage::Start(start) = first(socket).await? else {
        return Err(Failure::invalid("A shell session starts with 'start'."));
    };
    let claim = claimed(platform, caller, id)?;
    shell::entered(platform, &claim).await?;
    let state = claim.shell.state().await.map_err(WorkflowError::Session)?;
    let Some(state) = state.filter(|state| *state != Container::Ended) else {
        tell(socket, &ServerMessage::Ready).await;
        tell(socket, &ServerMessage::Exit { status: 0 }).await;
        return Ok(());
    };
    let terminal = start.tty.as_ref().map(|tty| term(&tty.term));
    let command = claim.shell.join(state, terminal).into_tokio();
    let mut program = Program::spawn(command, start.tty.as_ref())?;
    if !tell(socket, &ServerMessage::Ready).await {
        return Ok(());
    }
    let stopped = platform.tasks.token();
    let status = tokio::select! {
        status = program.talk(socket) => status,
        () = stopped.cancelled() => {
            return Err(ApiError::new(ErrorKind::Unavailable, "The server is stopping.").into());
        }
    };
    // It is nobody's before the client hears of the end: what it does next needs the shell.
    drop((program, claim));
    if let Some(status) = status {
        tell(socket, &ServerMessage::Exit { status }).await;
    }
    Ok(())
}

async fn save(
    State(platform): State<Shared>,
    caller: Caller,
    Name(id): Name,
    Body(request): Body<SaveShell>,
) -> Result<Response, Failure> {
    let claim = claimed(&platform, &caller, &id)?;
    let target = target(&platform, &claim, &request).await?;
    let tasks = platform.tasks.clone();
    Ok(events(&tasks, "image shell", |report| async move {
        carry_out(&platform, claim, target, &report).await.map(|()| None)
    }))
}

/// The turn of the name that the result gets; none: that of the image itself.
async fn target(
    platform: &Shared,
    claim: &Claim,
    request: &SaveShell,
) -> Result<Option<(ImageName, Turn)>, Failure> {
    if request.name == claim.image.name().to_string()
        || ImageName::existing(&request.name).is_ok_and(|name| name == *claim.image.name())
    {
        if request.confirmed {
            return Ok(None);
        }
        let message = overwriting(claim.image.name(), users(platform, &claim.image).len());
        return Err(ApiError::new(ErrorKind::ConfirmationNeeded, message).into());
    }
    let name: ImageName =
        request.name.parse().map_err(|error| Failure::invalid(format!("{error}")))?;
    let full = name.clone().owned_by(claim.user.clone());
    let catalogue = platform.images.catalogue();
    if catalogue.exists(&full).await.map_err(WorkflowError::Store)? {
        let message = format!("Error: Image '{name}' already exists.");
        return Err(ApiError::new(ErrorKind::Conflict, message).into());
    }
    Ok(Some((name, take(platform, &full, Task::Shell, &claim.user)?)))
}

/// What is said before an image gets new content.
pub(super) fn overwriting(image: &ImageName, nodes: usize) -> String {
    let effect = match nodes {
        0 => "no node boots it".to_owned(),
        1 => "1 node boots it and will be rebooted".to_owned(),
        nodes => format!("{nodes} nodes boot it and will be rebooted"),
    };
    format!("Warning: this replaces your image '{image}' ({effect}).")
}

async fn carry_out(
    platform: &Shared,
    claim: Claim,
    target: Option<(ImageName, Turn)>,
    report: &Reporter,
) -> Result<(), Failure> {
    report.send(Event::Label { text: "Saving the image".into() }).await;
    let new = shell::commit(platform, &claim).await?;
    let (image, turn) = match &target {
        Some((name, turn)) => (name.clone().owned_by(claim.user.clone()), turn),
        None => (claim.image.clone(), &claim.turn),
    };
    let origin = Origin {
        task: Task::Shell,
        by: claim.user.clone(),
        detail: match &target {
            Some(_) => format!("made from {}", claim.image.name()),
            None => String::new(),
        },
    };
    let named = async {
        shell::about_to_save(platform, &claim, &image, &new.id).await?;
        put(platform, turn, &image, &new.id, &origin, report).await
    }
    .await;
    killpoint::reached("shell: after the name");
    new.let_go(platform).await;
    let put = named?;
    // Both turns end here.
    shell::drop_now(platform, claim).await;
    let name = image.name();
    let text = match &target {
        Some(_) => format!("New image {name} saved.\n"),
        None => format!("Image {name} updated.\n"),
    };
    drop(target);
    report.send(Event::Out { text }).await;
    reboot_users(platform, put, report).await;
    Ok(())
}
