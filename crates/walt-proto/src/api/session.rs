//! WebSocket sessions: node commands and shells ([`route::NODE_EXEC`](super::route::NODE_EXEC)) and consoles
//! ([`route::NODE_CONSOLE`](super::route::NODE_CONSOLE)).
//!
//! * Text messages are JSON: [`ClientMessage`] and [`ServerMessage`].
//! * Binary messages carry bytes: the first byte is the [`Channel`], the rest the data (at most [`MAX_DATA`]).
//!   Standard output and error are separate without a terminal, all on [`Channel::Stdout`] with one.
//!
//! The client's first message is [`ClientMessage::Start`] (exec) or [`ClientMessage::Attach`] (console). The server
//! answers [`ServerMessage::Ready`] when bytes may flow, or [`ServerMessage::Error`] and closes. A session ends with
//! [`ServerMessage::Exit`] after the last output byte, then a close. When the client goes away, the remote program is
//! hung up. The server sends a WebSocket ping every 30 s.

use super::error::ApiError;
use serde::{Deserialize, Serialize};

/// Largest number of data bytes in a binary message.
pub const MAX_DATA: usize = 64 * 1024;

/// First byte of a binary message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Channel {
    /// Client to server: input of the program, keys of a console.
    Stdin = 0,
    /// Server to client: output of the program, of its terminal, or of a console.
    Stdout = 1,
    /// Server to client: error output, when there is no terminal.
    Stderr = 2,
}

impl Channel {
    /// Channel of a first byte.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Stdin),
            1 => Some(Self::Stdout),
            2 => Some(Self::Stderr),
            _ => None,
        }
    }

    /// A binary message carrying `data`.
    pub fn frame(self, data: &[u8]) -> Vec<u8> {
        let mut message = Vec::with_capacity(1 + data.len());
        message.push(self as u8);
        message.extend_from_slice(data);
        message
    }

    /// Channel and data of a binary message; `None` when it is empty or its channel is unknown.
    pub fn split(message: &[u8]) -> Option<(Self, &[u8])> {
        let (first, data) = message.split_first()?;
        Some((Self::from_byte(*first)?, data))
    }
}

/// Text messages of the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientMessage {
    /// First message of an exec session.
    Start(Start),
    /// First message of a console session.
    Attach {
        /// The user accepted to disturb nodes of others.
        #[serde(default)]
        confirmed: bool,
        /// Bytes of past output to send first (0: only what comes from now on).
        #[serde(default)]
        replay: u32,
    },
    /// The terminal changed its size.
    Resize {
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
    },
    /// No more input: closes the program's standard input.
    Eof,
    /// A message added after this server was made.
    #[serde(other)]
    Unknown,
}

/// What to run on the node, as root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The program.
    pub command: Command,
    /// Give it a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tty: Option<Tty>,
    /// The user accepted to disturb nodes of others.
    #[serde(default)]
    pub confirmed: bool,
}

/// A program to run on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// A login shell.
    Shell,
    /// One string given to the remote shell, as `ssh` does with its joined arguments.
    Line(String),
    /// Exact arguments, quoted by the server for the remote shell.
    Argv(Vec<String>),
}

/// Terminal of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tty {
    /// Value of `TERM`.
    pub term: String,
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
}

/// Text messages of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// Bytes may flow.
    Ready,
    /// The program ended; no more bytes come.
    Exit {
        /// Its exit status, 128 + signal number when it was killed, 255 when the connection to the node was lost.
        status: i32,
    },
    /// The session failed.
    Error(ApiError),
    /// A message added after this client was made.
    #[serde(other)]
    Unknown,
}
