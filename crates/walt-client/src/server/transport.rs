//! ureq over a Unix socket.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::config::Config;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Agent, Error};

/// An agent whose connections all go to that socket.
pub fn agent(socket: &Path) -> Agent {
    let config = Config::builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .user_agent(concat!("walt/", env!("CARGO_PKG_VERSION")))
        .build();
    Agent::with_parts(config, UnixConnector(socket.to_owned()), DefaultResolver::default())
}

#[derive(Debug)]
struct UnixConnector(PathBuf);

impl Connector<()> for UnixConnector {
    type Out = UnixTransport;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _chained: Option<()>,
    ) -> Result<Option<UnixTransport>, Error> {
        let stream = UnixStream::connect(&self.0)?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(UnixTransport { stream, buffers }))
    }
}

#[derive(Debug)]
struct UnixTransport {
    stream: UnixStream,
    buffers: LazyBuffers,
}

fn limit(timeout: NextTimeout) -> Option<Duration> {
    timeout.not_zero().map(|duration| *duration)
}

fn timed_out(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn hung_up(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

impl Transport for UnixTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.set_write_timeout(limit(timeout))?;
        let output = &self.buffers.output()[..amount];
        match self.stream.write_all(output) {
            Err(error) if timed_out(&error) => Err(Error::Timeout(timeout.reason)),
            // A server that refuses does not wait for the whole request: its answer can still be read.
            Err(error) if hung_up(&error) => Ok(()),
            result => Ok(result?),
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.set_read_timeout(limit(timeout))?;
        let input = self.buffers.input_append_buf();
        let amount = loop {
            match self.stream.read(input) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if timed_out(&error) => return Err(Error::Timeout(timeout.reason)),
                result => break result?,
            }
        };
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    /// Commands make few calls: a used connection is closed rather than looked at.
    fn is_open(&mut self) -> bool {
        false
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use ureq::SendBody;
    use ureq::http::Request;

    #[test]
    fn a_refusal_before_the_end_of_the_request_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("api.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                assert_eq!(stream.read(&mut byte).unwrap(), 1);
                head.push(byte[0]);
            }
            stream.write_all(b"HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\nno").unwrap();
        });
        let mut data = std::io::repeat(7).take(8 << 20);
        let request = Request::put("http://127.0.0.1/x").body(SendBody::from_reader(&mut data));
        let answer = agent(&socket).run(request.unwrap()).unwrap();
        assert_eq!(answer.status().as_u16(), 409);
        assert_eq!(answer.into_body().read_to_string().unwrap(), "no");
        server.join().unwrap();
    }

    #[test]
    fn a_server_that_says_nothing_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("api.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = std::thread::spawn(move || drop(listener.accept().unwrap()));
        let request = Request::get("http://127.0.0.1/x").body(SendBody::none()).unwrap();
        assert!(agent(&socket).run(request).is_err());
        server.join().unwrap();
    }
}
