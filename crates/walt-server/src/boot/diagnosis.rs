//! Where a boot stands, since when, and why it probably goes no further.

use super::stage::{Outcome, Stage, StageKind};
use super::timeline::{Boot, End, UNASKED};

/// A boot without anything new for this long is said to have stopped, in milliseconds.
const QUIET_MS: u64 = 40_000;
/// The same after a refusal: a loader tries several names, one after the other.
const QUIET_REFUSED_MS: u64 = 3_000;
/// The same after a transfer that broke off: the loader asks again in its own time.
const QUIET_BROKEN_MS: u64 = 30_000;
/// The same once the kernel runs: nothing is seen of a slow guest until its init speaks, and then until
/// its sshd answers.
const QUIET_SYSTEM_MS: u64 = 120_000;

/// What the platform knows beside the time line.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Why the root of the node's image cannot be served, if so.
    pub image_problem: Option<String>,
    /// Why the virtual machine of the node does not run, if so.
    pub machine_problem: Option<String>,
}

/// A boot that does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// The last stage seen.
    pub stage: StageKind,
    /// What it was about.
    pub detail: String,
    /// Since when, milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// The likely cause, as a sentence.
    pub cause: String,
}

/// Looks at a boot at `now_ms`. Nothing for a boot that is up, was up, or still goes on.
pub fn diagnose(boot: &Boot, facts: &Facts, now_ms: u64) -> Option<Stopped> {
    if matches!(boot.end, Some(End::Up(_) | End::Down(_))) {
        return None;
    }
    let since_ms = boot.last_ms();
    let failure = blocking_failure(boot);
    let limit = match failure {
        Some(stage) if stage.last_ms() > stage.start_ms => QUIET_BROKEN_MS,
        Some(_) => QUIET_REFUSED_MS,
        None if system_runs(boot) => QUIET_SYSTEM_MS,
        None => QUIET_MS,
    };
    let quiet = now_ms.saturating_sub(since_ms) >= limit;
    let machine = facts.machine_problem.as_ref();
    if machine.is_none() && !quiet {
        return None;
    }
    let last = failure.or_else(|| boot.stages.last());
    let cause = if let Some(problem) = machine {
        format!("the virtual machine does not run: {problem}")
    } else if let Some(stage) = failure {
        words_for_failure(stage, facts)
    } else {
        words_for_silence(boot, facts)
    };
    Some(Stopped {
        stage: last.map_or(StageKind::Requested, |stage| stage.kind),
        detail: last.map_or_else(|| boot.cause.clone(), |stage| stage.detail.clone()),
        since_ms: last.map_or(since_ms, Stage::last_ms),
        cause,
    })
}

/// Where a boot that another one followed had stopped, if its last stage failed.
pub fn failure(boot: &Boot, facts: &Facts) -> Option<Stopped> {
    if boot.end.is_some() {
        return None;
    }
    let stage = blocking_failure(boot)?;
    Some(Stopped {
        stage: stage.kind,
        detail: stage.detail.clone(),
        since_ms: stage.last_ms(),
        cause: words_for_failure(stage, facts),
    })
}

/// A node that begins again and again because its boots fail: where the boots before the current one
/// stopped (`boots`: newest first), as long as the current one has not come further.
pub fn repeated(boots: &[&Boot], facts: &Facts) -> Option<Stopped> {
    let (current, before) = boots.split_first()?;
    if current.end.is_some() || current.cause != UNASKED {
        return None;
    }
    let latest = failure(before.first()?, facts)?;
    // Scripts fetch files in any order: what counts is the very file that was refused, or the root.
    let further = |stage: &Stage| {
        let same = stage.kind == latest.stage && stage.detail == latest.detail;
        stage.outcome == Outcome::Done && (same || stage.kind >= StageKind::Root)
    };
    if current.stages.iter().any(further) {
        return None;
    }
    let failures = before.iter().map_while(|boot| failure(boot, facts));
    let same: Vec<Stopped> = failures.take_while(|stop| stop.stage == latest.stage).collect();
    let since_ms = same.last().map_or(latest.since_ms, |oldest| oldest.since_ms);
    let times = same.len();
    let seen = match times {
        1 => "in the boot before this one".to_owned(),
        _ => format!("in the {times} boots before this one"),
    };
    Some(Stopped {
        since_ms,
        cause: format!("{} (seen {seen}; the node tries again)", latest.cause),
        ..latest
    })
}

/// The kernel was fetched, and no file is being fetched.
fn system_runs(boot: &Boot) -> bool {
    let is_kernel =
        |stage: &Stage| stage.kind == StageKind::Kernel && stage.outcome == Outcome::Done;
    let fetching =
        |stage: &Stage| stage.kind < StageKind::Root && stage.outcome == Outcome::Running;
    boot.stages.iter().any(is_kernel) && !boot.stages.iter().any(fetching)
}

/// The failure nothing came after. A file that is missing is often normal: boot loaders try several
/// names; it matters when it is the last thing seen.
fn blocking_failure(boot: &Boot) -> Option<&Stage> {
    boot.stages.last().filter(|stage| matches!(stage.outcome, Outcome::Failed(_)))
}

fn words_for_failure(stage: &Stage, facts: &Facts) -> String {
    let why = match &stage.outcome {
        Outcome::Failed(why) => why.as_str(),
        Outcome::Running | Outcome::Done => "",
    };
    let about = &stage.detail;
    match stage.kind {
        StageKind::Dhcp => format!("no lease: {why}"),
        StageKind::Loader => format!("the boot loader {about} could not be given: {why}"),
        StageKind::Script | StageKind::Kernel | StageKind::Initrd | StageKind::File => {
            match &facts.image_problem {
                Some(problem) => format!("its image cannot be served: {problem}"),
                None => format!("file {about} could not be given: {why}"),
            }
        }
        StageKind::Root => format!("root not mounted, refused: {why}"),
        StageKind::Persist => format!("/persist not mounted: {why}"),
        StageKind::Requested | StageKind::Init | StageKind::Booted | StageKind::Ssh => {
            why.to_owned()
        }
    }
}

fn words_for_silence(boot: &Boot, facts: &Facts) -> String {
    if let Some(problem) = &facts.image_problem {
        return format!("its image cannot be served: {problem}");
    }
    let done = |kind: StageKind| {
        boot.stages.iter().any(|stage| stage.kind == kind && stage.outcome == Outcome::Done)
    };
    let running = boot.stages.iter().rev().find(|stage| stage.outcome == Outcome::Running);
    if let Some(stage) = running {
        return match stage.kind {
            StageKind::Dhcp => {
                "an address was offered but never taken: is another DHCP server answering?".into()
            }
            _ => format!("the transfer of {} did not end", stage.detail),
        };
    }
    let cause = if done(StageKind::Init) {
        "init started but never notified its bootup: no sshd in the image, or its init is blocked (see the console)"
    } else if done(StageKind::Root) {
        "the root was mounted but /bin/walt-init said nothing: is init=/bin/walt-init on the kernel command line?"
    } else if done(StageKind::Kernel) {
        "the kernel was fetched but the root was never mounted: no network driver or NFS client in the initial RAM disk, or a wrong root= (see the console)"
    } else if done(StageKind::Script) {
        "the boot script was fetched but no kernel was asked for: an error in the script (see the console)"
    } else if done(StageKind::Loader) {
        "the boot loader was fetched but asked for nothing else"
    } else if done(StageKind::Dhcp) {
        "an address was given but no file was asked for: does the loader accept the boot file of the answer?"
    } else {
        "no DHCP request was seen: is the node switched on and connected to walt-net?"
    };
    cause.to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::boot::Loader;

    fn boot() -> Boot {
        Boot::begin("reboot requested", "me/img:latest", 1_000)
    }

    #[test]
    fn nothing_seen() {
        let found = diagnose(&boot(), &Facts::default(), 60_000).unwrap();
        assert_eq!(found.stage, StageKind::Requested);
        assert!(found.cause.contains("no DHCP request"));
        assert_eq!(diagnose(&boot(), &Facts::default(), 5_000), None);
    }

    #[test]
    fn a_missing_kernel_is_named_soon() {
        let mut boot = boot();
        boot.discover(Loader::Ipxe, 2_000);
        boot.leased(Loader::Ipxe, "10.0.0.2", 2_100, None);
        boot.file_ended("start.ipxe", "TFTP", Some(10), 3_000, None);
        boot.file_ended("kernel", "HTTP", None, 3_100, Some("no such file in the image"));
        assert_eq!(diagnose(&boot, &Facts::default(), 3_200), None);
        let found = diagnose(&boot, &Facts::default(), 6_200).unwrap();
        assert_eq!(found.stage, StageKind::Kernel);
        assert_eq!(found.since_ms, 3_100);
        assert!(found.cause.contains("kernel"), "{}", found.cause);
    }

    #[test]
    fn a_transfer_that_broke_off_may_be_asked_again() {
        let mut boot = boot();
        boot.file_begun("start.ipxe", "TFTP", 2_000);
        boot.file_ended("start.ipxe", "TFTP", None, 9_000, Some("the client went away"));
        assert_eq!(diagnose(&boot, &Facts::default(), 20_000), None);
        let found = diagnose(&boot, &Facts::default(), 40_000).unwrap();
        assert!(found.cause.contains("went away"));
    }

    #[test]
    fn an_optional_file_that_is_missing_is_not_the_cause() {
        let mut boot = boot();
        boot.file_ended("boot-params.ipxe", "HTTP", None, 3_100, Some("no such file"));
        boot.file_ended("kernel", "HTTP", Some(9), 3_200, None);
        assert_eq!(diagnose(&boot, &Facts::default(), 4_000), None);
        let found = diagnose(&boot, &Facts::default(), 160_000).unwrap();
        assert!(found.cause.contains("root was never mounted"));
    }

    #[test]
    fn a_refused_root_and_a_silent_init() {
        let mut refused = boot();
        refused.note(Stage::failed(StageKind::Root, "/x/fs", 2_000, "no such node"));
        let found = diagnose(&refused, &Facts::default(), 5_100).unwrap();
        assert!(found.cause.contains("no such node"));

        let mut silent = boot();
        silent.note(Stage::instant(StageKind::Root, "/x/fs", 2_000));
        silent.note(Stage::instant(StageKind::Init, "Starting up.", 3_000));
        let found = diagnose(&silent, &Facts::default(), 199_000).unwrap();
        assert!(found.cause.contains("never notified"));
        silent.up(99_100);
        assert_eq!(diagnose(&silent, &Facts::default(), 999_000), None);
    }

    #[test]
    fn a_node_that_fails_again_and_again_says_why() {
        let failed = |at: u64| {
            let mut boot = Boot::begin(UNASKED, "me/img:latest", at);
            boot.file_ended("start.ipxe", "TFTP", Some(10), at + 10, None);
            boot.file_ended("kernel", "HTTP", None, at + 20, Some("no such file"));
            boot
        };
        let (first, second) = (failed(1_000), failed(2_000));
        let mut current = Boot::begin(UNASKED, "me/img:latest", 3_000);
        current.discover(Loader::Ipxe, 3_000);
        let found = repeated(&[&current, &second, &first], &Facts::default()).unwrap();
        assert_eq!((found.stage, found.since_ms), (StageKind::Kernel, 1_020));
        assert!(found.cause.contains("2 boots"), "{}", found.cause);
        current.file_ended("initrd", "HTTP", Some(9), 3_100, None);
        assert!(repeated(&[&current, &second, &first], &Facts::default()).is_some());
        current.file_ended("kernel", "HTTP", Some(9), 3_200, None);
        assert_eq!(repeated(&[&current, &second, &first], &Facts::default()), None);
        let asked = Boot::begin("reboot requested", "me/img:latest", 4_000);
        assert_eq!(repeated(&[&asked, &second], &Facts::default()), None);
    }

    #[test]
    fn an_image_that_cannot_be_served_explains_missing_files() {
        let mut boot = boot();
        boot.file_ended("start.ipxe", "TFTP", None, 3_100, Some("no such file"));
        let facts =
            Facts { image_problem: Some("podman: no such image".into()), ..Facts::default() };
        let found = diagnose(&boot, &facts, 6_200).unwrap();
        assert!(found.cause.contains("podman"));
    }
}
