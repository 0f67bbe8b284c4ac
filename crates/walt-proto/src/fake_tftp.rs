//! Boot files over TCP (request 12), for programs that boot nodes without a real TFTP client.
//!
//! The server says `READY`, gets a pickled dict, and answers `OK`, the size, and the bytes, or one error line.

use crate::python::PyValue;
use std::net::Ipv4Addr;
use walt_model::Mac;

/// Sent as soon as the request line is read.
pub const READY: &[u8] = b"READY\n";

/// Sent when there is no such file for that node.
pub const NO_SUCH_FILE: &[u8] = b"NO SUCH FILE\n";

/// Sent when the request names no node.
pub const NO_NODE: &[u8] = b"NO MAC OR IP SPECIFIED\n";

/// Longest path accepted, in bytes.
pub const PATH_MAX: usize = 1024;

/// Whose file is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FakeTftpNode {
    /// That of the node with this MAC.
    Mac(Mac),
    /// That of the node with this address.
    Ip(Ipv4Addr),
}

/// A request of a boot file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeTftpRequest {
    /// Whose file.
    pub node: FakeTftpNode,
    /// Which one, `/start.ipxe`; unchecked.
    pub path: String,
}

/// Why a dict is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FakeTftpError {
    /// Neither `node_mac` nor `node_ip`, or unreadable ones: answer [`NO_NODE`].
    #[error("no node given")]
    NoNode,
    /// No path, or an absurd one: answer [`NO_SUCH_FILE`].
    #[error("no usable path given")]
    NoPath,
}

impl FakeTftpRequest {
    /// Reads the dict; `node_mac` wins over `node_ip`.
    ///
    /// # Errors
    /// See [`FakeTftpError`].
    pub fn from_python(value: &PyValue) -> Result<Self, FakeTftpError> {
        let text = |key: &str| value.get(key).and_then(PyValue::as_str);
        let node = match (text("node_mac"), text("node_ip")) {
            (Some(mac), _) => mac.parse().ok().map(FakeTftpNode::Mac),
            (None, Some(ip)) => ip.parse().ok().map(FakeTftpNode::Ip),
            (None, None) => None,
        };
        let node = node.ok_or(FakeTftpError::NoNode)?;
        let path = text("path").filter(|path| path.len() <= PATH_MAX && !path.contains('\0'));
        Ok(Self { node, path: path.ok_or(FakeTftpError::NoPath)?.to_owned() })
    }
}

/// What precedes the bytes of the file.
pub fn ok_header(size: u64) -> Vec<u8> {
    format!("OK\n{size}\n").into_bytes()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::pickle::PickleReader;

    /// The bytes of the protocol description.
    #[test]
    fn transcript() {
        let bytes = "80 04 95 39 00 00 00 00 00 00 00 7d 94 28 8c 08 6e 6f 64 65 5f 6d 61 63 94 8c 11 35 32 3a 35 34 3a 30 30 3a \
            30 31 3a 30 32 3a 30 33 94 8c 04 70 61 74 68 94 8c 0b 2f 73 74 61 72 74 2e 69 70 78 65 94 75 2e";
        let bytes: Vec<u8> =
            bytes.split_whitespace().map(|b| u8::from_str_radix(b, 16).unwrap()).collect();
        let mut reader = PickleReader::default();
        reader.feed(&bytes);
        let request = FakeTftpRequest::from_python(&reader.next_value().unwrap().unwrap()).unwrap();
        assert_eq!(request.node, FakeTftpNode::Mac(Mac([0x52, 0x54, 0, 1, 2, 3])));
        assert_eq!(request.path, "/start.ipxe");
        assert_eq!(ok_header(27), [0x4f, 0x4b, 0x0a, 0x32, 0x37, 0x0a]);
        assert_eq!(READY, [0x52, 0x45, 0x41, 0x44, 0x59, 0x0a]);
    }

    #[test]
    fn refusals() {
        let s = PyValue::str;
        let parse =
            |entries: Vec<(&str, PyValue)>| FakeTftpRequest::from_python(&PyValue::dict(entries));
        assert_eq!(parse(vec![("path", s("/x"))]), Err(FakeTftpError::NoNode));
        assert_eq!(
            parse(vec![("path", s("/x")), ("node_mac", s("zz"))]),
            Err(FakeTftpError::NoNode)
        );
        assert_eq!(parse(vec![("node_ip", s("10.0.0.1"))]), Err(FakeTftpError::NoPath));
        assert_eq!(
            parse(vec![("node_ip", s("10.0.0.1")), ("path", s("a\0b"))]),
            Err(FakeTftpError::NoPath)
        );
        let ip = parse(vec![("node_ip", s("10.0.0.1")), ("path", s("/x"))]).unwrap();
        assert_eq!(ip.node, FakeTftpNode::Ip(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(FakeTftpRequest::from_python(&PyValue::None), Err(FakeTftpError::NoNode));
    }
}
