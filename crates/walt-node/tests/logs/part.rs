//! The program under test.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_walt-node");

/// Nothing here takes longer, on whatever machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Waits until it gives something.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not within the limit: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a tool that finds its server at this address.
pub fn tool(server: SocketAddr, words: &[&str], input: &str) -> Output {
    let mut child = Command::new(PROGRAM)
        .args(words)
        .env("walt_server_ip", server.ip().to_string())
        .env("walt_server_logs_port", server.port().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A tool that reads nothing may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// A daemon in a folder.
pub struct Daemon {
    child: Child,
    folder: PathBuf,
}

impl Daemon {
    pub fn start(folder: &Path, server: SocketAddr) -> Self {
        let place = |name: &str| folder.join(name).into_os_string();
        let child = Command::new(PROGRAM)
            .arg("walt-logs-daemon")
            .args(["--fifo".into(), place("fifo"), "--socket".into(), place("socket")])
            .args(["--spool".into(), place("spool")])
            .args(["--server", &server.to_string()])
            .spawn()
            .unwrap();
        let daemon = Self { child, folder: folder.to_owned() };
        eventually("the daemon listens", || daemon.fifo().exists().then_some(()));
        daemon
    }

    pub fn fifo(&self) -> PathBuf {
        self.folder.join("fifo")
    }

    pub fn write(&self, text: &str) {
        std::fs::OpenOptions::new()
            .write(true)
            .open(self.fifo())
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    /// What a program says on the socket, to its end: all of it is kept then.
    pub fn program(&self, text: &str) {
        let mut socket = UnixStream::connect(self.folder.join("socket")).unwrap();
        socket.write_all(text.as_bytes()).unwrap();
        socket.read_to_end(&mut Vec::new()).unwrap();
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn terminate(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A place to listen.
pub fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The next connection.
pub fn accept(listener: &TcpListener) -> TcpStream {
    let stream = listener.accept().unwrap().0;
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}
