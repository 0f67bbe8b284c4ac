//! How late a line is on the screen of someone who looks at live logs: it is durable then.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use super::sender;
use crate::platform::Platform;

const STREAM: &str = "bench-mark";

/// Measures with `rate` other lines per second, or none. The delay that 99 lines in 100 do not exceed.
pub fn measure(platform: &Platform, rate: Option<u64>, time: Duration) -> Result<Duration> {
    let words = ["log", "show", "--realtime", "--issuers", "server", "--streams", STREAM];
    let mut show = platform.walt(words);
    show.args(["--format", "{line}"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut show = show.spawn()?;
    let output = show.stdout.take().context("no output")?;
    let seconds = time.as_secs().max(1);
    let mut marks = sender(platform, &["--marks", &seconds.to_string()], STREAM)?.spawn()?;
    let mut other = match rate {
        None => None,
        Some(rate) => {
            let (rate, lines) = (rate.to_string(), (rate * seconds).to_string());
            let words = ["--senders", "16", "--rate", &rate, "--lines", &lines];
            Some(sender(platform, &words, "bench-beside")?.spawn()?)
        }
    };
    let mut delays = Vec::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
        match line.strip_prefix("mark ") {
            Some("end") => break,
            Some(sent) => delays.push(now.saturating_sub(sent.parse()?) as u64),
            None => bail!("an unexpected line: {line}"),
        }
    }
    show.kill()?;
    show.wait()?;
    marks.wait()?;
    let mut behind = String::new();
    if let Some(other) = &mut other {
        let began = std::time::Instant::now();
        other.wait()?;
        let late = began.elapsed();
        if late > Duration::from_secs(1) {
            behind =
                format!("; the senders ended {} s late: the rate was not reached", late.as_secs());
        }
    }
    if delays.is_empty() {
        bail!("no live line came");
    }
    delays.sort_unstable();
    let at = |part: f64| {
        let index = ((delays.len() - 1) as f64 * part).round() as usize;
        delays[index] as f64 / 1000.0
    };
    let beside = rate.map_or("nothing".to_owned(), |rate| format!("{rate} lines/s"));
    println!(
        "from a sender to a live tail, durable, beside {beside}: p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms{behind}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    Ok(Duration::from_secs_f64(at(0.99) / 1000.0))
}
