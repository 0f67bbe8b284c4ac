//! The first line of connections to ports 12345 and 12347: which request follows.

/// What a connection is for. The discriminant is the decimal identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the table of the protocol; each name says it all")]
pub enum StreamRequest {
    NewIncomingLogs = 0,
    DumpLogs = 1,
    SqlPrompt = 2,
    DockerPrompt = 3,
    NodeCmd = 4,
    DevicePing = 5,
    TarFromImage = 6,
    TarToImage = 7,
    TarFromNode = 8,
    TarToNode = 9,
    ApiSession = 10,
    TcpToNode = 11,
    FakeTftpGet = 12,
    VpnNodeImage = 13,
    NotifyBootupStatus = 14,
    DeviceShell = 15,
    TarForImageBuild = 16,
    /// Ours: the original has no such request, and closes.
    SpooledLogs = 100,
}

const TABLE: [(StreamRequest, &str); 18] = {
    use StreamRequest::*;
    [
        (NewIncomingLogs, "REQ_NEW_INCOMING_LOGS"),
        (DumpLogs, "REQ_DUMP_LOGS"),
        (SqlPrompt, "REQ_SQL_PROMPT"),
        (DockerPrompt, "REQ_DOCKER_PROMPT"),
        (NodeCmd, "REQ_NODE_CMD"),
        (DevicePing, "REQ_DEVICE_PING"),
        (TarFromImage, "REQ_TAR_FROM_IMAGE"),
        (TarToImage, "REQ_TAR_TO_IMAGE"),
        (TarFromNode, "REQ_TAR_FROM_NODE"),
        (TarToNode, "REQ_TAR_TO_NODE"),
        (ApiSession, "REQ_API_SESSION"),
        (TcpToNode, "REQ_TCP_TO_NODE"),
        (FakeTftpGet, "REQ_FAKE_TFTP_GET"),
        (VpnNodeImage, "REQ_VPN_NODE_IMAGE"),
        (NotifyBootupStatus, "REQ_NOTIFY_BOOTUP_STATUS"),
        (DeviceShell, "REQ_DEVICE_SHELL"),
        (TarForImageBuild, "REQ_TAR_FOR_IMAGE_BUILD"),
        (SpooledLogs, "REQ_SPOOLED_LOGS"),
    ]
};

impl StreamRequest {
    /// The decimal identifier.
    pub fn id(self) -> u8 {
        self as u8
    }

    /// The symbolic name.
    pub fn name(self) -> &'static str {
        TABLE.iter().find(|(request, _)| *request == self).map_or("", |(_, name)| name)
    }

    /// Reads a first line, decimal or symbolic, blanks around it ignored. `None` for an unknown request.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let word = line.trim_ascii();
        let by_name = TABLE.iter().find(|(_, name)| name.as_bytes() == word);
        let by_id = || {
            let digits = word.len() <= 3 && word.iter().all(u8::is_ascii_digit);
            let id: u8 = std::str::from_utf8(word).ok().filter(|_| digits)?.parse().ok()?;
            TABLE.iter().find(|(request, _)| request.id() == id)
        };
        by_name.or_else(by_id).map(|(request, _)| *request)
    }
}

/// Longest header line (request, stream name...) accepted, in bytes.
pub const HEADER_LINE_MAX: usize = 1024;

/// Reads header lines (request, name of the interface, name of the stream...) out of the start of a
/// connection, and loses nothing of what follows them.
#[derive(Debug, Default)]
pub struct HeaderReader {
    buffer: Vec<u8>,
}

/// A header line over [`HEADER_LINE_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the header line is over {HEADER_LINE_MAX} bytes")]
pub struct HeaderTooLong;

impl HeaderReader {
    /// Nothing received yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds received bytes.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next line without its line break, once it is complete.
    ///
    /// # Errors
    /// The line is too long: close the connection.
    pub fn line(&mut self) -> Result<Option<Vec<u8>>, HeaderTooLong> {
        let window = &self.buffer[..self.buffer.len().min(HEADER_LINE_MAX + 1)];
        match window.iter().position(|b| *b == b'\n') {
            Some(end) => {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                Ok(Some(line))
            }
            None if self.buffer.len() > HEADER_LINE_MAX => Err(HeaderTooLong),
            None => Ok(None),
        }
    }

    /// What was received after the lines already read.
    pub fn into_rest(self) -> Vec<u8> {
        self.buffer
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimal_and_symbolic() {
        for (index, (request, name)) in TABLE.iter().enumerate() {
            let id = if index < 17 { index } else { 100 };
            assert_eq!(usize::from(request.id()), id);
            assert_eq!(StreamRequest::parse(name.as_bytes()), Some(*request));
            assert_eq!(StreamRequest::parse(format!(" {id}\r").as_bytes()), Some(*request));
            assert_eq!(request.name(), *name);
        }
        for bad in [
            &b""[..],
            b"17",
            b"-1",
            b"+1",
            b"0x1",
            b"req_dump_logs",
            b"\xff",
            b"99999999999999999999",
        ] {
            assert_eq!(StreamRequest::parse(bad), None);
        }
    }

    #[test]
    fn pipelined_bytes_are_kept() {
        let mut header = HeaderReader::new();
        header.feed(b"REQ_NOTIFY_BOOTUP_STATUS\n\nmore");
        assert_eq!(header.line().unwrap().unwrap(), b"REQ_NOTIFY_BOOTUP_STATUS");
        assert_eq!(header.into_rest(), b"\nmore");
        let mut header = HeaderReader::new();
        header.feed(&[b'x'; HEADER_LINE_MAX]);
        assert_eq!(header.line(), Ok(None));
        header.feed(b"x");
        assert_eq!(header.line(), Err(HeaderTooLong));
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = StreamRequest::parse(&bytes);
        }
    }
}
