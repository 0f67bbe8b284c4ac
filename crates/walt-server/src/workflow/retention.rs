//! Deleting old log lines, as `server.conf` says.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use walt_logs::{Limit, Pruned, Retention, Timestamp};
use walt_model::Mac;
use walt_model::server_conf::{Logs, Quota};

use crate::platform::Platform;

/// Time between two looks at what is kept.
const PERIOD: Duration = Duration::from_secs(600);
/// Time before the first one, so that a start is not slowed down.
const FIRST: Duration = Duration::from_secs(5);

/// The limits of a configuration.
pub fn limits(conf: &Logs, server: Mac) -> Retention {
    let limit = |quota: Quota| Limit { age: quota.age, bytes: quota.size };
    Retention {
        server,
        platform: limit(conf.platform),
        console: limit(conf.console),
        experiment: limit(conf.experiment),
    }
}

/// Keeps the logs within these limits, until cancelled.
pub async fn run(platform: Arc<Platform>, retention: Retention, cancel: CancellationToken) {
    let none = Limit::default();
    if [retention.platform, retention.console, retention.experiment] == [none; 3] {
        return;
    }
    let mut wait = FIRST;
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = period();
        let done = tokio::select! {
            () = cancel.cancelled() => return,
            done = platform.logs.prune(retention, Timestamp::now()) => done,
        };
        match done {
            Ok(pruned) => pruned.iter().for_each(tell),
            Err(error) => tracing::warn!("old log lines could not be deleted: {error}"),
        }
    }
}

/// A test may not want to wait.
fn period() -> Duration {
    let given = std::env::var("WALT_LOG_RETENTION_SECONDS").ok();
    given.and_then(|text| text.parse().ok()).map_or(PERIOD, Duration::from_secs)
}

fn tell(pruned: &Pruned) {
    let before = jiff::Timestamp::from_microsecond(pruned.before.0).unwrap_or_default();
    tracing::info!(
        "log retention: {} lines ({} bytes) of class {} older than {before:.0} deleted",
        pruned.lines,
        pruned.bytes,
        pruned.class
    );
}
