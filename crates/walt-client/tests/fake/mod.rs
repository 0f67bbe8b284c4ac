//! A server that gives canned answers on a Unix socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

/// What a request is answered with: status, content type, body.
pub struct Answer {
    pub status: u16,
    pub kind: &'static str,
    pub body: String,
}

pub fn json(body: &str) -> Answer {
    Answer { status: 200, kind: "application/json", body: body.to_owned() }
}

pub fn events(lines: &[&str]) -> Answer {
    let body = lines.iter().map(|line| format!("{line}\n")).collect();
    Answer { status: 200, kind: "application/x-ndjson", body }
}

pub fn refusal(status: u16, error: &str) -> Answer {
    let body = format!(r#"{{"error":{error}}}"#);
    Answer { status, kind: "application/json", body }
}

type Handler = dyn Fn(&str, &str) -> Answer + Send + Sync;

pub struct FakeServer {
    folder: tempfile::TempDir,
    requests: Arc<Mutex<Vec<String>>>,
}

impl FakeServer {
    /// Answers each request, given as `GET /path` and its body.
    pub fn start(handler: impl Fn(&str, &str) -> Answer + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("api.sock")).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let handler: Arc<Handler> = Arc::new(handler);
        let log = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, log) = (Arc::clone(&handler), Arc::clone(&log));
                thread::spawn(move || serve(stream, &*handler, &log));
            }
        });
        Self { folder, requests }
    }

    /// Everything asked so far, as `POST /path body`.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub fn walt(&self, words: &[&str]) -> Run {
        self.walt_with_input(words, "")
    }

    pub fn walt_with_input(&self, words: &[&str], input: &str) -> Run {
        walt(words, input, Some(self.folder.path().join("api.sock")))
    }
}

/// Runs the client and gives what it did.
pub fn walt(words: &[&str], input: &str, socket: Option<PathBuf>) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_walt"));
    let socket = socket.unwrap_or_else(|| PathBuf::from("/nowhere/api.sock"));
    command.args(words).env("WALT_SERVER", format!("unix:{}", socket.display()));
    command.env("TZ", "UTC").env_remove("COLUMNS").env_remove("HOME");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that reads nothing may be over already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    Run::of(child.wait_with_output().unwrap())
}

#[derive(Debug)]
pub struct Run {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    fn of(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn serve(stream: UnixStream, handler: &Handler, log: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    if reader.read_line(&mut first).unwrap_or(0) == 0 {
        return;
    }
    let request: Vec<&str> = first.split_whitespace().take(2).collect();
    let request = request.join(" ");
    let (mut length, mut chunked) = (0, false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        chunked |= line == "transfer-encoding: chunked";
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    if chunked {
        body = read_chunks(&mut reader);
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    log.lock().unwrap().push(format!("{request} {body}").trim_end().to_owned());
    let answer = handler(&request, &body);
    let head = format!(
        "HTTP/1.1 {} X\r\ncontent-type: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        answer.status,
        answer.kind,
        answer.body.len()
    );
    let mut stream = stream;
    let _ =
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(answer.body.as_bytes()));
}

fn read_chunks(reader: &mut BufReader<UnixStream>) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let size = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&chunk[..size]);
    }
}
