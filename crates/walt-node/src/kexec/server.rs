//! What is asked of the server: who the node is, and its boot files.

use std::fmt::Display;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use walt_proto::pickle::{self, PickleReader};
use walt_proto::python::{self, PyValue};

use crate::ipxe::{Location, Protocol};

/// How long one connection may take to be made, and how long it may be silent.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest line of an answer, in bytes.
const LINE_MAX: u64 = 64 * 1024;

/// Most header lines of an HTTP answer.
const HEADERS_MAX: usize = 100;

/// The ports of a server; tests have their own.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// Calls.
    pub calls: u16,
    /// Streams, among them boot files.
    pub streams: u16,
    /// Boot files by HTTP.
    pub http: u16,
}

/// Those of every server.
pub const PORTS: Ports = Ports { calls: 12345, streams: 12347, http: 80 };

/// The server of this node, until everything must be done.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its ports.
    pub ports: Ports,
    /// When every wait ends.
    pub deadline: Instant,
}

/// What the server says of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its address in walt-net.
    pub ip: Ipv4Addr,
    /// Dotted.
    pub netmask: String,
    /// Empty without one.
    pub gateway: String,
    /// Its name.
    pub name: String,
    /// May it go over to another kernel without its firmware?
    pub kexec_allowed: bool,
}

/// A connection whose every wait is bounded.
struct Connection {
    stream: TcpStream,
    deadline: Instant,
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.deadline)?))?;
        self.stream.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                io::Error::new(io::ErrorKind::TimedOut, "the server is silent")
            }
            _ => error,
        })
    }
}

/// The bytes of a file to come, and how many there are if that is known.
type Answer = (BufReader<Connection>, Option<u64>);

fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()).min(PATIENCE) {
        Duration::ZERO => Err(io::Error::new(io::ErrorKind::TimedOut, "no time left")),
        time => Ok(time),
    }
}

impl Server {
    fn connect(&self, port: u16, question: &[u8]) -> io::Result<BufReader<Connection>> {
        let address = SocketAddr::from((self.ip, port));
        let mut stream = TcpStream::connect_timeout(&address, left(self.deadline)?)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(left(self.deadline)?))?;
        stream.write_all(question)?;
        Ok(BufReader::new(Connection { stream, deadline: self.deadline }))
    }

    /// What the server knows about the node with this address (call `get_device_info`).
    ///
    /// # Errors
    /// Why that is not known.
    pub fn node_info(&self, mac: &str) -> Result<NodeInfo, String> {
        // The original's programs switch to pickles; a literal is asked for if the pickle is not plain data.
        let answer = self.call(mac, true).or_else(|_| self.call(mac, false)).map_err(|error| {
            format!("the server did not say what it knows about {mac}: {error}")
        })?;
        node_info(&answer).ok_or_else(|| format!("{mac} is not a node for the server"))
    }

    fn call(&self, mac: &str, in_pickles: bool) -> io::Result<PyValue> {
        let call = PyValue::Tuple(vec![
            PyValue::str("API_CALL"),
            PyValue::str("get_device_info"),
            PyValue::Tuple(vec![PyValue::str(mac)]),
            PyValue::Dict(vec![]),
        ]);
        let mut question = b"10\nVSAPI\n".to_vec();
        if in_pickles {
            question.extend(b"('SET_MODE', 'pickle4')\n");
            question.extend(pickle::write(&call));
        } else {
            question.extend(python::repr(&call).bytes().chain(*b"\n"));
        }
        let mut answer = self.connect(self.ports.calls, &question)?;
        line(&mut answer)?;
        let message = if in_pickles {
            let mut pickles = PickleReader::default();
            loop {
                if let Some(message) = pickles.next_value().map_err(io::Error::other)? {
                    break message;
                }
                let chunk = answer.fill_buf()?;
                if chunk.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let length = chunk.len();
                pickles.feed(chunk);
                answer.consume(length);
            }
        } else {
            python::parse(&line(&mut answer)?).map_err(io::Error::other)?
        };
        match message.as_sequence() {
            Some([kind, value]) if kind.as_str() == Some("RESULT") => Ok(value.clone()),
            _ => Err(io::Error::other("the answer is not a result")),
        }
    }

    /// Fetches a boot file of the node and writes it there; gives its size.
    ///
    /// # Errors
    /// Why it is not there whole.
    pub fn fetch(
        &self,
        from: &Location,
        node: (&str, Ipv4Addr),
        limit: u64,
        to: &mut impl Write,
    ) -> Result<u64, String> {
        let (answer, size) = match from.protocol {
            Protocol::Http => self.get(&from.path, node.1),
            Protocol::Tftp => self.fake_tftp(&from.path, node.0),
        }?;
        if size.is_some_and(|size| size > limit) {
            return Err(too_large(limit));
        }
        let wanted = size.unwrap_or(limit.saturating_add(1));
        let read = io::copy(&mut answer.take(wanted), to).map_err(text)?;
        match size {
            Some(size) if read < size => Err(format!("cut after {read} bytes of {size}")),
            None if read > limit => Err(too_large(limit)),
            _ => Ok(read),
        }
    }

    fn get(&self, path: &str, ip: Ipv4Addr) -> Result<Answer, String> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let question = format!(
            "GET {}{separator}node_ip={ip} HTTP/1.0\r\nHost: {}\r\nPrefer: errors=text-only\r\nConnection: close\r\n\r\n",
            encoded(path),
            self.ip
        );
        let mut answer = self.connect(self.ports.http, question.as_bytes()).map_err(text)?;
        let status = line(&mut answer).map_err(text)?;
        let mut size = None;
        for _ in 0..HEADERS_MAX {
            let header = line(&mut answer).map_err(text)?;
            match header.split_once(':') {
                None => {
                    return match status.split(' ').nth(1) {
                        Some("200") => Ok((answer, size)),
                        Some("404") => Err("no such file".to_owned()),
                        _ => Err(format!("the server answered {status:.60}")),
                    };
                }
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    size = Some(value.trim().parse().map_err(text)?);
                }
                Some((name, _)) if name.eq_ignore_ascii_case("transfer-encoding") => {
                    return Err("the server sends it in pieces, which is not known here".to_owned());
                }
                Some(_) => {}
            }
        }
        Err("the answer has too many headers".to_owned())
    }

    fn fake_tftp(&self, path: &str, mac: &str) -> Result<Answer, String> {
        let mut answer = self.connect(self.ports.streams, b"12\n").map_err(text)?;
        if line(&mut answer).map_err(text)? != "READY" {
            return Err("the server is not ready to send boot files".to_owned());
        }
        let request =
            PyValue::dict([("node_mac", PyValue::str(mac)), ("path", PyValue::str(path))]);
        answer.get_mut().stream.write_all(&pickle::write(&request)).map_err(text)?;
        let said = line(&mut answer).map_err(text)?;
        if said != "OK" {
            return Err(said.chars().take(60).collect::<String>().to_lowercase());
        }
        let size = line(&mut answer).map_err(text)?.parse().map_err(text)?;
        Ok((answer, Some(size)))
    }
}

fn text(error: impl Display) -> String {
    error.to_string()
}

fn too_large(limit: u64) -> String {
    format!("larger than the {limit} bytes that are left for boot files")
}

/// A line without its end.
fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.take(LINE_MAX).read_line(&mut line)?;
    if !line.ends_with('\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

/// A path as HTTP has it. What is encoded already stays.
fn encoded(path: &str) -> String {
    let mut encoded = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => encoded.push(char::from(byte)),
            _ if b"/?%-._~!$&'()*+,;=:@".contains(&byte) => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn node_info(answer: &PyValue) -> Option<NodeInfo> {
    let text = |key: &str| answer.get(key).and_then(PyValue::as_str);
    let allowed = answer.get("conf").and_then(|conf| conf.get("kexec.allow"));
    Some(NodeInfo {
        ip: text("ip")?.parse().ok()?,
        netmask: text("netmask")?.to_owned(),
        gateway: text("gateway").unwrap_or_default().to_owned(),
        name: text("name")?.to_owned(),
        kexec_allowed: allowed != Some(&PyValue::Bool(false)),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server of one connection per answer: it gives that once it has read as many bytes as `asked`.
    fn serving(turns: Vec<Vec<(&'static [u8], Vec<u8>)>>) -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for turn in turns {
                let (mut stream, _) = listener.accept().unwrap();
                for (asked, answer) in turn {
                    let mut read = vec![0; asked.len()];
                    stream.read_exact(&mut read).unwrap();
                    assert_eq!(String::from_utf8_lossy(&read), String::from_utf8_lossy(asked));
                    stream.write_all(&answer).unwrap();
                }
            }
        });
        let ports = Ports { calls: port, streams: port, http: port };
        let deadline = Instant::now() + Duration::from_secs(20);
        Server { ip: Ipv4Addr::LOCALHOST, ports, deadline }
    }

    const MAC: &str = "52:54:00:01:02:03";
    const NODE: (&str, Ipv4Addr) = (MAC, Ipv4Addr::new(192, 168, 152, 20));

    fn fetched(server: &Server, from: &Location, limit: u64) -> Result<Vec<u8>, String> {
        let mut to = Vec::new();
        server.fetch(from, NODE, limit, &mut to).map(|size| {
            assert_eq!(size, to.len() as u64);
            to
        })
    }

    /// The bytes of the protocol description (7.5.1).
    const FAKE_TFTP: &[u8] =
        b"\x80\x04\x95\x39\0\0\0\0\0\0\0}\x94(\x8c\x08node_mac\x94\x8c\x1152:54:00:01:02:03\
        \x94\x8c\x04path\x94\x8c\x0b/start.ipxe\x94u.";

    #[test]
    fn fake_tftp() {
        let turn =
            |answer: &[u8]| vec![(&b"12\n"[..], b"READY\n".to_vec()), (FAKE_TFTP, answer.to_vec())];
        let server = serving(vec![
            turn(b"OK\n5\n12345 and more"),
            turn(b"NO SUCH FILE\n"),
            turn(b"OK\n5\n123"),
            turn(b"OK\n5\n12345"),
            turn(b"OK\n-1\n"),
        ]);
        let from = Location::tftp("/start.ipxe");
        assert_eq!(fetched(&server, &from, 10), Ok(b"12345".to_vec()));
        assert_eq!(fetched(&server, &from, 10), Err("no such file".to_owned()));
        assert_eq!(fetched(&server, &from, 10), Err("cut after 3 bytes of 5".to_owned()));
        assert!(fetched(&server, &from, 4).unwrap_err().contains("larger than the 4 bytes"));
        assert!(fetched(&server, &from, 4).is_err());
    }

    #[test]
    fn http() {
        let asked = b"GET /boot/QEMU/a%20(b)/%C3%A9%23?node_ip=192.168.152.20 HTTP/1.0\r\nHost: 127.0.0.1\r\n\
            Prefer: errors=text-only\r\nConnection: close\r\n\r\n";
        let turn = |answer: &[u8]| vec![(&asked[..], answer.to_vec())];
        let server = serving(vec![
            turn(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: y\r\n\r\nabc"),
            turn(b"HTTP/1.0 200 OK\r\n\r\nabcd"),
            turn(b"HTTP/1.0 200 OK\r\n\r\nabcdefghijk"),
            turn(b"HTTP/1.1 404 Not Found\r\n\r\nNo such file."),
            turn(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"),
            turn(b"HTTP/1.1 500 Oh\r\n\r\n"),
        ]);
        let from = Location { protocol: Protocol::Http, path: "/boot/QEMU/a (b)/é#".to_owned() };
        assert_eq!(fetched(&server, &from, 10), Ok(b"abc".to_vec()));
        assert_eq!(fetched(&server, &from, 10), Ok(b"abcd".to_vec()));
        assert!(fetched(&server, &from, 10).unwrap_err().contains("larger"));
        assert_eq!(fetched(&server, &from, 10), Err("no such file".to_owned()));
        assert_eq!(fetched(&server, &from, 10), Err("cut after 3 bytes of 9".to_owned()));
        assert!(fetched(&server, &from, 10).unwrap_err().contains("500"));
    }

    fn result(value: PyValue) -> PyValue {
        PyValue::Tuple(vec![PyValue::str("RESULT"), value])
    }

    fn info(conf: Vec<(&str, PyValue)>) -> PyValue {
        PyValue::dict([
            ("ip", PyValue::str("192.168.152.20")),
            ("netmask", PyValue::str("255.255.255.0")),
            ("gateway", PyValue::str("")),
            ("name", PyValue::str("vnode1")),
            ("conf", PyValue::dict(conf)),
        ])
    }

    /// The bytes of the protocol description (7.6).
    const IN_PICKLES: &[u8] =
        b"10\nVSAPI\n('SET_MODE', 'pickle4')\n\x80\x04\x95\x39\0\0\0\0\0\0\0(\x8c\x08API_CALL\x94\
        \x8c\x0fget_device_info\x94\x8c\x1152:54:00:01:02:03\x94\x85\x94}\x94t\x94.";
    const IN_LINES: &[u8] =
        b"10\nVSAPI\n('API_CALL', 'get_device_info', ('52:54:00:01:02:03',), {})\n";

    #[test]
    fn calls() {
        let pickled = |value| [b"10.0\n".to_vec(), pickle::write(&result(value))].concat();
        let server = serving(vec![
            vec![(IN_PICKLES, pickled(info(vec![])))],
            vec![(IN_PICKLES, pickled(info(vec![("kexec.allow", PyValue::Bool(false))])))],
            vec![(IN_PICKLES, pickled(PyValue::None))],
            // An object is refused; as a literal, the same is read.
            vec![(IN_PICKLES, b"10.0\n\x80\x04cposix\nsystem\n.".to_vec())],
            vec![(IN_LINES, format!("10.0\n{}\n", python::repr(&result(info(vec![])))).into())],
            vec![(IN_PICKLES, b"10.0\n".to_vec())],
            vec![(IN_LINES, b"10.0\n('RESULT', KeyError('x'))\n".to_vec())],
        ]);
        let node = server.node_info(MAC).unwrap();
        assert_eq!((node.ip, node.name.as_str(), node.kexec_allowed), (NODE.1, "vnode1", true));
        assert!(!server.node_info(MAC).unwrap().kexec_allowed);
        assert!(server.node_info(MAC).unwrap_err().contains("not a node"));
        assert!(server.node_info(MAC).unwrap().kexec_allowed);
        assert!(server.node_info(MAC).unwrap_err().contains("did not say"));
    }

    #[test]
    fn nothing_waits_for_ever() {
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = silent.local_addr().unwrap().port();
        let ports = Ports { calls: port, streams: port, http: port };
        let deadline = Instant::now() + Duration::from_millis(200);
        let server = Server { ip: Ipv4Addr::LOCALHOST, ports, deadline };
        assert!(server.node_info(MAC).is_err());
        assert!(fetched(&server, &Location::tftp("/x"), 10).is_err());
    }
}
