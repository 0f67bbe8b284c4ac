//! A boot as the API tells it: the fine stages of the time line, gathered into those of a waterfall.

use walt_proto::api::boot::{
    BootReport, BootStage, BootState, Stage as ApiStage, StageState, StoppedAt,
};
use walt_proto::api::node::BootSummary;

use super::book::Entry;
use super::diagnosis::{Facts, Stopped, diagnose, failure, repeated};
use super::stage::{Outcome, Stage, StageKind};
use super::timeline::{Boot, End};

/// The reports of the boots of `node` (`boots`: newest first, the first one is the current one), at
/// `now_ms`.
pub fn reports(node: &str, boots: &[Entry], facts: &Facts, now_ms: u64) -> Vec<BootReport> {
    let stop = stop_of_current(boots, facts, now_ms);
    let reports = boots.iter().enumerate().map(|(index, entry)| match index {
        0 => report(node, entry, true, stop.clone()),
        // What is wrong with the image now says nothing of the boots before.
        _ => report(node, entry, false, failure(&entry.boot, &Facts::default())),
    });
    reports.collect()
}

fn report(node: &str, entry: &Entry, current: bool, stopped: Option<Stopped>) -> BootReport {
    let boot = &entry.boot;
    let state = state(boot, current, stopped.as_ref());
    let since_start = |at: u64| at.saturating_sub(boot.start_ms);
    let ended_ms = match (state, &boot.end) {
        (_, Some(End::Up(at))) => Some(since_start(ssh_ready(boot).unwrap_or(*at).max(*at))),
        (_, Some(End::Down(_))) => booted_at(boot).map(since_start),
        (BootState::Stopped | BootState::Replaced, None) => Some(since_start(boot.last_ms())),
        _ => None,
    };
    BootReport {
        id: entry.id,
        node: node.to_owned(),
        image: boot.image.clone(),
        cause: boot.cause.clone(),
        started_ms: signed(boot.start_ms),
        state,
        ended_ms,
        stages: waterfall(boot, state),
        stopped: stopped.map(|stopped| StoppedAt {
            stage: gathered(stopped.stage),
            since_ms: signed(stopped.since_ms),
            tip: tip(&stopped),
            cause: sentence(&stopped.cause),
        }),
    }
}

/// How far the current boot of a node came, in short (`boots`: newest first).
pub fn summary(boots: &[Entry], facts: &Facts, now_ms: u64) -> Option<BootSummary> {
    let boot = &boots.first()?.boot;
    let stopped = stop_of_current(boots, facts, now_ms);
    let state = state(boot, true, stopped.as_ref());
    let since = match (&boot.end, &stopped) {
        (Some(End::Up(at) | End::Down(at)), _) => *at,
        (None, Some(stopped)) => stopped.since_ms,
        (None, None) => boot.stages.last().map_or(boot.start_ms, |s| s.start_ms),
    };
    let stage = match &stopped {
        Some(stopped) => Some(gathered(stopped.stage)),
        None => waterfall(boot, state).last().map(|stage| stage.stage),
    };
    Some(BootSummary { state, stage, since_ms: signed(since) })
}

/// Where the current boot stopped; or those before it, when the node begins again and again.
fn stop_of_current(boots: &[Entry], facts: &Facts, now_ms: u64) -> Option<Stopped> {
    let current = &boots.first()?.boot;
    diagnose(current, facts, now_ms).or_else(|| {
        let boots: Vec<&Boot> = boots.iter().map(|entry| &entry.boot).collect();
        repeated(&boots, facts)
    })
}

fn state(boot: &Boot, current: bool, stopped: Option<&Stopped>) -> BootState {
    match boot.end {
        Some(End::Up(_)) if current => BootState::Booted,
        Some(End::Up(_) | End::Down(_)) => BootState::Down,
        None if stopped.is_some() => BootState::Stopped,
        None if !current => BootState::Replaced,
        None => BootState::Running,
    }
}

fn gathered(kind: StageKind) -> ApiStage {
    match kind {
        StageKind::Requested => ApiStage::Firmware,
        StageKind::Dhcp => ApiStage::Dhcp,
        StageKind::Loader => ApiStage::Loader,
        StageKind::Script => ApiStage::Script,
        StageKind::File => ApiStage::File,
        StageKind::Kernel => ApiStage::Kernel,
        StageKind::Initrd => ApiStage::Initrd,
        StageKind::Root => ApiStage::Root,
        StageKind::Persist => ApiStage::Persist,
        StageKind::Init => ApiStage::Init,
        StageKind::Booted => ApiStage::Booted,
        StageKind::Ssh => ApiStage::Ssh,
    }
}

/// The rows: exchanges and files as they were seen, then the root (from the last file to the mount),
/// the init (from the mount to the notification) and ssh, which are spans between two observations.
fn waterfall(boot: &Boot, state: BootState) -> Vec<BootStage> {
    let since = |at: u64| at.saturating_sub(boot.start_ms);
    let mut rows = Vec::new();
    let first = boot.stages.iter().map(|stage| stage.start_ms).min();
    let going_on = state == BootState::Running;
    if let Some(first) = first.filter(|first| *first > boot.start_ms) {
        rows.push(span(ApiStage::Firmware, 0, Some(since(first)), StageState::Done));
    }
    if first.is_none() {
        let open = if going_on { StageState::Running } else { StageState::Failed };
        rows.push(span(ApiStage::Firmware, 0, None, open));
        return rows;
    }
    let mut fetched_ms = None;
    let mut has_kernel = false;
    let mut fetching = false;
    for stage in &boot.stages {
        let api = gathered(stage.kind);
        if !matches!(
            api,
            ApiStage::Dhcp
                | ApiStage::Loader
                | ApiStage::Script
                | ApiStage::File
                | ApiStage::Kernel
                | ApiStage::Initrd
        ) {
            continue;
        }
        // Loaders look for optional files: one that is missing is worth a row only if all stopped there.
        let last = std::ptr::eq(stage, boot.stages.last().unwrap_or(stage));
        if matches!(stage.outcome, Outcome::Failed(_)) && !last {
            continue;
        }
        if matches!(api, ApiStage::Kernel | ApiStage::Initrd) && stage.outcome == Outcome::Done {
            fetched_ms = fetched_ms.max(stage.end_ms);
            has_kernel |= api == ApiStage::Kernel;
        }
        fetching |= stage.outcome == Outcome::Running;
        rows.push(row(api, stage, boot.start_ms, going_on));
    }
    rows.sort_by_key(|row| row.start_ms);

    let open = if going_on { StageState::Running } else { StageState::Failed };
    let root = boot.stages.iter().find(|stage| stage.kind == StageKind::Root);
    let first_init = boot.stages.iter().find(|stage| stage.kind == StageKind::Init);
    let mounted_ms = match root {
        Some(root) if matches!(root.outcome, Outcome::Failed(_)) => {
            let start = since(fetched_ms.unwrap_or(root.start_ms));
            let mut failed =
                span(ApiStage::Root, start, Some(since(root.start_ms)), StageState::Failed);
            failed.detail = Some(root.detail.clone());
            failed.problem = problem_of(root);
            rows.push(failed);
            boot.stages
                .iter()
                .find(|s| s.kind == StageKind::Root && s.outcome == Outcome::Done)
                .map(|s| s.start_ms)
        }
        Some(root) => Some(root.start_ms),
        None => first_init.map(|stage| stage.start_ms),
    };
    let booted_ms = booted_at(boot);
    match (fetched_ms, mounted_ms) {
        (Some(fetched), Some(mounted)) => {
            let start = since(fetched.min(mounted));
            let mut row = span(ApiStage::Root, start, Some(since(mounted)), StageState::Done);
            row.via = Some("nfs".to_owned());
            rows.push(row);
        }
        (Some(fetched), None)
            if has_kernel && !fetching && booted_ms.is_none() && root.is_none() =>
        {
            rows.push(span(ApiStage::Root, since(fetched), None, open));
        }
        _ => {}
    }
    if let Some(mounted) = mounted_ms.or(booted_ms) {
        let state = if booted_ms.is_some() { StageState::Done } else { open };
        let mut row = span(ApiStage::Init, since(mounted), booted_ms.map(since), state);
        row.detail = boot
            .stages
            .iter()
            .rev()
            .find(|stage| stage.kind == StageKind::Init)
            .map(|stage| stage.detail.clone());
        rows.push(row);
    }
    if let (Some(booted), Some(ssh)) = (booted_ms, ssh_ready(boot)) {
        let start = booted.min(ssh);
        rows.push(span(ApiStage::Ssh, since(start), Some(since(ssh)), StageState::Done));
    }
    rows
}

fn row(api: ApiStage, stage: &Stage, start_ms: u64, going_on: bool) -> BootStage {
    BootStage {
        stage: api,
        start_ms: stage.start_ms.saturating_sub(start_ms),
        end_ms: stage.end_ms.map(|end| end.saturating_sub(start_ms)),
        state: match stage.outcome {
            Outcome::Done => StageState::Done,
            Outcome::Failed(_) => StageState::Failed,
            Outcome::Running if going_on => StageState::Running,
            Outcome::Running => StageState::Failed,
        },
        bytes: stage.bytes,
        via: stage.via.clone(),
        detail: Some(stage.detail.clone()),
        problem: problem_of(stage),
    }
}

fn problem_of(stage: &Stage) -> Option<String> {
    match &stage.outcome {
        Outcome::Failed(why) => Some(why.clone()),
        Outcome::Running | Outcome::Done => None,
    }
}

fn span(stage: ApiStage, start_ms: u64, end_ms: Option<u64>, state: StageState) -> BootStage {
    BootStage {
        stage,
        start_ms,
        end_ms,
        state,
        bytes: None,
        via: None,
        detail: None,
        problem: None,
    }
}

fn booted_at(boot: &Boot) -> Option<u64> {
    let booted = |stage: &&Stage| stage.kind == StageKind::Booted;
    boot.stages.iter().find(booted).map(|stage| stage.start_ms)
}

fn ssh_ready(boot: &Boot) -> Option<u64> {
    let ssh = |stage: &&Stage| stage.kind == StageKind::Ssh && stage.outcome == Outcome::Done;
    boot.stages.iter().find(ssh).map(|stage| stage.start_ms)
}

fn tip(stopped: &Stopped) -> Option<String> {
    let tip = match stopped.stage {
        StageKind::Requested | StageKind::Dhcp => "walt log show --history full --platform",
        StageKind::Loader
        | StageKind::Script
        | StageKind::File
        | StageKind::Kernel
        | StageKind::Initrd => "compare /boot/<model> of the image with that of the default image",
        _ => "walt node console, for what the node itself says",
    };
    Some(tip.to_owned())
}

/// A cause as a sentence: capital letter and final point.
fn sentence(text: &str) -> String {
    let text = walt_model::sentence::capitalised(text);
    if text.ends_with(['.', '?', '!', ')']) { text } else { format!("{text}.") }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::boot::Loader;

    fn booting() -> Boot {
        let mut boot = Boot::begin("created", "me/img:latest", 1_000);
        boot.discover(Loader::Ipxe, 3_000);
        boot.leased(Loader::Ipxe, "10.0.0.2", 4_000, None);
        boot.file_ended("start.ipxe", "tftp", Some(900), 4_100, None);
        boot.file_ended("boot-params.ipxe", "http", None, 4_200, Some("no such file"));
        boot.file_begun("kernel", "http", 4_300);
        boot.file_ended("kernel", "http", Some(14_000_000), 5_300, None);
        boot
    }

    fn told(boot: Boot, now_ms: u64) -> BootReport {
        let entry = Entry { id: 1, boot };
        reports("n1", &[entry], &Facts::default(), now_ms).remove(0)
    }

    fn kinds(report: &BootReport) -> Vec<ApiStage> {
        report.stages.iter().map(|stage| stage.stage).collect()
    }

    #[test]
    fn a_boot_on_its_way_shows_what_runs() {
        let boot = booting();
        let report = told(boot, 6_000);
        use ApiStage::*;
        assert_eq!(kinds(&report), [Firmware, Dhcp, Script, Kernel, Root]);
        assert_eq!(report.state, BootState::Running);
        assert_eq!(report.stages[4].state, StageState::Running);
        assert_eq!(report.stages[4].start_ms, 4_300);
        assert_eq!(report.ended_ms, None);
    }

    #[test]
    fn a_complete_boot_has_all_its_spans() {
        let mut boot = booting();
        boot.note(Stage::instant(StageKind::Root, "/x/fs", 8_000));
        boot.note(Stage::instant(StageKind::Init, "Starting up.", 8_500));
        boot.up(20_000);
        boot.note(Stage::instant(StageKind::Ssh, "10.0.0.2:22", 20_100));
        let report = told(boot, 90_000);
        use ApiStage::*;
        assert_eq!(kinds(&report), [Firmware, Dhcp, Script, Kernel, Root, Init, Ssh]);
        assert_eq!(report.state, BootState::Booted);
        assert_eq!(report.ended_ms, Some(19_100));
        assert!(report.stages.iter().all(|stage| stage.state == StageState::Done));
        assert_eq!(report.stopped, None);
    }

    #[test]
    fn a_boot_that_stopped_says_where() {
        let mut boot = Boot::begin("created", "me/img:latest", 1_000);
        boot.discover(Loader::Ipxe, 3_000);
        boot.leased(Loader::Ipxe, "10.0.0.2", 4_000, None);
        boot.file_ended("start.ipxe", "tftp", None, 4_100, Some("no such file in the image"));
        let report = told(boot, 8_000);
        assert_eq!(report.state, BootState::Stopped);
        let stopped = report.stopped.unwrap();
        assert_eq!(stopped.stage, ApiStage::Script);
        assert_eq!(stopped.since_ms, 4_100);
        assert!(stopped.cause.starts_with("File start.ipxe could not be given"));
        assert_eq!(report.stages.last().unwrap().state, StageState::Failed);
    }

    #[test]
    fn a_boot_that_was_replaced_on_its_way_is_not_diagnosed() {
        let entry = |id| Entry { id, boot: booting() };
        let reports = reports("n1", &[entry(2), entry(1)], &Facts::default(), 6_000);
        assert_eq!(reports[1].state, BootState::Replaced);
        assert_eq!(reports[1].stopped, None);
        assert_eq!(reports[0].state, BootState::Running);
    }
}
