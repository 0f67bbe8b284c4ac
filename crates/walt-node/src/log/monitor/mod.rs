//! `walt-log-monitor`: a command that runs in a terminal of the daemon, whose output is logged too.
//!
//! The command and the daemon talk as those of the original do: a `MONITOR` line on the daemon's FIFO, then two FIFOs
//! for what the command reads and writes. Two further ones, which the original ignores, tell the daemon of a new size
//! of the window and the command of the exit status.

mod asker;
mod client;
mod command;
mod serve;

use std::path::PathBuf;

pub use client::client;
pub use serve::serve;

/// A command to watch, as the FIFO says it. All of it is claimed by who writes there: see [`asker`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Process of `walt-log-monitor`.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Height of its window.
    pub rows: u16,
    /// Width of its window.
    pub columns: u16,
}

/// What the FIFOs of one command are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// What the command reads.
    Stdin,
    /// What it writes.
    Stdout,
    /// `SIZE <rows> <columns>` to the daemon. Ours only.
    Control,
    /// The exit status, from the daemon. Ours only.
    Status,
}

const ROLES: [Role; 4] = [Role::Stdin, Role::Stdout, Role::Control, Role::Status];

/// Where the FIFO of a command is.
fn path(role: Role, pid: u32) -> PathBuf {
    let role = match role {
        Role::Stdin => "stdin",
        Role::Stdout => "stdout",
        Role::Control => "control",
        Role::Status => "status",
    };
    format!("/tmp/walt-monitor-{role}-{pid}.fifo").into()
}

/// Names under which a process may ask for a command to be watched.
fn is_monitor(word: &[u8]) -> bool {
    let name = word.rsplit(|byte| *byte == b'/').next().unwrap_or(word);
    name == b"walt-log-monitor" || name == b"walt-monitor"
}
