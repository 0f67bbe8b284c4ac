//! The senders: log lines to the port of nodes, as fast as they are taken or at a given rate.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};

/// Where the server listens in every platform of these tools.
const SERVER: (&str, u16) = ("192.168.152.1", 12347);
/// Lines written at once.
const BLOCK: u64 = 500;
/// Time between two marks.
const MARK: Duration = Duration::from_millis(20);

/// What to send.
#[derive(clap::Args)]
pub struct Load {
    /// Connections.
    #[arg(long, default_value_t = 1)]
    senders: u32,
    /// Lines, in all.
    #[arg(long, default_value_t = 0)]
    lines: u64,
    /// Lines per second, in all; 0: as fast as possible.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// The stream, or the start of the streams' names when there are several connections.
    #[arg(long)]
    stream: String,
    /// Date of the first line, seconds since 1970; the server dates them when it is not given.
    #[arg(long)]
    since: Option<u64>,
    /// Hours that the dates cover.
    #[arg(long, default_value_t = 1)]
    hours: u64,
    /// Send lines that tell when they were sent, for that many seconds.
    #[arg(long)]
    marks: Option<u64>,
}

/// The text of a line, with its newline.
pub fn text(n: u64) -> String {
    format!(
        "measure {n:>9} sensor={} node=rpi-{} value={}.{:02} unit=mW state=running\n",
        n % 40,
        n % 13,
        n % 997,
        n % 89
    )
}

/// Sends.
pub fn load(load: Load) -> Result<()> {
    if let Some(seconds) = load.marks {
        return marks(&load.stream, Duration::from_secs(seconds));
    }
    let each = load.lines / u64::from(load.senders);
    let threads: Vec<_> = (0..load.senders)
        .map(|number| {
            let stream = match load.senders {
                1 => load.stream.clone(),
                _ => format!("{}.{number}", load.stream),
            };
            let rate = load.rate as f64 / f64::from(load.senders);
            let dates = load
                .since
                .map(|since| (since as f64, load.hours as f64 * 3600.0 / each.max(1) as f64));
            std::thread::spawn(move || send(&stream, each, rate, dates))
        })
        .collect();
    for thread in threads {
        thread.join().map_err(|_| anyhow!("a sender failed"))??;
    }
    Ok(())
}

fn open(stream: &str, dated: bool) -> Result<TcpStream> {
    let mut connection = TcpStream::connect(SERVER)?;
    connection.set_nodelay(true)?;
    let mode = if dated { "TIMESTAMPS_INSIDE" } else { "NO_TIMESTAMPS" };
    write!(connection, "REQ_NEW_INCOMING_LOGS\n{stream}\n{mode}\n")?;
    Ok(connection)
}

/// Tells the server that all is sent, and waits until it has read all.
fn close(mut connection: TcpStream) -> Result<()> {
    connection.write_all(b"CLOSE\n")?;
    connection.shutdown(Shutdown::Write)?;
    let _ = connection.read(&mut [0])?;
    Ok(())
}

fn send(stream: &str, lines: u64, rate: f64, dates: Option<(f64, f64)>) -> Result<()> {
    let mut connection = open(stream, dates.is_some())?;
    // The same lines again and again: this program is to cost little beside the server.
    let undated: Vec<u8> = (0..BLOCK).flat_map(|n| text(n).into_bytes()).collect();
    let started = Instant::now();
    let mut sent = 0;
    while sent < lines {
        let count = BLOCK.min(lines - sent);
        match dates {
            Some((since, step)) => {
                let block: Vec<u8> = (sent..sent + count)
                    .flat_map(|n| {
                        format!("{:.6} {}", since + n as f64 * step, text(n)).into_bytes()
                    })
                    .collect();
                connection.write_all(&block)?;
            }
            None if count == BLOCK => connection.write_all(&undated)?,
            None => {
                let rest: Vec<u8> = (0..count).flat_map(|n| text(n).into_bytes()).collect();
                connection.write_all(&rest)?;
            }
        }
        sent += count;
        if rate > 0.0 {
            let due = Duration::from_secs_f64(sent as f64 / rate);
            std::thread::sleep(due.saturating_sub(started.elapsed()));
        }
    }
    close(connection)
}

fn marks(stream: &str, time: Duration) -> Result<()> {
    let mut connection = open(stream, false)?;
    let started = Instant::now();
    while started.elapsed() < time {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
        connection.write_all(format!("mark {now}\n").as_bytes())?;
        std::thread::sleep(MARK);
    }
    connection.write_all(b"mark end\n")?;
    close(connection)
}
