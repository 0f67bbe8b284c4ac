//! Queries for other names, passed on to the resolvers of the server.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long one resolver may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Largest answer taken over UDP.
const MAX_ANSWER: usize = 4096;

/// The protocol of a query: it is passed on by the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// Asks the resolvers in order; the first that answers wins. `query` is a correct query of one
/// question; its bytes go out as they are but for a fresh id.
pub(crate) async fn forward(
    query: &[u8],
    upstreams: &[SocketAddr],
    transport: Transport,
) -> Option<Vec<u8>> {
    let (id, question) = (query.get(..2)?, question(query)?);
    // The random generator of the library, which makes the ids of its own queries.
    let fresh = Message::query().metadata.id.to_be_bytes();
    let mut passed = query.to_vec();
    passed[..2].copy_from_slice(&fresh);
    for upstream in upstreams {
        let asked = async {
            match transport {
                Transport::Udp => over_udp(&passed, *upstream, question).await,
                Transport::Tcp => over_tcp(&passed, *upstream).await,
            }
        };
        match timeout(PATIENCE, asked).await {
            Ok(Ok(mut answer)) if is_answer(&answer, fresh, question) => {
                answer[..2].copy_from_slice(id);
                return Some(answer);
            }
            Ok(Ok(_)) => tracing::debug!(%upstream, "DNS: the answer is not for this question"),
            Ok(Err(error)) => {
                tracing::debug!(%upstream, %error, "DNS: the resolver cannot be asked")
            }
            Err(_) => tracing::debug!(%upstream, "DNS: no answer of the resolver"),
        }
    }
    None
}

async fn over_udp(query: &[u8], upstream: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr = match upstream {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(upstream).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; MAX_ANSWER];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Something else, perhaps forged: the true answer may still come.
        if is_answer(&buffer[..length], [query[0], query[1]], question) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn over_tcp(query: &[u8], upstream: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    write_message(&mut stream, query).await?;
    read_message(&mut stream).await
}

/// Reads a message and its two bytes of length (RFC 1035 section 4.2.2).
pub(crate) async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes a message after its length.
pub(crate) async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}

/// An answer with this id to this question (names compared without case).
fn is_answer(answer: &[u8], id: [u8; 2], asked: &[u8]) -> bool {
    answer.len() >= 12
        && answer[..2] == id
        && answer[2] & 0x80 != 0
        && question(answer).is_some_and(|found| found.eq_ignore_ascii_case(asked))
}

/// The bytes of the first question of a message.
fn question(message: &[u8]) -> Option<&[u8]> {
    let questions = message.get(12..)?;
    let mut at = 0;
    loop {
        match usize::from(*questions.get(at)?) {
            0 => return questions.get(..at + 5),
            // Nothing was said before that a pointer could point to.
            length if length > 63 => return None,
            length => at += length + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x06debian\x03org\0\0\x01\0\x01";

    #[test]
    fn answers_are_told_from_others() {
        let asked = question(QUERY).map(<[u8]>::to_vec).unwrap_or_default();
        assert_eq!(asked.len(), QUERY.len() - 12);
        let mut answer = QUERY.to_vec();
        assert!(!is_answer(&answer, [0x12, 0x34], &asked), "a query");
        answer[2] |= 0x80;
        assert!(is_answer(&answer, [0x12, 0x34], &asked));
        assert!(!is_answer(&answer, [0x12, 0x35], &asked));
        answer[13] = b'W';
        assert!(is_answer(&answer, [0x12, 0x34], &asked));
        answer[13] = b'x';
        assert!(!is_answer(&answer, [0x12, 0x34], &asked));
    }

    proptest! {
        #[test]
        fn random_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = question(&bytes);
            let _ = is_answer(&bytes, [0, 0], b"x");
        }
    }
}
