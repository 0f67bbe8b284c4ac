//! Log lines as an OTLP `ExportLogsServiceRequest` in JSON (OTLP 1.x, `opentelemetry/proto/logs/v1`). Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};
use walt_logs::LogLine;

/// The body of a request. Lines of one device are one resource, with its name as `host.name`.
pub(super) fn encode(lines: &[LogLine]) -> Bytes {
    let mut by_issuer: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for line in lines {
        by_issuer.entry(&line.issuer_name).or_default().push(record(line));
    }
    let resources: Vec<Value> = by_issuer
        .into_iter()
        .map(|(issuer, records)| {
            json!({
                "resource": {"attributes": [text("service.name", "walt"), text("host.name", issuer)]},
                "scopeLogs": [{
                    "scope": {"name": "walt", "version": env!("CARGO_PKG_VERSION")},
                    "logRecords": records,
                }],
            })
        })
        .collect();
    json!({ "resourceLogs": resources }).to_string().into()
}

fn record(line: &LogLine) -> Value {
    // Unsigned in OTLP: what is before 1970 has no time there.
    let time = u64::try_from(line.timestamp.0).unwrap_or(0).saturating_mul(1000);
    json!({
        "timeUnixNano": time.to_string(),
        "body": {"stringValue": &*line.line},
        "attributes": [
            text("walt.stream", line.stream.as_str()),
            {"key": "walt.seq", "value": {"intValue": line.seq.to_string()}},
        ],
    })
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}
