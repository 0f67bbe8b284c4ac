//! `cargo xtask fuzz`: libFuzzer on every parser of what machines send, from the seeds in `fuzz/corpus`.
//!
//! The layout is that of cargo-fuzz (`cargo fuzz run NAME` works); the build is done here without it, on the
//! stable compiler, with coverage counters and no sanitizer: the code is safe Rust, faults are panics, hangs and memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::command::{self, cargo, program, repository, show};
use crate::debian::Need;
use crate::packages;

/// What to fuzz.
#[derive(clap::Args)]
pub struct Options {
    /// Only the targets whose name contains this word.
    #[arg(long)]
    target: Option<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Seconds for each target in a test run.
const SHORT: u64 = 5;
/// Memory a target may take, in MB: the bounds of the parsers are far below.
const MEMORY_MB: u32 = 512;
/// What cargo-fuzz passes too: counters on every edge, and the operands of comparisons.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-sanitizer-coverage-stack-depth";
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Entry point of `cargo xtask fuzz`.
pub fn run(options: Options) -> Result<()> {
    command::catch_interruptions()?;
    packages::ensure(Need::Test)?;
    for line in all(options.seconds, options.target.as_deref())? {
        println!("{line}");
    }
    Ok(())
}

/// Every target for a few seconds; a line about each.
pub fn short() -> Result<Vec<String>> {
    all(SHORT, None)
}

fn all(seconds: u64, word: Option<&str>) -> Result<Vec<String>> {
    let target_dir = repository().join("target/fuzz");
    let mut build = cargo(["build", "--quiet", "--release", "--bins", "--target", PLATFORM]);
    build.arg("--manifest-path").arg(repository().join("fuzz/Cargo.toml"));
    // The instrumentation is for the target: build scripts and macros are compiled without it.
    show(build.env("CARGO_TARGET_DIR", &target_dir).env("RUSTFLAGS", COVERAGE))?;
    let programs = target_dir.join(PLATFORM).join("release");
    let mut targets = Vec::new();
    for entry in fs::read_dir(repository().join("fuzz/targets"))? {
        let path = entry?.path();
        let name = path.file_stem().context("a target has a name")?.to_string_lossy().into_owned();
        if word.is_none_or(|word| name.contains(word)) {
            targets.push(name);
        }
    }
    if targets.is_empty() {
        bail!("no fuzz target has `{}` in its name", word.unwrap_or_default());
    }
    targets.sort();
    let mut lines = Vec::new();
    // Two at a time: each is one thread.
    for pair in targets.chunks(2) {
        let running: Vec<Fuzz> = pair
            .iter()
            .map(|name| Fuzz::start(name, &programs, &target_dir, seconds))
            .collect::<Result<_>>()?;
        for fuzz in running {
            lines.push(fuzz.end()?);
        }
    }
    Ok(lines)
}

/// One target at work.
struct Fuzz {
    name: String,
    child: std::process::Child,
    log: PathBuf,
}

impl Fuzz {
    fn start(name: &str, programs: &Path, work: &Path, seconds: u64) -> Result<Fuzz> {
        let seeds = repository().join("fuzz/corpus").join(name);
        if !seeds.is_dir() {
            bail!("fuzz target {name} has no seeds: {} is missing", seeds.display());
        }
        // New inputs go to the first folder; the seeds in the repository stay as they are.
        let found = work.join("found").join(name);
        fs::create_dir_all(&found)?;
        let log = work.join(format!("{name}.log"));
        let output = fs::File::create(&log)?;
        let mut command = program(&programs.join(name).to_string_lossy(), [&found, &seeds]);
        command.arg(format!("-max_total_time={seconds}"));
        command.arg(format!("-rss_limit_mb={MEMORY_MB}"));
        command.args(["-timeout=5", "-max_len=20000", "-print_final_stats=1"]);
        command.arg(format!("-artifact_prefix={}/{name}-", work.display()));
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("fuzz target {name}"))?;
        Ok(Fuzz { name: name.to_owned(), child, log })
    }

    fn end(mut self) -> Result<String> {
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if let Err(interrupted) = command::pause(Duration::from_millis(100)) {
                self.child.kill()?;
                self.child.wait()?;
                return Err(interrupted);
            }
        };
        let text = String::from_utf8_lossy(&fs::read(&self.log)?).into_owned();
        if !status.success() {
            let lines: Vec<&str> = text.lines().collect();
            bail!(
                "fuzz target {} ended with {status}\n{}",
                self.name,
                lines[lines.len().saturating_sub(40)..].join("\n")
            );
        }
        let runs = text
            .lines()
            .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
            .with_context(|| format!("fuzz target {} does not say what it did", self.name))?;
        Ok(format!("{:<12} {} inputs", self.name, runs.trim()))
    }
}
