//! Log lines: the tools that send them, and the daemon that keeps them until they are safe.

mod clock;
mod daemon;
mod fifo;
mod link;
mod local;
mod monitor;
mod sender;
mod server;
mod spool;
mod tools;

pub use daemon::run as daemon;
pub use monitor::client as monitor;
pub use tools::{cat, echo, tee};

/// A name of a stream, trimmed; `None` for what cannot be one.
fn stream_name(text: &str) -> Option<String> {
    let name = text.trim();
    let good = (1..=walt_proto::spooled::STREAM_NAME_MAX).contains(&name.len())
        && !name.contains(char::is_control);
    good.then(|| name.to_owned())
}
