//! Event streams: long operations told line by line.
//!
//! The work is a task of its own: a client that goes away stops listening, it does not stop a change
//! that has begun. Work that only waits looks at [`Reporter::gone`].

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc;
use walt_proto::api::{ApiError, ErrorKind, Event, NDJSON};

use super::failure::Failure;
use crate::tasks::Tasks;
use crate::workflow::Progress;

/// Without anything to say for that long, a tick.
const TICK: Duration = Duration::from_secs(10);
/// Events waiting for a slow client.
const QUEUE: usize = 256;

/// Where an operation tells its events.
#[derive(Clone, Debug)]
pub struct Reporter {
    events: mpsc::Sender<Event>,
}

impl Reporter {
    /// One, and what it tells.
    #[cfg(test)]
    pub fn pair() -> (Self, mpsc::Receiver<Event>) {
        let (events, receiver) = mpsc::channel(QUEUE);
        (Self { events }, receiver)
    }

    /// Tells an event. False when nobody listens any more.
    pub async fn send(&self, event: Event) -> bool {
        self.events.send(event).await.is_ok()
    }

    /// Tells an event if there is room: for progress, of which the next one says as much.
    pub fn hint(&self, event: Event) {
        let _ = self.events.try_send(event);
    }

    /// Answers when nobody listens any more.
    pub async fn gone(&self) {
        self.events.closed().await;
    }
}

impl Progress for Reporter {
    fn label(&self, text: &str) {
        self.hint(Event::Label { text: text.to_owned() });
    }

    fn warn(&self, text: &str) {
        self.hint(Event::Err { text: text.to_owned() });
    }

    fn amount(&self, what: &str, done: u64, total: Option<u64>) {
        let (what, unit) = (what.to_owned(), "bytes".to_owned());
        self.hint(Event::Progress { what, done, total, unit });
    }
}

/// Answers with the events of `work`, which ends with the exit status of a program it ran, if any.
pub fn events<F, W>(tasks: &Tasks, name: &'static str, work: F) -> Response
where
    F: FnOnce(Reporter) -> W,
    W: Future<Output = Result<Option<i32>, Failure>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(QUEUE);
    let reporter = Reporter { events: sender };
    let last = reporter.clone();
    let work = work(reporter);
    tasks.spawn(name, async move {
        let end = match work.await {
            Ok(exit) => Event::Done { exit },
            Err(Failure(error)) => Event::Error(*error),
        };
        last.send(end).await;
    });
    let lines = stream::unfold(State::Open(receiver), |state| async move {
        let State::Open(mut receiver) = state else { return None };
        let event = match tokio::time::timeout(TICK, receiver.recv()).await {
            Err(_) => Event::Tick,
            Ok(Some(event)) => event,
            // The work panicked: its sender is gone without an end.
            Ok(None) => Event::Error(ApiError::new(
                ErrorKind::Internal,
                "The server failed; its journal has the details.",
            )),
        };
        let line = Ok::<_, std::convert::Infallible>(Bytes::from(event.to_line()));
        let next = if event.is_last() { State::Closed } else { State::Open(receiver) };
        Some((line, next))
    });
    let headers = [(CONTENT_TYPE, NDJSON), (CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(lines)).into_response()
}

enum State {
    Open(mpsc::Receiver<Event>),
    Closed,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn lines(response: Response) -> Vec<Event> {
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        text.lines().map(|line| Event::from_line(line).unwrap()).collect()
    }

    #[tokio::test]
    async fn a_stream_ends_once() {
        let tasks = Tasks::new();
        let response = events(&tasks, "test", |report| async move {
            report.send(Event::Live).await;
            Ok(Some(3))
        });
        assert_eq!(lines(response).await, [Event::Live, Event::Done { exit: Some(3) }]);
    }

    #[tokio::test]
    async fn a_panic_is_told_as_a_failure() {
        let tasks = Tasks::new();
        let response = events(&tasks, "test", |_| async { panic!("on purpose") });
        assert!(matches!(lines(response).await.as_slice(), [Event::Error(_)]));
        assert_eq!(tasks.panics(), 1);
    }

    #[tokio::test]
    async fn the_work_goes_on_without_its_client() {
        let tasks = Tasks::new();
        let (done, is_done) = tokio::sync::oneshot::channel();
        let response = events(&tasks, "test", |report| async move {
            report.gone().await;
            done.send(report.send(Event::Live).await).unwrap();
            Ok(None)
        });
        drop(response);
        assert_eq!(is_done.await, Ok(false));
    }
}
