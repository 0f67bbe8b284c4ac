//! The tasks of the server process: named, counted, contained.
//!
//! A panic in one task is caught, counted and logged; the process goes on. All tasks share one
//! [`CancellationToken`], and [`Tasks::stop`] waits for them with a limit.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A handle on all tasks of the server; cheap to clone.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    cancel: CancellationToken,
    panics: Arc<AtomicU64>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    /// No task yet.
    pub fn new() -> Self {
        Self::until(CancellationToken::new())
    }

    /// No task yet; all end when `cancel` is cancelled.
    pub fn until(cancel: CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), cancel, panics: Arc::new(AtomicU64::new(0)) }
    }

    /// The token cancelled when the server stops.
    pub fn token(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// How many tasks have panicked since the start.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// How many tasks are running.
    pub fn running(&self) -> usize {
        self.tracker.len()
    }

    /// Starts a task. `name` is what the log shows when it panics.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let panics = self.panics.clone();
        self.tracker.spawn(async move {
            if let Err(panic) = AssertUnwindSafe(future).catch_unwind().await {
                let total = panics.fetch_add(1, Ordering::Relaxed) + 1;
                tracing::error!(task = name, total, "a task panicked: {}", text_of(panic.as_ref()));
            }
        })
    }

    /// Starts a long service of which the error, if any, is logged.
    pub fn serve<F, E>(&self, name: &'static str, future: F) -> JoinHandle<()>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let cancel = self.cancel.clone();
        self.spawn(name, async move {
            match future.await {
                Err(error) => tracing::error!(service = name, "stopped: {error}"),
                Ok(()) if !cancel.is_cancelled() => {
                    tracing::warn!(service = name, "ended on its own");
                }
                Ok(()) => {}
            }
        })
    }

    /// Cancels everything and waits at most `limit`. Returns the number of tasks left behind.
    pub async fn stop(&self, limit: Duration) -> usize {
        self.cancel.cancel();
        self.tracker.close();
        let _ = tokio::time::timeout(limit, self.tracker.wait()).await;
        self.tracker.len()
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_counted_and_the_others_go_on() {
        let tasks = Tasks::new();
        let (send, receive) = tokio::sync::oneshot::channel();
        let _ = tasks.spawn("bad", async { panic!("on purpose") }).await;
        tasks.spawn("good", async move {
            let _ = send.send(7);
        });
        assert_eq!(receive.await, Ok(7));
        assert_eq!(tasks.panics(), 1);
        assert_eq!(tasks.stop(Duration::from_secs(1)).await, 0);
    }

    #[tokio::test]
    async fn stop_cancels_and_says_what_is_left() {
        let tasks = Tasks::new();
        let token = tasks.token();
        tasks.spawn("obedient", async move { token.cancelled().await });
        tasks.spawn("stubborn", std::future::pending());
        assert_eq!(tasks.stop(Duration::from_millis(50)).await, 1);
    }
}
