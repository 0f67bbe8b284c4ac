//! The console of a virtual node, over a WebSocket.

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use tokio::sync::broadcast::error::RecvError;
use walt_proto::api::error::GateMode;
use walt_proto::api::session::{Channel, ClientMessage, ServerMessage};
use walt_proto::api::{ApiError, ErrorKind};

use super::Shared;
use super::caller::Caller;
use super::exec::{MAX_MESSAGE, PING, first, give, tell};
use super::extract::Name;
use super::failure::Failure;
use super::gate;
use crate::platform::Platform;

/// Most bytes of past output given to a client that has just come.
const MAX_REPLAY: usize = 256 * 1024;

pub(super) async fn console(
    State(platform): State<Shared>,
    caller: Caller,
    Name(name): Name,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade.max_message_size(MAX_MESSAGE).on_upgrade(move |mut socket| async move {
        if let Err(Failure(error)) = session(&platform, &caller, &name, &mut socket).await {
            tell(&mut socket, &ServerMessage::Error(*error)).await;
        }
        let _ = socket.send(Message::Close(None)).await;
    })
}

async fn session(
    platform: &Platform,
    caller: &Caller,
    name: &str,
    socket: &mut WebSocket,
) -> Result<(), Failure> {
    let ClientMessage::Attach { confirmed, replay } = first(socket).await? else {
        return Err(Failure::invalid("A console session starts with 'attach'."));
    };
    let mode = GateMode::OwnedOrFree;
    let device = gate::one(platform, &caller.user, name, mode, confirmed)?;
    if !device.is_virtual {
        let message = format!("{name} is a real node: only virtual nodes have a console here.");
        return Err(Failure::invalid(message));
    }
    let Some(machine) = platform.machines.of(device.mac) else {
        let why = platform.machines.problem(device.mac).unwrap_or_else(|| "it is starting".into());
        let message = format!("The virtual machine of {name} does not run: {why}.");
        return Err(ApiError::new(ErrorKind::Unavailable, message).into());
    };
    let console = machine.console();
    // They end with the machine; the output does not, since we hold the console.
    let mut events = machine.events();
    drop(machine);
    let (past, mut output) = console.attach((replay as usize).min(MAX_REPLAY));
    if !tell(socket, &ServerMessage::Ready).await
        || (replay > 0 && !give(socket, Channel::Stdout, &past).await)
    {
        return Ok(());
    }
    let stopped = platform.tasks.token();
    let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + PING, PING);
    loop {
        tokio::select! {
            () = stopped.cancelled() => {
                return Err(ApiError::new(ErrorKind::Unavailable, "The server is stopping.").into());
            }
            received = output.recv() => match received {
                Ok(bytes) => {
                    if !give(socket, Channel::Stdout, &bytes).await {
                        return Ok(());
                    }
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return ended(socket).await,
            },
            event = events.recv() => match event {
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return ended(socket).await,
            },
            message = socket.recv() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    if let Some((Channel::Stdin, keys)) = Channel::split(&bytes) {
                        // A guest that is not running reads no keys.
                        let _ = console.write(keys).await;
                    }
                }
                Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
            },
            _ = ping.tick() => {
                if socket.send(Message::Ping(bytes::Bytes::new())).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// The node was removed.
async fn ended(socket: &mut WebSocket) -> Result<(), Failure> {
    tell(socket, &ServerMessage::Exit { status: 0 }).await;
    Ok(())
}
