//! Scenarios side by side: each lane has a platform of its own and takes the next scenario when one is done.
//!
//! A scenario mostly waits for emulated machines of one processor: two lanes on two cores end in little more than half the time.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

use crate::binaries::{Binaries, Profile};
use crate::checks::{self, Check};
use crate::platform::{self, Place, Platform};
use crate::report::Report;

/// So many failures may be the machine's: emulated processors on one that is busy miss a deadline now and then.
const UNSTEADY_MAX: usize = 3;
use crate::{media, node_image};

/// Builds the programs and starts that many platforms, each from nothing: what an earlier run left must not decide what this one finds.
pub fn platforms(name: &str, lanes: usize, report: &mut Report) -> Result<Vec<Platform>> {
    let binaries = Binaries::build(Profile::Dev)?;
    let mut running = Vec::new();
    for lane in 1..=lanes {
        let name = if lane == 1 { name.to_owned() } else { format!("{name}-{lane}") };
        report.run(&format!("platform {name} for the checks"), || {
            let place = Place::named(&name);
            place.sweep()?;
            match fs::remove_dir_all(&place.state) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(error).with_context(|| place.state.display().to_string())?;
                }
                _ => {}
            }
            let mut platform = Platform::prepare(place, binaries.clone())?;
            node_image::ensure(&platform.place)?;
            media::ensure_parts()?;
            platform::install_loaders(&platform.place)?;
            platform.start_server()?;
            running.push(platform);
            Ok(())
        })?;
    }
    Ok(running)
}

/// Runs every check on one of the platforms; those that want to be alone come last, one at a time. The few that failed are
/// then run once more, with nothing beside them: what passes only then is reported as unsteady.
pub fn run(checks: &[Check], platforms: &[Platform], logs: &Path, report: &mut Report) {
    let (alone, mut beside): (Vec<&Check>, Vec<&Check>) =
        checks.iter().partition(|check| check.alone);
    // The longest first, so that the lanes end together; the queue is taken from its end.
    beside.sort_by_key(|check| check.limit);
    if platforms.len() > 1 {
        let queue = Mutex::new(beside);
        let merged = Mutex::new(Report::default());
        std::thread::scope(|scope| {
            for platform in platforms {
                scope.spawn(|| {
                    let mut mine = Report::default();
                    lane(&queue, platform, logs, &mut mine);
                    if let Ok(mut merged) = merged.lock() {
                        merged.merge(mine);
                    }
                });
            }
        });
        match merged.into_inner() {
            Ok(merged) => report.merge(merged),
            Err(_) => report.failed.push(("lanes".to_owned(), "a lane panicked".to_owned())),
        }
    } else if let Some(platform) = platforms.first() {
        lane(&Mutex::new(beside), platform, logs, report);
    }
    if let Some(platform) = platforms.first() {
        lane(&Mutex::new(alone), platform, logs, report);
        if report.failed.len() <= UNSTEADY_MAX {
            again(checks, platform, logs, report);
        }
    }
}

fn again(checks: &[Check], platform: &Platform, logs: &Path, report: &mut Report) {
    for check in checks {
        let outcome = report.again(&title(check), || {
            checks::run(check, platform, &log(check, logs, "-again")).map(drop)
        });
        if outcome.is_err() {
            return;
        }
    }
}

fn title(check: &Check) -> String {
    format!("check: {}", check.name)
}

fn log(check: &Check, logs: &Path, ending: &str) -> PathBuf {
    logs.join(format!("{}{ending}.log", check.name.replace([' ', '='], "-")))
}

fn lane(queue: &Mutex<Vec<&Check>>, platform: &Platform, logs: &Path, report: &mut Report) {
    loop {
        let next = queue.lock().map(|mut queue| queue.pop());
        let Ok(Some(check)) = next else { return };
        let log = log(check, logs, "");
        let outcome =
            report.run_beside(&title(check), || checks::run(check, platform, &log).map(drop));
        if outcome.is_err() {
            return;
        }
    }
}

/// Stops the platforms; whatever is left of them is a failure.
pub fn end(platforms: Vec<Platform>, report: &mut Report) -> Result<()> {
    report.run("the platforms leave nothing", || {
        let mut left = Vec::new();
        for platform in platforms {
            let place = platform.place.clone();
            platform.end()?;
            left.extend(place.leftovers()?);
        }
        if left.is_empty() { Ok(()) } else { bail!("left behind: {}", left.join(", ")) }
    })
}
