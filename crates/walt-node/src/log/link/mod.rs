//! The one who sends what is in the spool: to a server that acknowledges, or to an original one.

mod acknowledged;
mod plain;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::server::Server;
use super::spool::SharedSpool;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Pause between two attempts.
const RETRY: Duration = Duration::from_secs(1);

/// How long a server that does not know our request is taken for an original one.
const PLAIN: Duration = Duration::from_secs(300);

/// Silent closes in a row that make a server an original one: more when it has answered before.
const SILENT_CLOSES: (u32, u32) = (2, 15);

/// How a connection ended.
enum End {
    /// The server closed without a word: it may be an original one.
    Unknown,
    /// The daemon stops.
    Stopping,
}

/// Says a failure when it begins, and when it is over.
struct Trouble(bool);

impl Trouble {
    fn is(&mut self, what: &io::Error) {
        if !std::mem::replace(&mut self.0, true) {
            eprintln!("no link to the server, log lines are kept: {what}");
        }
    }

    fn over(&mut self) {
        if std::mem::replace(&mut self.0, false) {
            eprintln!("the link to the server is back");
        }
    }
}

/// What is remembered of the server from one connection to the next.
#[derive(Default)]
struct Known {
    /// It has answered our request.
    knows_us: bool,
    /// Its clock minus ours, when it was last measured.
    offset: Option<i64>,
}

/// Sends until the daemon stops.
pub fn run(spool: &Arc<SharedSpool>, server: &Server) {
    let mut trouble = Trouble(false);
    let mut silent = 0;
    let mut known = Known::default();
    let mut plain = plain::Sender::default();
    while !spool.is_stopping() {
        let ended = connect(server)
            .and_then(|stream| acknowledged::run(stream, spool, &mut known, &mut trouble));
        match ended {
            Ok(End::Stopping) => return,
            Ok(End::Unknown) => {
                silent += 1;
                let needed = if known.knows_us { SILENT_CLOSES.1 } else { SILENT_CLOSES.0 };
                if silent >= needed {
                    (silent, known.knows_us) = (0, false);
                    plain.run(spool, server, Instant::now() + PLAIN, &mut trouble);
                    continue;
                }
            }
            Err(error) => {
                silent = 0;
                trouble.is(&error);
            }
        }
        pause(spool);
    }
}

fn pause(spool: &SharedSpool) {
    let end = Instant::now() + RETRY;
    while !spool.is_stopping() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Connects; a dead peer is found in about 25 s.
fn connect(server: &Server) -> io::Result<TcpStream> {
    use rustix::net::sockopt;
    let address: SocketAddr = server.address()?;
    let stream = TcpStream::connect_timeout(&address, CONNECT)?;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, Duration::from_secs(15))?;
    sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(2))?;
    sockopt::set_tcp_keepcnt(&stream, 5)?;
    sockopt::set_tcp_user_timeout(&stream, 25_000)?;
    Ok(stream)
}
