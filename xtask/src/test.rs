//! `cargo xtask test`: everything that has to be true, on this machine, now.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command::{self, answer, cargo, program, repository, show, tool};
use crate::debian::Need;
use crate::progress::seconds;
use crate::report::Report;
use crate::{bench, checks, flake, fuzz, lanes, node_image, packages};

/// What to run.
#[derive(clap::Args)]
pub struct Options {
    /// Only the scenarios of `checks/` whose name contains this word, and nothing else.
    #[arg(long)]
    check: Option<String>,
    /// Only the fast part: format, lints, unit and integration tests.
    #[arg(long, conflicts_with = "check")]
    fast: bool,
    /// Name of the platform the scenarios run on: two runs at once need two names.
    #[arg(long, default_value = "test", value_parser = crate::platform::valid_name)]
    name: String,
    /// How many scenarios run at a time, each on a platform of its own [default: 2, or 1 with --check].
    #[arg(long)]
    lanes: Option<usize>,
}

/// Entry point of `cargo xtask test`.
pub fn run(options: Options) -> Result<()> {
    command::catch_interruptions()?;
    let started = Instant::now();
    packages::ensure(Need::Test)?;
    let mut report = Report::default();
    let outcome = run_all(&options, &mut report);
    if let Err(error) = outcome {
        report.failed.push(("test run".to_owned(), format!("{error:#}")));
    }
    summary(&mut report, started.elapsed())
}

fn run_all(options: &Options, report: &mut Report) -> Result<()> {
    if options.check.is_none() {
        static_checks(report)?;
        unit_tests(report)?;
        if !options.fast {
            fuzz_targets(report)?;
        }
    }
    if options.fast {
        return Ok(());
    }
    scenarios(options, report)
}

fn static_checks(report: &mut Report) -> Result<()> {
    report.run("format", || show(&mut cargo(["fmt", "--all", "--check"])))?;
    report.run("clippy", || {
        answer(&mut cargo([
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))
        .map(drop)
    })?;
    report.run("dependencies (cargo deny)", || {
        tool("cargo-deny", "cargo-deny")?;
        // Advisories need the network's database: `cargo deny check advisories` where there is one.
        answer(&mut cargo(["deny", "check", "bans", "licenses", "sources"])).map(drop)
    })?;
    report.run("shell scripts (shellcheck)", shell_scripts)?;
    report.run("nix files (syntax, format, dead code, lock)", flake::check)?;
    report.run("docs of the package list", || {
        let path = repository().join("docs/debian-packages.md");
        let written = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        if written != packages::markdown() {
            bail!("docs/debian-packages.md is old: cargo xtask packages --markdown > docs/debian-packages.md");
        }
        Ok(())
    })
}

fn shell_scripts() -> Result<()> {
    let tracked = answer(&mut program("git", ["ls-files"]))?;
    let scripts: Vec<PathBuf> =
        tracked.lines().map(|name| repository().join(name)).filter(|path| is_shell(path)).collect();
    answer(program("shellcheck", ["--external-sources", "--severity=warning"]).args(scripts))
        .map(drop)
}

fn is_shell(path: &Path) -> bool {
    let Ok(text) = fs::read(path) else { return false };
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    first.starts_with(b"#!") && (first.ends_with(b"sh") || first.ends_with(b"bash"))
}

fn fuzz_targets(report: &mut Report) -> Result<()> {
    report.run("fuzz targets, a few seconds each", || {
        let lines = fuzz::short()?;
        println!("\n     {}", lines.join("\n     "));
        Ok(())
    })
}

fn unit_tests(report: &mut Report) -> Result<()> {
    let log = folder()?.join("nextest.log");
    report.run("unit and integration tests (nextest)", || {
        tool("cargo-nextest", "cargo-nextest")?;
        let mut run = cargo(["nextest", "run", "--workspace", "--no-fail-fast", "--color=never"]);
        run.args(["--status-level=all", "--final-status-level=fail"]);
        run.stdout(fs::File::create(&log)?).stderr(fs::File::options().append(true).open(&log)?);
        show(&mut run).with_context(|| tail(&log))
    })?;
    report.done.extend(slowest_tests(&log));
    report.run("doc tests", || {
        answer(&mut cargo(["test", "--quiet", "--workspace", "--doc"])).map(drop)
    })
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(80)..].join("\n")
}

/// Every test that passed, with its time, from lines such as `PASS [   0.004s] crate test::name`.
fn slowest_tests(log: &Path) -> Vec<(String, Duration)> {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (time, name) = line.trim().strip_prefix("PASS [")?.split_once("s]")?;
            let time = Duration::try_from_secs_f64(time.trim().parse().ok()?).ok()?;
            Some((name.trim().to_owned(), time))
        })
        .collect()
}

fn folder() -> Result<PathBuf> {
    let folder = repository().join("target/walt-test");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn scenarios(options: &Options, report: &mut Report) -> Result<()> {
    let word = options.check.as_deref();
    let wanted: Vec<_> = checks::all()?
        .into_iter()
        .filter(|check| word.is_none_or(|word| check.name.contains(word)))
        .collect();
    if wanted.is_empty() {
        bail!("no check has `{}` in its name", word.unwrap_or_default());
    }
    if wanted.iter().any(|check| check.needs("arm64")) {
        report.run("node image for arm64", || node_image::build("arm64"))?;
    }
    let lanes = options.lanes.unwrap_or(if word.is_some() { 1 } else { 2 }).max(1);
    let platforms = lanes::platforms(&options.name, lanes, report)?;
    lanes::run(&wanted, &platforms, &folder()?, report);
    if word.is_none()
        && let Some(platform) = platforms.first()
    {
        report.run("bench, short", || bench::short(platform))?;
    }
    lanes::end(platforms, report)
}

fn summary(report: &mut Report, total: Duration) -> Result<()> {
    report.done.sort_by_key(|(_, duration)| std::cmp::Reverse(*duration));
    println!("\nSlowest:");
    for (name, duration) in report.done.iter().take(12) {
        println!("  {:>8}  {name}", seconds(*duration));
    }
    println!("Total: {}", seconds(total));
    for (name, why) in &report.unsteady {
        println!("UNSTEADY (passed when run again): {name}: {}", last_line(why));
    }
    for (name, why) in &report.failed {
        println!("FAILED: {name}: {}", last_line(why));
    }
    let unsteady = match report.unsteady.len() {
        0 => String::new(),
        count => format!(" ({count} of them unsteady)"),
    };
    println!("\n{} passed{unsteady}, {} failed", report.done.len(), report.failed.len());
    if report.failed.is_empty() { Ok(()) } else { bail!("{} failed", report.failed.len()) }
}

/// Where a check says what failed.
fn last_line(why: &str) -> &str {
    let told = why.lines().find(|line| line.contains("FAILED"));
    told.or(why.lines().next()).unwrap_or_default()
}
