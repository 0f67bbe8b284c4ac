//! Feature commands of an image, run inside it by the OCI runtime podman uses.
//!
//! The original ran them in a bare chroot, as root of the server. Here an image's command gets its
//! own namespaces, no network, few capabilities and a deadline: it can change its image, nothing else.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::command::Command;
use crate::inject::ImageSpec;
use crate::layer::LayerReport;

/// Longest time a feature command may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// Largest file it may write, in bytes.
const FILE_LIMIT: u64 = 1 << 30;
/// Most memory of one of its processes, in bytes.
const MEMORY_LIMIT: u64 = 2 << 30;
/// Longest output kept in the report, in bytes.
const OUTPUT_LIMIT: usize = 2000;

/// Runs the command of every feature that the server has too, in the order of names. `work_dir` is a
/// scratch directory of ours, `name` a word unique on this machine.
pub async fn enable(
    runtime: &str,
    spec: &ImageSpec,
    server_features: &[String],
    root: &Path,
    work_dir: &Path,
    name: &str,
    report: &mut LayerReport,
) {
    for (feature, command) in &spec.features {
        if !server_features.contains(feature) {
            continue;
        }
        match run(runtime, command, root, work_dir, name).await {
            Ok(output) => report.done.push(format!("enabled feature {feature}: {output}")),
            Err(problem) => {
                report.warnings.push(format!("feature {feature} (`{command}`): {problem}"))
            }
        }
    }
}

async fn run(
    runtime: &str,
    command: &str,
    root: &Path,
    work_dir: &Path,
    name: &str,
) -> Result<String, String> {
    let bundle = work_dir.join("bundle");
    std::fs::create_dir_all(&bundle)
        .and_then(|()| {
            std::fs::write(bundle.join("config.json"), configuration(command, root).to_string())
        })
        .map_err(|error| format!("cannot write {}: {error}", bundle.display()))?;
    let state = work_dir.join("runtime");
    let invoke = |verb: &str| Command::new(runtime).arg("--root").arg(&state).arg(verb);
    let answer =
        invoke("run").arg("--bundle").arg(&bundle).arg(name).deadline(DEADLINE).run_any().await;
    // Whatever happened (a deadline kills the runtime, not the container), nothing is left.
    let _ = invoke("delete").arg("--force").arg(name).deadline(DEADLINE).run_any().await;
    let answer = answer.map_err(|error| error.to_string())?;
    let mut text = String::from_utf8_lossy(&answer.stdout).into_owned() + &answer.stderr;
    if text.len() > OUTPUT_LIMIT {
        let end = (0..=OUTPUT_LIMIT).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
        text.truncate(end);
    }
    if answer.status.success() { Ok(text) } else { Err(format!("{}: {text}", answer.status)) }
}

/// The OCI runtime specification of one command (opencontainers/runtime-spec, `config.json`).
fn configuration(command: &str, root: &Path) -> serde_json::Value {
    let capabilities =
        ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_SETGID", "CAP_SETUID"];
    json!({
        "ociVersion": "1.0.2",
        "hostname": "walt",
        "root": { "path": root, "readonly": false },
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "cwd": "/",
            "args": ["/bin/sh", "-c", command],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"],
            "noNewPrivileges": true,
            "rlimits": [
                { "type": "RLIMIT_FSIZE", "soft": FILE_LIMIT, "hard": FILE_LIMIT },
                { "type": "RLIMIT_AS", "soft": MEMORY_LIMIT, "hard": MEMORY_LIMIT },
                { "type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024 },
            ],
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "nodev", "noexec"] },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=1m"] },
        ],
        "linux": {
            "namespaces": [
                { "type": "pid" }, { "type": "mount" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" },
            ],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/sysrq-trigger", "/proc/timer_list"],
            "readonlyPaths": ["/proc/sys", "/proc/bus", "/proc/fs", "/proc/irq"],
        },
    })
}
