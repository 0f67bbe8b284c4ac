//! What 50 panels that refresh cost the ingest.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{ingest, send};
use crate::platform::Platform;

const CLIENTS: u64 = 50;
/// Each of them asks that often.
const PERIOD: Duration = Duration::from_secs(5);
const QUERY: &str =
    r#"{"history":"-5m:","issuers":"server","streams":"^bench-figure$","limit":1000}"#;

/// Ingest without and with polling, in turns: the best of each. How much it changed, percent.
pub fn measure(platform: &Platform, lines: u64) -> Result<f64> {
    send(platform, &["--lines", "300"], "bench-figure")?;
    let (mut without, mut with, mut asked) = (0f64, 0f64, 0);
    for _ in 0..2 {
        without = without.max(ingest(platform, 16, lines)?);
        let stop = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(AtomicU64::new(0));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (stop, answers) = (stop.clone(), answers.clone());
                let socket = platform.place.socket();
                std::thread::spawn(move || poll(&socket, number, &stop, &answers))
            })
            .collect();
        let rate = ingest(platform, 16, lines);
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().map_err(|_| anyhow::anyhow!("a client failed"))??;
        }
        with = with.max(rate?);
        asked += answers.load(Ordering::Relaxed);
    }
    let change = (with / without - 1.0) * 100.0;
    println!(
        "beside {CLIENTS} clients that ask for five minutes of a stream every {} s ({asked} answers): {with:.0} lines/s, \
         {without:.0} without, {change:+.0} %",
        PERIOD.as_secs()
    );
    Ok(change)
}

fn poll(socket: &Path, number: u64, stop: &AtomicBool, answers: &AtomicU64) -> Result<()> {
    // Not all at once.
    let mut next = Instant::now() + PERIOD * u32::try_from(number)? / u32::try_from(CLIENTS)?;
    while !stop.load(Ordering::Relaxed) {
        if Instant::now() < next {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        next += PERIOD;
        let answer = post(socket, "/api/v1/logs/query", QUERY)?;
        if !answer.contains("bench-figure") || !answer.contains("\"done\"") {
            bail!("a wrong answer: {}", answer.chars().take(300).collect::<String>());
        }
        answers.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// A request on the socket of the API: the body of the answer.
pub fn post(socket: &Path, path: &str, body: &str) -> Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    if !head.starts_with("HTTP/1.1 200") {
        bail!("{path}: {head}\n{body}");
    }
    Ok(body.to_owned())
}
