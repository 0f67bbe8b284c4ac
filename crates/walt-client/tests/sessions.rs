//! Commands and consoles of nodes against a fake WebSocket server.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::thread;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::{Message, WebSocket};

const NODE: &str = r#"[{"name":"n1","mac":"52:54:00:00:00:01","type":"virtual","model":"pc-x86-64",
    "image":"alice/img:latest","owner":"alice","ownership":"own","netsetup":"LAN","booted":true}]"#;

/// Answers the selection of the node, then hands the session over. The status, output and errors of the client.
fn session(
    words: &[&str],
    input: &[u8],
    play: impl FnOnce(WebSocket<UnixStream>, String) + Send + 'static,
) -> (i32, String, String) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let input = input.to_owned();
    let typing = thread::spawn(move || writer.write_all(&input).unwrap());
    let ended = session_of(words, reader.into(), play);
    typing.join().unwrap();
    ended
}

/// The same, with this as its standard input.
fn session_of(
    words: &[&str],
    input: Stdio,
    play: impl FnOnce(WebSocket<UnixStream>, String) + Send + 'static,
) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Head and body: closing with unread bytes would cut the answer.
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            let mut bytes = [0; 4096];
            let count = std::io::Read::read(&mut stream, &mut bytes).unwrap();
            request.extend_from_slice(&bytes[..count]);
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            NODE.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(NODE.as_bytes()).unwrap();
        drop(stream);
        let (stream, _) = listener.accept().unwrap();
        let mut path = String::new();
        #[allow(clippy::result_large_err)]
        let note = |request: &Request, response: Response| {
            path = request.uri().path().to_owned();
            Ok(response)
        };
        let session = tungstenite::accept_hdr(stream, note).unwrap();
        play(session, path);
    });
    let child = Command::new(env!("CARGO_BIN_EXE_walt"))
        .args(words)
        .env("WALT_SERVER", format!("unix:{}", socket.display()))
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    server.join().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn text(session: &mut WebSocket<UnixStream>) -> String {
    session.read().unwrap().into_text().unwrap().to_string()
}

#[test]
fn a_command_has_its_streams_and_its_status() {
    let input: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let expected = input.clone();
    let (status, out, err) =
        session(&["node", "run", "n1", "--", "cat", "-n"], &input, move |mut session, path| {
            assert_eq!(path, "/api/v1/nodes/n1/exec");
            let start = text(&mut session);
            assert_eq!(start, r#"{"type":"start","command":{"line":"cat -n"},"confirmed":true}"#);
            session.send(Message::text(r#"{"type":"ready"}"#)).unwrap();
            let mut received = Vec::new();
            loop {
                match session.read().unwrap() {
                    Message::Binary(bytes) => {
                        assert_eq!(bytes[0], 0);
                        received.extend_from_slice(&bytes[1..]);
                    }
                    Message::Text(text) if text.contains("eof") => break,
                    other => panic!("unexpected {other:?}"),
                }
            }
            assert_eq!(received, expected);
            session.send(Message::binary(b"\x01hello ".to_vec())).unwrap();
            session.send(Message::binary(b"\x02oops\n".to_vec())).unwrap();
            session.send(Message::binary(b"\x01world\n".to_vec())).unwrap();
            session.send(Message::text(r#"{"type":"brand_new"}"#)).unwrap();
            session.send(Message::text(r#"{"type":"exit","status":7}"#)).unwrap();
            let _ = session.close(None);
        });
    assert_eq!((status, out.as_str(), err.as_str()), (7, "hello world\n", "oops\n"));
}

#[test]
fn a_refused_session() {
    let (status, _, err) = session(&["node", "run", "n1", "true"], b"", |mut session, _| {
        text(&mut session);
        let refusal =
            r#"{"type":"error","kind":"unreachable","message":"Node n1 does not answer."}"#;
        session.send(Message::text(refusal)).unwrap();
        let _ = session.close(None);
    });
    assert_eq!((status, err.as_str()), (1, "Node n1 does not answer.\n"));
}

#[test]
fn a_session_that_is_cut_is_a_failure() {
    let (status, _, err) = session(&["node", "run", "n1", "true"], b"", |mut session, _| {
        text(&mut session);
        session.send(Message::text(r#"{"type":"ready"}"#)).unwrap();
    });
    assert_eq!(status, 1);
    assert!(err.contains("closed the session"), "{err}");
}

#[test]
fn a_closed_terminal_is_no_end_of_the_input() {
    use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = std::fs::File::open(std::path::Path::new(name.to_str().unwrap())).unwrap();
    let words = ["node", "run", "n1", "--", "cat"];
    let (status, _, err) = session_of(&words, slave.into(), move |mut session, _| {
        text(&mut session);
        session.send(Message::text(r#"{"type":"ready"}"#)).unwrap();
        rustix::io::write(&master, b"word\n").unwrap();
        assert_eq!(session.read().unwrap().into_data().as_ref(), b"\x00word\n");
        drop(master);
        match session.read() {
            Err(_) | Ok(Message::Close(_)) => {}
            Ok(other) => panic!("unexpected {other:?}"),
        }
    });
    assert_eq!((status, err.as_str()), (1, "The terminal was closed.\n"));
}

#[test]
fn a_console_in_a_pipe() {
    let (status, out, _) = session(&["node", "console", "n1"], b"\x01d\r", |mut session, path| {
        assert_eq!(path, "/api/v1/nodes/n1/console");
        assert_eq!(text(&mut session), r#"{"type":"attach","confirmed":true,"replay":0}"#);
        session.send(Message::text(r#"{"type":"ready"}"#)).unwrap();
        assert_eq!(session.read().unwrap().into_data().as_ref(), b"\x00\x01d\r");
        session.send(Message::binary(b"\x01login: ".to_vec())).unwrap();
        session.send(Message::text(r#"{"type":"exit","status":0}"#)).unwrap();
        let _ = session.close(None);
    });
    assert_eq!((status, out.as_str()), (0, "login: "));
}
