//! TCP 12346, where the server is the client.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use walt_server::ports::net_service::{NetServiceError, NetServiceRequest, request};

const LIMIT: Duration = Duration::from_millis(300);

/// A node that answers so, and what it was asked; `None` answers nothing and stays.
async fn node(answer: Option<&'static [u8]>) -> (SocketAddr, tokio::task::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 19];
        stream.read_exact(&mut asked).await.unwrap();
        match answer {
            Some(answer) => stream.write_all(answer).await.unwrap(),
            None => tokio::time::sleep(Duration::from_secs(2)).await,
        }
        asked
    });
    (address, task)
}

#[tokio::test]
async fn reboot() {
    let (address, asked) = node(Some(b"OK\n")).await;
    assert_eq!(request(address, NetServiceRequest::Reboot, LIMIT).await, Ok(()));
    assert_eq!(asked.await.unwrap(), b"MODE single\nREBOOT\n");
}

#[tokio::test]
async fn failures_in_words() {
    for (answer, words) in [
        (
            &b"KO /bin/blink unavailable or not executable on image\n"[..],
            "/bin/blink unavailable or not executable on image",
        ),
        (b"what\n", "Node did not respond properly"),
        (b"", "Broken connection"),
    ] {
        let (address, _asked) = node(Some(answer)).await;
        let error = request(address, NetServiceRequest::Blink(true), LIMIT).await.unwrap_err();
        assert_eq!(error.to_string(), words);
    }
    let (address, _asked) = node(None).await;
    let error = request(address, NetServiceRequest::Reboot, LIMIT).await;
    assert_eq!(error, Err(NetServiceError::ReplyTimedOut));
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    assert_eq!(
        request(nobody, NetServiceRequest::Reboot, LIMIT).await,
        Err(NetServiceError::ConnectRefused)
    );
}
