//! The HTTP service: connections, and the route `/boot/`.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RANGE,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::{bytes_response, error_response, only_reading};
use super::body::{FileBody, Report};
use super::query::{Part, boot_path, part, query_value};
use super::{Fallback, HttpBody, HttpConfig};
use crate::NetbootError;
use crate::files::{self, Content};
use crate::policy::{BootEvent, BootObservation, BootPolicy, FileDecision, FileRequest, Via};
use crate::quiet::Quiet;
use crate::socket::{self, Wanted};

/// A client that takes longer to send a request, or keeps an idle connection longer, is cut.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A client that acknowledges nothing for this long is gone.
const DEAD_PEER: Duration = Duration::from_secs(60);

/// A bound HTTP service.
pub struct HttpServer {
    config: HttpConfig,
    routes: Routes,
    listener: TcpListener,
}

/// What a connection answers with.
#[derive(Clone)]
struct Routes {
    /// Answers below `/boot/`; `None`: the pages do.
    policy: Option<Arc<dyn BootPolicy>>,
    fallback: Option<Fallback>,
}

impl HttpServer {
    /// Listens; without `fallback`, what is not under `/boot/` is answered 404.
    pub fn bind(
        config: HttpConfig,
        policy: Arc<dyn BootPolicy>,
        fallback: Option<Fallback>,
    ) -> Result<Self, NetbootError> {
        let wanted = Wanted { interface: config.interface.as_deref(), ..Wanted::default() };
        let listener = socket::tcp("HTTP", config.listen, wanted)?;
        Ok(Self { config, routes: Routes { policy: Some(policy), fallback }, listener })
    }

    /// Listens for `pages` only: there are no boot files.
    pub fn bind_pages(config: HttpConfig, pages: Fallback) -> Result<Self, NetbootError> {
        let wanted = Wanted { interface: config.interface.as_deref(), ..Wanted::default() };
        let listener = socket::tcp("HTTP", config.listen, wanted)?;
        Ok(Self { config, routes: Routes { policy: None, fallback: Some(pages) }, listener })
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` is cancelled; connections are then closed.
    pub async fn run(self, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(self.config.max_connections));
        let connections = TaskTracker::new();
        let broken = Quiet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = accept(&self.listener, &slots) => accepted,
            };
            let (stream, peer, slot) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // For instance no file descriptor left: wait for some to come back.
                    broken.warn("HTTP", self.config.listen, format_args!("cannot accept: {error}"));
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (routes, stop) = (self.routes.clone(), stop.clone());
            connections.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = routes.serve(stream, peer) => {}
                }
                drop(slot);
            });
        }
        connections.close();
        connections.wait().await;
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(DEAD_PEER))?;
    Ok((stream, SocketAddr::new(peer.ip().to_canonical(), peer.port()), slot))
}

impl Routes {
    async fn serve(self, stream: TcpStream, peer: SocketAddr) {
        let service = service_fn(|request| {
            let routes = self.clone();
            async move { Ok::<_, Infallible>(routes.answer(request, peer).await) }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(512 << 10)
            // Node loaders of old close their sending side once they have asked.
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%peer, %error, "HTTP connection ended");
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<HttpBody> {
        if let Some(policy) = &self.policy
            && request.uri().path().starts_with("/boot/")
        {
            return boot(policy, &request, peer).await;
        }
        match &self.fallback {
            Some(fallback) => fallback(request, peer).await,
            None => error_response(request.headers(), StatusCode::NOT_FOUND, "No such page."),
        }
    }
}

async fn boot(
    policy: &Arc<dyn BootPolicy>,
    request: &Request<Incoming>,
    peer: SocketAddr,
) -> Response<HttpBody> {
    let started = Instant::now();
    let wrong = |status, message: &str| error_response(request.headers(), status, message);
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return only_reading(request.headers());
    }
    let client = match (query_value(request.uri().query(), "node_ip"), peer.ip()) {
        (Some(text), _) => match text.parse::<Ipv4Addr>() {
            Ok(ip) => ip,
            Err(_) => return wrong(StatusCode::BAD_REQUEST, "node_ip is not an IPv4 address."),
        },
        (None, IpAddr::V4(ip)) => ip,
        (None, IpAddr::V6(_)) => {
            return wrong(
                StatusCode::BAD_REQUEST,
                "Use IPv4, or add ?node_ip=<IPv4 address of the node>.",
            );
        }
    };
    let path = request.uri().path();
    let (asked, place) = boot_path(path.strip_prefix("/boot/").unwrap_or(path));
    let place = match place {
        Ok(place) => place,
        Err(bad) => {
            let event =
                BootEvent::FileDenied { via: Via::Http, path: asked, reason: bad.to_string() };
            policy.observe(BootObservation::now(Some(client), None, event));
            return wrong(StatusCode::NOT_FOUND, "No such file.");
        }
    };
    let path = place.to_string();
    let wanted = FileRequest { place, asked, via: Via::Http, peer: peer.ip() };
    let content = match files::open(policy, client, &wanted).await {
        FileDecision::Missing => return wrong(StatusCode::NOT_FOUND, "No such file."),
        FileDecision::Denied(reason) => return wrong(StatusCode::FORBIDDEN, &reason),
        given => match Content::of(given) {
            Some(content) => content,
            None => return wrong(StatusCode::NOT_FOUND, "No such file."),
        },
    };

    let size = content.size();
    let range = request.headers().get(RANGE).and_then(|range| range.to_str().ok());
    let (status, start, end) = match part(range, size) {
        Part::Whole => (StatusCode::OK, 0, size),
        Part::Bytes(first, last) => (StatusCode::PARTIAL_CONTENT, first, last + 1),
        Part::Unsatisfiable => {
            let mut response =
                wrong(StatusCode::RANGE_NOT_SATISFIABLE, "The file has no such bytes.");
            insert(&mut response, CONTENT_RANGE, format!("bytes */{size}"));
            return response;
        }
    };
    let report = Report { policy: Arc::clone(policy), client, path, started };
    let mut response = if request.method() == Method::HEAD {
        let event = BootEvent::FileSized { via: Via::Http, path: report.path, size };
        policy.observe(BootObservation::now(Some(client), None, event));
        bytes_response(status, "", "")
    } else {
        let event =
            BootEvent::FileStart { via: Via::Http, path: report.path.clone(), size: end - start };
        policy.observe(BootObservation::now(Some(client), None, event));
        let mut response = Response::new(FileBody::new(content, start, end, report).boxed());
        *response.status_mut() = status;
        response
    };
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    insert(&mut response, CONTENT_LENGTH, (end - start).to_string());
    if status == StatusCode::PARTIAL_CONTENT {
        insert(&mut response, CONTENT_RANGE, format!("bytes {start}-{}/{size}", end - 1));
    }
    response
}

fn insert(response: &mut Response<HttpBody>, name: hyper::header::HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
}
