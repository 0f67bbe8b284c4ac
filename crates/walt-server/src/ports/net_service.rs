//! Requests to the small service that nodes run on TCP port 12346.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
pub use walt_proto::net_service::{NetServiceError, NetServiceRequest};
use walt_proto::net_service::{PORT, REPLY_MAX, TIMEOUT, parse_reply};

/// Asks a node to reboot. It answers before it acts.
///
/// # Errors
/// Within 30 s, in words for users; see [`NetServiceError`].
pub async fn reboot(node: Ipv4Addr) -> Result<(), NetServiceError> {
    patiently(node, NetServiceRequest::Reboot).await
}

/// Asks a node to make its light blink, or to stop.
///
/// # Errors
/// Within 30 s, in words for users; see [`NetServiceError`].
pub async fn blink(node: Ipv4Addr, on: bool) -> Result<(), NetServiceError> {
    patiently(node, NetServiceRequest::Blink(on)).await
}

/// A node serves one connection at a time and listens again a second after it at worst.
async fn patiently(node: Ipv4Addr, wanted: NetServiceRequest) -> Result<(), NetServiceError> {
    let address = SocketAddr::from((node, PORT));
    for _ in 0..2 {
        match request(address, wanted, TIMEOUT).await {
            Err(NetServiceError::ConnectRefused) => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            other => return other,
        }
    }
    request(address, wanted, TIMEOUT).await
}

/// One request, `limit` being the time to connect and then the time to get the answer.
///
/// # Errors
/// See [`NetServiceError`].
pub async fn request(
    address: SocketAddr,
    request: NetServiceRequest,
    limit: Duration,
) -> Result<(), NetServiceError> {
    let mut stream = match timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
            return Err(NetServiceError::ConnectRefused);
        }
        // No way to a node that is off looks different from one kernel to the other.
        Ok(Err(_)) | Err(_) => return Err(NetServiceError::ConnectTimedOut),
    };
    let exchange = async {
        stream.write_all(request.encode()).await?;
        let mut line = Vec::new();
        BufReader::new(stream.take(REPLY_MAX as u64)).read_until(b'\n', &mut line).await?;
        std::io::Result::Ok(line)
    };
    match timeout(limit, exchange).await {
        Err(_) => Err(NetServiceError::ReplyTimedOut),
        Ok(Err(_)) => Err(NetServiceError::Broken),
        Ok(Ok(line)) if line.is_empty() => Err(NetServiceError::Broken),
        Ok(Ok(line)) => parse_reply(&line),
    }
}
