//! `GET /metrics`: figures of the server in the text format of Prometheus.
//!
//! No name of a node, user or image is a label: the number of time series does not grow with the platform.

mod process;
mod text;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::{Response, StatusCode};
use walt_model::DeviceType;
use walt_netboot::http::{HttpBody, bytes_response};

use self::process::Process;
use self::text::Exposition;
use super::{Refusal, fresh};
use crate::counters::Files;
use crate::platform::Platform;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn answer(platform: &Platform) -> Result<Response<HttpBody>, Refusal> {
    let dir = platform.place.state_dir.clone();
    let kept = tokio::task::spawn_blocking(move || (Process::now(), Kept::in_dir(&dir)));
    let (process, kept) = kept.await.map_err(|error| Refusal::failed(&error))?;
    let mut text = Exposition::default();
    server(&mut text, platform);
    devices(&mut text, platform);
    services(&mut text, platform);
    logs(&mut text, platform, &kept);
    of_process(&mut text, &process);
    Ok(fresh(bytes_response(StatusCode::OK, CONTENT_TYPE, text.finish())))
}

fn server(text: &mut Exposition, platform: &Platform) {
    let version = [(env!("CARGO_PKG_VERSION"), 1.0)];
    text.gauges("walt_build_info", "Version of the server.", "version", &version);
    let problems = platform.problems.lock().len() as f64;
    text.gauge("walt_problems", "Parts of the server that are not as they should be.", problems);
    let panics = platform.tasks.panics();
    text.counter("walt_task_panics_total", "Tasks that failed by a bug.", panics);
    let running = platform.tasks.running() as f64;
    text.gauge("walt_tasks", "Tasks running.", running);
    let images = platform.images.catalogue().snapshot();
    text.gauge("walt_images", "Names of images in the store.", images.len() as f64);
    let used = platform.registry.images_in_use().len() as f64;
    text.gauge("walt_images_in_use", "Images nodes are to boot.", used);
}

fn devices(text: &mut Exposition, platform: &Platform) {
    let devices = platform.registry.devices();
    let of = |kind: DeviceType| devices.iter().filter(|device| device.kind == kind).count() as f64;
    let kinds = [
        (DeviceType::Server.as_str(), of(DeviceType::Server)),
        (DeviceType::Node.as_str(), of(DeviceType::Node)),
        (DeviceType::Switch.as_str(), of(DeviceType::Switch)),
        (DeviceType::Unknown.as_str(), of(DeviceType::Unknown)),
    ];
    text.gauges("walt_devices", "Devices, by type.", "type", &kinds);
    let nodes = devices.iter().filter(|device| device.node.is_some());
    let (booted, down): (Vec<_>, Vec<_>) =
        nodes.partition(|device| platform.presence.is_booted(device.mac));
    let states = [("booted", booted.len() as f64), ("down", down.len() as f64)];
    text.gauges("walt_nodes", "Nodes, by state.", "state", &states);
    let machines = devices.iter().filter(|device| device.is_virtual).count() as f64;
    text.gauge("walt_virtual_nodes", "Virtual nodes.", machines);
    text.counter("walt_boots_total", "Bootups of nodes.", read(&platform.counters.boots));
    text.counter("walt_downs_total", "Nodes that went down.", read(&platform.counters.downs));
}

fn services(text: &mut Exposition, platform: &Platform) {
    let counters = &platform.counters;
    let dhcp = &counters.dhcp;
    let answers = [
        ("offer", read(&dhcp.offer)),
        ("ack", read(&dhcp.ack)),
        ("nak", read(&dhcp.nak)),
        ("none", read(&dhcp.silent)),
    ];
    text.counters("walt_dhcp_answers_total", "Answers to DHCP clients.", "answer", &answers);
    let mut files = |protocol: &str, files: &Files| {
        let ends = [
            ("complete", read(&files.complete)),
            ("broken", read(&files.broken)),
            ("missing", read(&files.missing)),
            ("denied", read(&files.denied)),
        ];
        let name = format!("walt_{protocol}_files_total");
        text.counters(&name, "Boot files asked for, by outcome.", "outcome", &ends);
        let name = format!("walt_{protocol}_bytes_total");
        text.counter(&name, "Bytes of boot files sent.", read(&files.bytes));
    };
    files("tftp", &counters.tftp);
    files("http", &counters.http);
    let nfs = walt_nfs::calls();
    let calls =
        [("nfs3", nfs.nfs3), ("nfs4", nfs.nfs4), ("mount", nfs.mount), ("other", nfs.other)];
    text.counters("walt_nfs_calls_total", "Calls to the NFS server.", "protocol", &calls);
    let requests = read(&counters.web_requests);
    text.counter("walt_web_requests_total", "Requests to the web API and here.", requests);
    let lines = read(&counters.web_log_lines);
    text.counter("walt_web_log_lines_total", "Log lines sent by the web API.", lines);
}

fn logs(text: &mut Exposition, platform: &Platform, kept: &Kept) {
    let stats = platform.logs.stats();
    text.counter("walt_log_lines_total", "Log lines stored.", stats.written);
    let lost = [
        ("unknown-device", stats.unknown_issuer),
        ("queue-full", read(&platform.counters.log_lines_dropped)),
    ];
    text.counters("walt_log_lines_lost_total", "Log lines not stored.", "reason", &lost);
    let position = stats.last_seq as f64;
    text.gauge("walt_log_position", "Number of the last log line.", position);
    let sizes = [("logs", kept.logs as f64), ("platform", kept.platform as f64)];
    text.gauges("walt_database_bytes", "Size of the databases on disk.", "database", &sizes);
    if let Some(export) = &platform.otlp {
        export.describe(|name, help, value, grows| {
            if grows {
                text.counter(name, help, value);
            } else {
                text.gauge(name, help, value as f64);
            }
        });
    }
}

fn of_process(text: &mut Exposition, process: &Process) {
    let resident = process.resident as f64;
    text.gauge("process_resident_memory_bytes", "Resident memory.", resident);
    text.gauge("process_open_fds", "Open files.", process.files as f64);
    text.gauge("process_max_fds", "Most files that may be open.", process.max_files as f64);
    // A counter, though not a whole number.
    text.seconds("process_cpu_seconds_total", "Processor time.", process.cpu);
    text.gauge("process_start_time_seconds", "When the server started.", process.started);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Bytes of the databases, write-ahead logs included.
struct Kept {
    logs: u64,
    platform: u64,
}

impl Kept {
    fn in_dir(dir: &Path) -> Self {
        let size = |name: &str| {
            let sizes = ["", "-wal"].map(|suffix| {
                std::fs::metadata(dir.join(format!("{name}{suffix}"))).map_or(0, |file| file.len())
            });
            sizes.iter().sum()
        };
        Self { logs: size("logs.db"), platform: size("platform.db") }
    }
}
