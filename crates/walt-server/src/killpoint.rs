//! Steps at which a test may have the server killed, to see what the next start makes of it.
//!
//! Only with `WALT_KILL_POINTS=1` in the environment of the server: when a file `<run_dir>/kill-at` names the step that
//! is reached, the file is removed and the process ends by SIGKILL. Else nothing is looked at.

use std::path::PathBuf;
use std::sync::OnceLock;

static WHERE: OnceLock<PathBuf> = OnceLock::new();

/// Enables the steps if the environment says so.
pub fn enable(run_dir: &std::path::Path) {
    if std::env::var_os("WALT_KILL_POINTS").is_some_and(|value| value == "1") {
        let _ = WHERE.set(run_dir.join("kill-at"));
    }
}

/// This step is reached.
pub fn reached(step: &str) {
    let Some(file) = WHERE.get() else { return };
    if std::fs::read_to_string(file).is_ok_and(|wanted| wanted.trim() == step) {
        let _ = std::fs::remove_file(file);
        tracing::warn!(step, "killed on purpose");
        let _ = nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::SIGKILL);
    }
}
