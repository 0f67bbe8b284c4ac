//! The API on its Unix socket: handlers turn requests into workflows and answers into data.
//!
//! | file | what it answers |
//! | --- | --- |
//! | [`caller`] | who asks: the peer of the socket |
//! | [`gate`] | which nodes of a set the caller may touch |
//! | `node`, `boot`, `exec`, `console`, `files`, `device`, `settings`, `image`, `log`, `server` | the subjects |
//! | [`stream`], [`extract`], [`failure`] | event streams, typed requests, errors |

pub mod caller;
mod console;
mod device;
mod exec;
pub mod extract;
pub mod failure;
mod files;
pub mod gate;
mod image;
mod log;
mod log_files;
mod node;
mod node_save;
mod server;
mod settings;
mod sql;
pub mod stream;
mod view;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Method, Uri};
use axum::response::Response;
use axum::routing::{delete, get, post};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use walt_proto::api::{ApiError, ErrorKind, VERSION_HEADER, route};

use crate::platform::Platform;
use caller::Caller;
use failure::Failure;

/// Largest body of a request, transfers of files apart.
const MAX_BODY: usize = 256 * 1024;

/// What handlers share.
pub type Shared = Arc<Platform>;

/// All endpoints.
pub fn router(platform: Shared) -> Router {
    Router::new()
        .route(route::VERSION, get(server::version))
        .route(route::HEALTH, get(server::health))
        .route(route::NODES, get(node::list).post(node::create))
        .route(route::NODES_SELECT, named("select").post(node::select))
        .route(route::NODES_BOOT, named("boot").post(node::boot))
        .route(route::NODES_REBOOT, named("reboot").post(node::reboot))
        .route(route::NODES_WAIT, named("wait").post(node::wait))
        .route(route::NODES_ACQUIRE, named("acquire").post(node::acquire))
        .route(route::NODES_RELEASE, named("release").post(node::release))
        .route(route::NODE, get(node::show).delete(node::remove))
        .route(route::NODE_RENAME, post(node::rename))
        .route(route::NODE_SAVE, post(node_save::save))
        .route(route::NODE_BOOTS, get(node::boots))
        .route(route::NODE_PATH, get(files::look))
        .route(
            route::NODE_FILES,
            get(files::download).put(files::upload).layer(DefaultBodyLimit::disable()),
        )
        .route(route::NODE_EXEC, get(exec::exec))
        .route(route::NODE_CONSOLE, get(console::console))
        .route(route::DEVICES, get(device::list))
        .route(route::DEVICE_PING, post(device::ping))
        .route(route::SETTINGS, get(settings::list).post(settings::change))
        .merge(image::routes())
        .route(route::LOGS_QUERY, post(log::query))
        .route(route::LOGS_COUNT, post(log::count))
        .merge(log_files::routes())
        .route(route::SQL, post(sql::ask))
        .route(route::CHECKPOINTS, get(log::checkpoints).post(log::add_checkpoint))
        .route(route::CHECKPOINT, delete(log::remove_checkpoint))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::map_response(stamped))
        .with_state(platform)
}

/// A node may be called `boot` or `wait`: those words only mean something else in POST requests.
fn named(name: &'static str) -> axum::routing::MethodRouter<Shared> {
    get(move |platform, caller| node::show_named(platform, caller, name))
        .delete(move |platform, caller, query| node::remove_named(platform, caller, query, name))
}

async fn unknown(method: Method, uri: Uri) -> Failure {
    let message = format!("This server has no {method} {}.", uri.path());
    ApiError::new(ErrorKind::NotFound, message)
        .with_tip("is the client newer than the server?")
        .into()
}

async fn stamped(mut response: Response) -> Response {
    response.headers_mut().insert(
        HeaderName::from_static(VERSION_HEADER),
        HeaderValue::from_static(env!("CARGO_PKG_VERSION")),
    );
    response
}

/// Opens the socket: every user of the machine may connect, the peer's credentials tell who it is.
///
/// # Errors
/// The directory cannot be written, or the path is too long for a socket.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// Answers until cancelled; then new requests are refused and those under way have an instant to end.
///
/// # Errors
/// The socket broke.
pub async fn serve(
    listener: UnixListener,
    platform: Shared,
    cancel: CancellationToken,
) -> io::Result<()> {
    let app = router(platform).into_make_service_with_connect_info::<Caller>();
    let stop = cancel.clone();
    let served =
        axum::serve(listener, app).with_graceful_shutdown(async move { stop.cancelled().await });
    tokio::select! {
        result = served => result,
        () = async {
            cancel.cancelled().await;
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        } => Ok(()),
    }
}
