//! What a tool of the boot has to say, in the log of the node: its standard output is often read by nobody.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Port of the log lines, on the server.
const PORT: u16 = 12347;

/// How long the server may take for each step.
const PATIENCE: Duration = Duration::from_secs(2);

/// Most lines kept, and most characters of each.
const LINES: usize = 200;
const LENGTH: usize = 1000;

/// Lines, printed at once and sent together.
pub struct Report {
    stream: &'static str,
    server: SocketAddr,
    lines: Vec<String>,
}

impl Report {
    /// For this stream of this server's log.
    pub fn new(stream: &'static str, server: Ipv4Addr) -> Self {
        Self { stream, server: (server, PORT).into(), lines: Vec::new() }
    }

    /// Says a line.
    pub fn line(&mut self, text: &str) {
        // Nobody has to read what is printed.
        let _ = writeln!(std::io::stdout(), "{text}");
        if self.lines.len() < LINES {
            let printable = |c: &char| !c.is_control();
            self.lines.push(text.chars().filter(printable).take(LENGTH).collect());
        }
    }

    /// Sends what was said since the last time. A server that is away has to do without.
    pub fn send(&mut self) {
        let mut text = format!("REQ_NEW_INCOMING_LOGS\n{}\nNO_TIMESTAMPS\n", self.stream);
        for line in self.lines.drain(..) {
            // A line of this word alone ends the connection.
            let line = if line == "CLOSE" { "CLOSE." } else { &line };
            text.push_str(line);
            text.push('\n');
        }
        text.push_str("CLOSE\n");
        let sent = || -> std::io::Result<()> {
            let mut stream = TcpStream::connect_timeout(&self.server, PATIENCE)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(text.as_bytes())?;
            // The server closes once it has everything.
            stream.read(&mut [0]).map(drop)
        };
        if let Err(error) = sent() {
            eprintln!("the log of the node did not get this: {error}");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn what_is_sent() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut report = Report::new("walt-test", Ipv4Addr::LOCALHOST);
        report.server = listener.local_addr().unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                let mut buffer = [0; 1000];
                while !text.ends_with("\nCLOSE\n") {
                    let read = stream.read(&mut buffer).unwrap();
                    text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
                }
                text.push('|');
            }
            text
        });
        report.line("a\nb\u{1b}");
        report.line("CLOSE");
        report.send();
        report.line("again");
        report.send();
        assert_eq!(
            reader.join().unwrap(),
            "REQ_NEW_INCOMING_LOGS\nwalt-test\nNO_TIMESTAMPS\nab\nCLOSE.\nCLOSE\n|\
             REQ_NEW_INCOMING_LOGS\nwalt-test\nNO_TIMESTAMPS\nagain\nCLOSE\n|"
        );
    }
}
