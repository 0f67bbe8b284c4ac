//! `cargo xtask bench logs`: ingest, live tail, search and size of the log store, each next to PostgreSQL.

mod load;
mod polling;
mod postgres;
mod tail;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command::answer;
use crate::platform::Platform;
use load::text;
pub use load::{Load, load};
use postgres::Postgres;

/// How many lines are measured with.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// Lines of one run of ingest.
    ingest: u64,
    /// Lines that are searched.
    search: u64,
    /// Lines given to PostgreSQL by batches.
    batches: u64,
    /// Lines per second while the delay of live lines is measured.
    rate: u64,
    /// How long that is measured.
    time: Duration,
    /// Fail when a target is missed: with few lines the start of everything weighs too much.
    targets: bool,
}

impl Amount {
    /// The usual amount, or the one of the tests.
    pub fn of(short: bool) -> Self {
        if short {
            let time = Duration::from_secs(2);
            let (batches, rate) = (30_000, 20_000);
            Self { ingest: 100_000, search: 200_000, batches, rate, time, targets: false }
        } else {
            let time = Duration::from_secs(20);
            let (batches, rate) = (500_000, 200_000);
            Self { ingest: 4_000_000, search: 10_000_000, batches, rate, time, targets: true }
        }
    }
}

/// What a search looks for: a line in a thousand.
const WANTED: &str = "sensor=17 .*value=[0-9]+7[0-9]\\.";
/// Lines that are searched cover this many hours; one of them is looked at.
const HOURS: u64 = 48;

/// Lines per second that are to be durable, with any number of senders.
const RATE_WANTED: f64 = 200_000.0;
/// Longest delay of 99 live lines in 100.
const DELAY_WANTED: Duration = Duration::from_millis(50);
/// Longest search of one hour.
const SEARCH_WANTED: Duration = Duration::from_secs(1);
/// How much of the ingest polling may cost, percent.
const POLLING_WANTED: f64 = 10.0;

/// Measures and prints.
///
/// # Errors
/// Something failed or, with the usual amount, a target was missed.
pub fn run(platform: &Platform, amount: Amount) -> Result<()> {
    println!("\nlogs: lines of {} bytes, through the port of nodes", text(0).len() - 1);
    println!(
        "\"durable\" is not the same on both sides: WalT-rs answers when a kill of the server loses nothing (SQLite, \
         synchronous=NORMAL; a power cut may lose the last moments), PostgreSQL when the disk has the lines (fsync at each \
         commit, one in {} batches)",
        postgres::TRANSACTION
    );
    let postgres = Postgres::start(&platform.place.run.join("postgres"))?;
    let theirs = postgres.ingest(amount.batches)?;
    println!("durable lines per second (PostgreSQL: batches of 512, as the original: {theirs:.0})");
    let mut missed = Vec::new();
    for senders in [1, 16, 64] {
        let ours = ingest(platform, senders, amount.ingest)?;
        println!("  {senders:>2} senders: {ours:.0} (ratio {:.1})", ours / theirs);
        if ours < RATE_WANTED {
            missed.push(format!("{ours:.0} lines/s of {senders} senders, not {RATE_WANTED}"));
        }
    }
    for rate in [None, Some(amount.rate)] {
        let delay = tail::measure(platform, rate, amount.time)?;
        if delay > DELAY_WANTED {
            missed.push(format!("p99 of live lines {delay:?}, not {DELAY_WANTED:?}"));
        }
    }
    let change = polling::measure(platform, amount.ingest)?;
    if change < -POLLING_WANTED {
        missed.push(format!("polling costs {:.0} % of the ingest, not {POLLING_WANTED}", -change));
    }
    let searched = search(platform, &postgres, amount)?;
    if searched > SEARCH_WANTED {
        missed.push(format!("one hour searched in {searched:?}, not {SEARCH_WANTED:?}"));
    }
    postgres.stop()?;
    match (missed.is_empty(), amount.targets) {
        (true, _) => println!("all targets are reached"),
        (false, false) => println!("not reached with so few lines: {}", missed.join("; ")),
        (false, true) => bail!("targets that are missed: {}", missed.join("; ")),
    }
    Ok(())
}

/// Sends lines and waits until all are committed: how many per second.
fn ingest(platform: &Platform, senders: u32, lines: u64) -> Result<f64> {
    let lines = lines / u64::from(senders) * u64::from(senders);
    let stream = format!("bench-{senders}");
    let before = count(platform, &stream)?;
    let started = Instant::now();
    send(platform, &["--senders", &senders.to_string(), "--lines", &lines.to_string()], &stream)?;
    flush(platform)?;
    let rate = lines as f64 / started.elapsed().as_secs_f64();
    let stored = count(platform, &stream)? - before;
    if stored != lines {
        bail!("{lines} lines were sent, {stored} are there");
    }
    Ok(rate)
}

fn send(platform: &Platform, words: &[&str], stream: &str) -> Result<String> {
    answer(sender(platform, words, stream)?.stdin(Stdio::null()))
}

fn sender(platform: &Platform, words: &[&str], stream: &str) -> Result<Command> {
    let this = std::env::current_exe()?;
    let mut command = platform.inside(&this.to_string_lossy());
    command.arg("log-load").args(words).args(["--stream", stream]);
    Ok(command)
}

/// Everything the server has received is committed when this returns.
fn flush(platform: &Platform) -> Result<()> {
    count(platform, "no such stream").map(drop)
}

fn count(platform: &Platform, stream: &str) -> Result<u64> {
    let query =
        format!(r#"{{"history":"full","issuers":"server","streams":"^{stream}([.][0-9]+)?$"}}"#);
    let answer = polling::post(&platform.place.socket(), "/api/v1/logs/count", &query)?;
    let answer: serde_json::Value = serde_json::from_str(&answer)?;
    answer["records"].as_u64().context("no count")
}

/// One hour among many, by a regular expression; then what a line takes on disk. The time of the search.
fn search(platform: &Platform, postgres: &Postgres, amount: Amount) -> Result<Duration> {
    let lines = amount.search;
    let size = |platform: &Platform| size(&platform.place.state);
    let before = size(platform)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let start = now - HOURS * 3600 - 60;
    let words = ["--senders", "8", "--lines", &lines.to_string(), "--since", &start.to_string()];
    let hours = ["--hours", &HOURS.to_string()];
    let started = Instant::now();
    send(platform, &[&words[..], &hours].concat(), "bench-search")?;
    flush(platform)?;
    let rate = lines as f64 / started.elapsed().as_secs_f64();
    println!("{lines} lines over {HOURS} hours, dated by their senders: {rate:.0} per second");
    let taken = size(platform)?.saturating_sub(before);

    postgres.fill(lines, start, HOURS)?;
    let (range_start, range_end) = (start + 20 * 3600, start + 21 * 3600);
    let name = format!("bench-{now}");
    for (end, at) in [("a", range_start), ("b", range_end)] {
        answer(
            platform
                .walt(["log", "add-checkpoint", &format!("{name}{end}")])
                .args(["--date", &format!("-{}s", now_seconds()? - at)]),
        )?;
    }
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    let mut found = (0, 0);
    for _ in 0..3 {
        let started = Instant::now();
        let history = format!("{name}a:{name}b");
        let words = ["log", "show", "--issuers", "server", "--streams", "^bench-search"];
        let shown = answer(platform.walt(words).args(["--history", &history, WANTED]))?;
        ours.push(started.elapsed());
        found.0 = shown.lines().count();
        let started = Instant::now();
        found.1 = postgres.search(range_start, range_end, WANTED)?;
        theirs.push(started.elapsed());
    }
    for end in ["a", "b"] {
        answer(&mut platform.walt(["log", "remove-checkpoint", &format!("{name}{end}")]))?;
    }
    ours.sort();
    theirs.sort();
    println!(
        "one hour of {HOURS} and a regular expression: {} ms, {} found (PostgreSQL: {} ms, {} found; ratio {:.1})",
        ours[1].as_millis(),
        found.0,
        theirs[1].as_millis(),
        found.1,
        theirs[1].as_secs_f64() / ours[1].as_secs_f64()
    );
    let (mine, other) = (taken as f64 / lines as f64, postgres.bytes_per_line()?);
    println!(
        "on disk: {mine:.0} bytes per line (PostgreSQL: {other:.0}, ratio {:.2})",
        mine / other
    );
    Ok(ours[1])
}

fn now_seconds() -> Result<u64> {
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs())
}

/// Bytes of the log database and of its write-ahead log, where the last lines are.
fn size(state: &Path) -> Result<u64> {
    let database = state.join("logs.db");
    answer(Command::new("sync").arg(&database))?;
    Ok(fs::metadata(&database)?.len() + fs::metadata(state.join("logs.db-wal"))?.len())
}
