//! `walt node console`

use super::{selected_nodes, single};
use crate::command::{server, yes};
use crate::failure::{Failure, Outcome};
use crate::grammar::{Args, Command, Kind, Positional, YES};
use crate::terminal::confirm::wait_for_enter;
use crate::{output, session, terminal};
use walt_proto::api::node::NodeKind;
use walt_proto::api::route;
use walt_proto::api::session::ClientMessage;

/// The command.
pub const COMMAND: Command = Command {
    name: "console",
    about: "Connects to the console of a virtual node.\nWorks even when its network does not. <ctrl-a> <d> leaves.",
    example: "$ walt node console n1",
    positionals: &[Positional::required("node_name", Kind::Node)],
    switches: &[YES],
    topics: &["node-console"],
    run,
    ..Command::NEW
};

fn run(args: &Args) -> Outcome {
    let server = server()?;
    let node = single(selected_nodes(&server, args.positional(0), yes(args))?)?;
    if node.kind != NodeKind::Virtual {
        return Err(Failure::plain(format!(
            "{} is not a virtual node: it has no console.",
            node.name
        )));
    }
    let interactive = terminal::is_interactive();
    if interactive {
        output::line(&format!("About to connect to the console of {}.", node.name));
        output::line("Once connected, press <ctrl-a> then <d> to disconnect,");
        output::line("or <ctrl-a> then <a> to send a <ctrl-a> to the node.");
        output::line("Run `walt help show node-console` for more info.");
        if !wait_for_enter("Press <enter> to continue or <ctrl-c> to abort: ") {
            return Err(Failure::Aborted);
        }
        output::line("OK, connecting.");
    }
    let path = route::fill(route::NODE_CONSOLE, &node.name);
    let session = server.session(&path, &ClientMessage::Attach { confirmed: true, replay: 0 })?;
    if interactive {
        output::print("\x1b[2J\x1b[H");
    }
    let outcome = session::console(session, Keys::default());
    if interactive {
        // Colours and cursor back to normal, on a line of its own.
        output::print("\x1b[0m\x1b[?25h\r\n");
        output::line("Disconnected from console.");
    }
    outcome
}

/// ctrl-A.
const ESCAPE: u8 = 0x01;

/// Sequences of a node that would disturb the user's terminal: full reset, clear screen.
const UNWANTED: [&[u8]; 2] = [b"\x1bc", b"\x1b[2J"];

/// Escape keys on the way to the node, unwanted sequences on the way back. Both may be cut anywhere.
#[derive(Debug, Default)]
pub struct Keys {
    escaped: bool,
    /// Start of what may become an unwanted sequence.
    held: Vec<u8>,
}

impl Keys {
    /// Bytes to send for what was typed; true: the user wants to leave.
    pub fn press(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut sent = Vec::with_capacity(typed.len());
        for &byte in typed {
            match (std::mem::take(&mut self.escaped), byte) {
                (false, ESCAPE) => self.escaped = true,
                (false, byte) => sent.push(byte),
                (true, b'd') => return (sent, true),
                (true, b'a' | ESCAPE) => sent.push(ESCAPE),
                (true, _) => {}
            }
        }
        (sent, false)
    }

    /// What to show of the bytes of the node.
    pub fn filter(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(bytes.len() + self.held.len());
        for &byte in bytes {
            self.held.push(byte);
            while !self.held.is_empty() {
                if UNWANTED.contains(&self.held.as_slice()) {
                    self.held.clear();
                } else if UNWANTED.iter().any(|sequence| sequence.starts_with(&self.held)) {
                    break;
                } else {
                    shown.push(self.held.remove(0));
                }
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let mut keys = Keys::default();
        assert_eq!(keys.press(b"ls\r"), (b"ls\r".to_vec(), false));
        assert_eq!(keys.press(b"\x01"), (vec![], false));
        assert_eq!(keys.press(b"a"), (vec![1], false));
        assert_eq!(keys.press(b"x\x01\x01y\x01zw"), (b"x\x01yw".to_vec(), false));
        assert_eq!(keys.press(b"x\x01dmore"), (b"x".to_vec(), true));
    }

    #[test]
    fn unwanted_sequences_are_removed() {
        let mut keys = Keys::default();
        assert_eq!(keys.filter(b"a\x1bcb\x1b[2Jc\x1b[1md"), b"abc\x1b[1md");
        assert_eq!(keys.filter(b"a\x1b["), b"a");
        assert_eq!(keys.filter(b"2"), b"");
        assert_eq!(keys.filter(b"Jb\x1b[2K"), b"b\x1b[2K");
        assert_eq!(keys.filter(b"\x1b\x1bcx"), b"\x1bx");
    }
}
