//! `GET /api/v1/logs`: written as it is read, so that a million lines need no memory.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use tokio::sync::mpsc;
use walt_logs::{Filter, LogLine, LogReader, TimeRange, Timestamp};
use walt_model::Regex;
use walt_netboot::http::{HttpBody, stream_body};

use super::query::{parameters, value};
use super::{Refusal, fresh};
use crate::platform::Platform;

/// Earliest time that can be asked for, seconds since the epoch (June 2012): what is before is a mistake of unit.
const EARLIEST: f64 = 1_340_000_000.0;
/// How far in the future a bound may be, in seconds: clocks differ.
const FUTURE: f64 = 2.0;
/// Bytes given to the connection at once.
const PIECE: usize = 64 << 10;
/// A client that takes nothing for that long is sent no more.
const STALLED: Duration = Duration::from_secs(60);
/// How long a client may take to see that its answer is cut.
const CUT: Duration = Duration::from_secs(5);

/// Unit of the times in the parameters and in the answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    Seconds,
    Milliseconds,
}

/// A request that was understood.
#[derive(Debug)]
struct Plan {
    range: TimeRange,
    unit: Unit,
    issuer: Option<String>,
    stream: Option<Regex>,
    limit: u64,
}

pub(super) async fn answer(
    platform: &Arc<Platform>,
    query: &str,
) -> Result<Response<HttpBody>, Refusal> {
    let plan = plan(query, Timestamp::now())?;
    let issuers = plan.issuer.as_ref().map(|name| {
        let device = platform.registry.by_name(name);
        device.map(|device| device.mac).into_iter().collect()
    });
    let filter = Filter { issuers, streams: plan.stream.clone(), ..Filter::default() };
    let reader = platform.logs.history(filter, plan.range).await;
    let reader = reader.map_err(|error| Refusal::failed(&error))?;
    let (pieces, body) = mpsc::channel(1);
    let stop = platform.tasks.token();
    let platform = platform.clone();
    let tasks = platform.tasks.clone();
    tasks.spawn("web logs", async move {
        let told = tokio::select! {
            told = tell(reader, &plan, &pieces) => told,
            () = pieces.closed() => Ok(0),
            () = stop.cancelled() => Err(io::Error::other("the server is stopping")),
        };
        match told {
            Ok(lines) => {
                platform.counters.web_log_lines.fetch_add(lines, Ordering::Relaxed);
            }
            // The connection is cut: what came is not the whole answer.
            Err(error) => cut(&pieces, error).await,
        }
    });
    let mut response = Response::new(stream_body(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(fresh(response))
}

/// Writes the whole answer; gives the number of lines. The number is at the end, where it is known.
async fn tell(
    mut reader: LogReader,
    plan: &Plan,
    pieces: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<u64> {
    let mut text = String::with_capacity(PIECE + 4096);
    text.push_str("{\"logs\": [");
    let mut lines = 0;
    'pages: while lines < plan.limit {
        let Some(page) = reader.next_page().await.map_err(io::Error::other)? else { break };
        for line in page {
            if lines == plan.limit {
                break 'pages;
            }
            text.push_str(if lines == 0 { "\n" } else { ",\n" });
            write_line(&mut text, &line, plan.unit);
            lines += 1;
            if text.len() >= PIECE {
                give(pieces, std::mem::take(&mut text)).await?;
            }
        }
    }
    text.push_str(&format!("], \"num_logs\": {lines}}}\n"));
    give(pieces, text).await?;
    Ok(lines)
}

/// Ends the answer before its end, once what was given before is taken.
async fn cut(pieces: &mpsc::Sender<io::Result<Bytes>>, error: io::Error) {
    let _ = tokio::time::timeout(CUT, pieces.send(Err(error))).await;
}

async fn give(pieces: &mpsc::Sender<io::Result<Bytes>>, text: String) -> io::Result<()> {
    match tokio::time::timeout(STALLED, pieces.send(Ok(text.into()))).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(io::Error::other("the client takes nothing")),
    }
}

fn write_line(text: &mut String, line: &LogLine, unit: Unit) {
    text.push_str("{\"timestamp\": ");
    write_time(text, line.timestamp.0, unit);
    for (name, value) in [
        (", \"line\": ", &*line.line),
        (", \"issuer\": ", &*line.issuer_name),
        (", \"stream\": ", line.stream.as_str()),
    ] {
        text.push_str(name);
        // Text always has a JSON form.
        text.push_str(&serde_json::to_string(value).unwrap_or_else(|_| "\"\"".to_owned()));
    }
    text.push('}');
}

/// Microseconds as a decimal number, exactly, always with a point.
fn write_time(text: &mut String, us: i64, unit: Unit) {
    let (scale, digits) = match unit {
        Unit::Seconds => (1_000_000, 6),
        Unit::Milliseconds => (1_000, 3),
    };
    let (sign, us) = if us < 0 { ("-", us.unsigned_abs()) } else { ("", us.unsigned_abs()) };
    let fraction = format!("{:0digits$}", us % scale);
    let fraction = match fraction.trim_end_matches('0') {
        "" => "0",
        some => some,
    };
    text.push_str(&format!("{sign}{}.{fraction}", us / scale));
}

fn plan(query: &str, now: Timestamp) -> Result<Plan, Refusal> {
    let parameters = parameters(query);
    let unit = match value(&parameters, "ts_unit") {
        None | Some("s") => Unit::Seconds,
        Some("ms") => Unit::Milliseconds,
        Some(other) => {
            return Err(Refusal::bad(format!(
                "invalid value '{other}' for parameter 'ts_unit': it should be 's' or 'ms'."
            )));
        }
    };
    let bound = |name: &str| {
        let text = value(&parameters, name)
            .ok_or_else(|| Refusal::bad(format!("parameter '{name}' is missing.")))?;
        instant(name, text, unit, now)
    };
    let range = TimeRange { start: Some(bound("from")?), end: Some(bound("to")?) };
    let stream = value(&parameters, "stream").map(|pattern| {
        // On its own first: `a)(b` is no expression, even though it would be one in parentheses.
        pattern.parse::<Regex>()?;
        format!("^({pattern})$").parse::<Regex>()
    });
    let stream = stream.transpose().map_err(|error| Refusal::bad(error.to_string()))?;
    let limit = match value(&parameters, "limit") {
        None => u64::MAX,
        Some(text) => text.parse().map_err(|_| {
            Refusal::bad(format!(
                "invalid value '{text}' for parameter 'limit': it should be a number of lines."
            ))
        })?,
    };
    let issuer = value(&parameters, "issuer").map(str::to_owned);
    Ok(Plan { range, unit, issuer, stream, limit })
}

fn instant(name: &str, text: &str, unit: Unit, now: Timestamp) -> Result<Timestamp, Refusal> {
    let number = serde_json::from_str::<f64>(text).ok().filter(|number| number.is_finite());
    let number = number.ok_or_else(|| {
        Refusal::bad(format!(
            "invalid value '{text}' for parameter '{name}': it should be a number."
        ))
    })?;
    let seconds = match unit {
        Unit::Seconds => number,
        Unit::Milliseconds => number / 1000.0,
    };
    if seconds < EARLIEST {
        return Err(Refusal::bad(format!(
            "ts_{name} is too old: no log is that old (is 'ts_unit' right?)."
        )));
    }
    if seconds > now.0 as f64 / 1e6 + FUTURE {
        return Err(Refusal::bad(format!(
            "ts_{name} is in the future: is it in milliseconds? (then use 'ts_unit=ms')."
        )));
    }
    // Between the bounds above: fits, and a double has a quarter of a microsecond there.
    Ok(Timestamp((seconds * 1e6).round() as i64))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

    #[tokio::test]
    async fn a_slow_client_sees_that_its_answer_is_cut() {
        let (pieces, mut body) = mpsc::channel(1);
        give(&pieces, "{\"logs\": [".to_owned()).await.unwrap();
        let cutting = tokio::spawn(async move { cut(&pieces, io::Error::other("stopped")).await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(body.recv().await.unwrap().is_ok());
        assert!(body.recv().await.expect("it looks whole").is_err());
        cutting.await.unwrap();
    }

    #[test]
    fn parameters_are_read() {
        let read = plan(
            "from=1700000000.25&to=1.8e9&issuer=n1&stream=a%7Cb&limit=5&unknown=1&ts_unit=",
            NOW,
        )
        .unwrap();
        assert_eq!(read.range.start, Some(Timestamp(1_700_000_000_250_000)));
        assert_eq!(read.range.end, Some(NOW));
        assert_eq!((read.unit, read.limit), (Unit::Seconds, 5));
        let stream = read.stream.unwrap();
        assert!(stream.is_match("a") && stream.is_match("b") && !stream.is_match("ab"));
        let read = plan("from=1700000000250.125&to=1800000000000&ts_unit=ms", NOW).unwrap();
        assert_eq!(read.range.start, Some(Timestamp(1_700_000_000_250_125)));
    }

    #[test]
    fn wrong_parameters_are_refused() {
        let to = "to=1800000000";
        for (query, said) in [
            ("to=1800000000".to_owned(), "parameter 'from' is missing."),
            ("from=1700000000".to_owned(), "parameter 'to' is missing."),
            (format!("from=NaN&{to}"), "invalid value 'NaN' for parameter 'from'"),
            (format!("from=1e999&{to}"), "invalid value '1e999'"),
            (format!("from=%221%22&{to}"), "it should be a number."),
            (format!("from=1339999999&{to}"), "ts_from is too old"),
            ("from=1700000000&to=1800000003".to_owned(), "ts_to is in the future"),
            (format!("from=1700000000000&{to}"), "(then use 'ts_unit=ms')"),
            (format!("from=1700000000&{to}&ts_unit=us"), "invalid value 'us'"),
            (format!("from=1700000000&{to}&stream=%28"), "Invalid regular expression: (."),
            (format!("from=1700000000&{to}&stream=a%29%28b"), "Invalid regular expression"),
            (format!("from=1700000000&{to}&limit=-1"), "invalid value '-1'"),
        ] {
            let found = plan(&query, NOW).unwrap_err().message;
            assert!(found.contains(said), "{query}: {found}");
        }
    }

    #[test]
    fn times_are_exact() {
        for (us, unit, shown) in [
            (1_700_000_000_000_001, Unit::Seconds, "1700000000.000001"),
            (1_700_000_000_250_000, Unit::Seconds, "1700000000.25"),
            (1_700_000_000_000_000, Unit::Seconds, "1700000000.0"),
            (1_700_000_000_000_001, Unit::Milliseconds, "1700000000000.001"),
            (-1, Unit::Seconds, "-0.000001"),
            (i64::MIN, Unit::Seconds, "-9223372036854.775808"),
        ] {
            let mut text = String::new();
            write_time(&mut text, us, unit);
            assert_eq!(text, shown);
        }
    }
}
