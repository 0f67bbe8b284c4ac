//! Runs the scenarios of `checks/`, each against the one platform of the test run.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command::{go_on, program, repository};
use crate::platform::Platform;

/// One run of one scenario.
#[derive(Debug)]
pub struct Check {
    /// `node-life`, or `node-life FIRMWARE=uefi` for a variant.
    pub name: String,
    script: PathBuf,
    /// How long it may take at most.
    pub limit: Duration,
    /// It looks at the whole machine: nothing else runs meanwhile.
    pub alone: bool,
    variable: Option<(String, String)>,
    needs: Vec<String>,
}

impl Check {
    /// Whether its header has a line `# needs: WHAT`.
    pub fn needs(&self, what: &str) -> bool {
        self.needs.iter().any(|need| need == what)
    }
}

/// Every scenario, with its variants, in the order of their names.
pub fn all() -> Result<Vec<Check>> {
    let mut scripts: Vec<PathBuf> = fs::read_dir(repository().join("checks"))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path().join("check.sh")))
        .filter(|script| script.is_file())
        .collect();
    scripts.sort();
    let mut checks = Vec::new();
    for script in scripts {
        checks.extend(of_script(&script)?);
    }
    if checks.is_empty() {
        bail!("no check found in {}", repository().join("checks").display());
    }
    Ok(checks)
}

fn of_script(script: &Path) -> Result<Vec<Check>> {
    let text = fs::read_to_string(script)?;
    let folder = script.parent().and_then(Path::file_name).context("a check has a folder")?;
    let folder = folder.to_string_lossy().into_owned();
    let header = |key: &str| {
        text.lines()
            .take_while(|line| line.starts_with('#'))
            .filter_map(move |line| line.strip_prefix("# ")?.strip_prefix(key)?.strip_prefix(": "))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let seconds = match header("timeout").first() {
        Some(text) => text.trim().parse().with_context(|| format!("timeout of {folder}"))?,
        None => 120,
    };
    let alone = !header("alone").is_empty();
    let check = |name: String, variable| Check {
        name,
        script: script.to_path_buf(),
        limit: Duration::from_secs(seconds),
        alone,
        variable,
        needs: header("needs"),
    };
    let variants = header("variant");
    if variants.is_empty() {
        return Ok(vec![check(folder, None)]);
    }
    variants
        .iter()
        .map(|variant| {
            let (name, value) = variant
                .split_once('=')
                .with_context(|| format!("variant of {folder} is not NAME=VALUE"))?;
            Ok(check(format!("{folder} {variant}"), Some((name.to_owned(), value.to_owned()))))
        })
        .collect()
}

/// Runs one check; its output goes to `log` and the end of it into the error.
pub fn run(check: &Check, platform: &Platform, log: &Path) -> Result<Duration> {
    let output = fs::File::create(log)?;
    let mut command = program("bash", [&check.script]);
    let tools = repository().join("checks/platform");
    for (name, value) in platform.environment() {
        let value = if name == "PATH" { format!("{}:{value}", tools.display()) } else { value };
        command.env(name, value);
    }
    command.env("WALT_CHECK_NAMESPACE", &platform.place.namespace);
    command.env("WALT_CHECK_STATE", &platform.place.state);
    command.env("WALT_CHECK_RUN", &platform.place.run);
    command.env("WALT_CHECK_REPOSITORY", repository());
    if let Some((name, value)) = &check.variable {
        command.env(name, value);
    }
    // A group of its own: what it started is ended with it.
    command.process_group(0).stdin(Stdio::null());
    command.stdout(output.try_clone()?).stderr(output);
    let mut child = command.spawn()?;
    let started = Instant::now();
    let outcome = loop {
        if let Some(status) = child.try_wait()? {
            break if status.success() { Ok(()) } else { Err(format!("ended with {status}")) };
        }
        if go_on().is_err() || started.elapsed() > check.limit {
            end_group(&mut child)?;
            go_on()?;
            break Err(format!("not finished after {} s", check.limit.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    match outcome {
        Ok(()) => Ok(started.elapsed()),
        Err(why) => {
            let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            bail!("{why}\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}

/// Ends a check that takes too long: politely first, so that it removes what it made.
fn end_group(child: &mut std::process::Child) -> Result<()> {
    use nix::sys::signal::{Signal, killpg};
    let group = nix::unistd::Pid::from_raw(i32::try_from(child.id())?);
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let _ = killpg(group, signal);
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(20) {
            if child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}
