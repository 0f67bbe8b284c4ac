//! The time line of one boot, built from what the services observe.
//!
//! A boot makes several DHCP exchanges (firmware, iPXE, sometimes the kernel or the initramfs): they
//! belong to one boot as long as each comes from a *later* loader than the one before. A node that
//! asks again from the start of the chain, after its boot ended or failed, begins a new boot.

use serde::{Deserialize, Serialize};

use super::stage::{Outcome, Stage, StageKind};

/// Stages kept per boot; beyond it only the end of the boot is recorded. A node that loops on one
/// file must not fill the memory of the server.
const MAX_STAGES: usize = 200;

/// Silence after which the same loader asking for an address again is a new boot, not a retry.
const RETRY_WINDOW_MS: u64 = 90_000;

/// Cause of a boot nobody asked for: the node began it by itself.
pub const UNASKED: &str = "unknown";

/// Which program of the boot chain asks for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loader {
    /// PXE firmware of a BIOS or of UEFI.
    Firmware,
    /// iPXE before it says which WalT model it boots.
    Ipxe,
    /// A loader that names a WalT model (WalT's iPXE script, u-boot).
    Walt,
    /// The operating system or its initramfs.
    System,
}

impl Loader {
    /// The word shown in a stage.
    pub fn word(self) -> &'static str {
        match self {
            Self::Firmware => "firmware",
            Self::Ipxe => "iPXE",
            Self::Walt => "WalT loader",
            Self::System => "system",
        }
    }
}

/// How a boot ended, if it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The node is up since that moment (ms since the epoch).
    Up(u64),
    /// The node was up and went down at that moment.
    Down(u64),
}

/// One boot of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// Start, milliseconds since the Unix epoch.
    pub start_ms: u64,
    /// Why it started, in words (`node creation`, `reboot requested`, `address asked`).
    pub cause: String,
    /// Full name of the image the node was to boot.
    pub image: String,
    /// What was observed, in order of start.
    pub stages: Vec<Stage>,
    /// How it ended.
    pub end: Option<End>,
    /// The furthest loader seen.
    reached: Option<Loader>,
}

impl Boot {
    /// A boot that starts now.
    pub fn begin(cause: impl Into<String>, image: impl Into<String>, at_ms: u64) -> Self {
        Self {
            start_ms: at_ms,
            cause: cause.into(),
            image: image.into(),
            stages: Vec::new(),
            end: None,
            reached: None,
        }
    }

    /// True when a DISCOVER of `loader` at `at_ms` is the beginning of another boot.
    pub fn is_over_for(&self, loader: Loader, at_ms: u64) -> bool {
        if self.end.is_some() {
            return loader < Loader::System;
        }
        let Some(reached) = self.reached else {
            return false;
        };
        // A running system asking for an address again says nothing about the boot.
        if loader == Loader::System || loader > reached {
            return false;
        }
        let last = self.stages.last();
        loader < self.furthest()
            || last.is_some_and(|stage| {
                matches!(stage.outcome, Outcome::Failed(_)) && !stage.has_another_name()
            })
            || last.is_some_and(|stage| at_ms.saturating_sub(stage.last_ms()) > RETRY_WINDOW_MS)
    }

    /// The furthest point of the chain, in terms of loaders: once the kernel is there, every loader is past.
    fn furthest(&self) -> Loader {
        let past_loaders = self
            .stages
            .iter()
            .any(|stage| stage.kind >= StageKind::Kernel && stage.outcome == Outcome::Done);
        if past_loaders { Loader::System } else { self.reached.unwrap_or(Loader::Firmware) }
    }

    /// A client asked for an address.
    pub fn discover(&mut self, loader: Loader, at_ms: u64) {
        self.reach(loader);
        let detail = loader.word();
        let asking = self.stages.iter().rev().any(|stage| {
            stage.kind == StageKind::Dhcp
                && stage.outcome == Outcome::Running
                && stage.detail.starts_with(detail)
        });
        if !asking {
            self.push(Stage::begun(StageKind::Dhcp, detail, at_ms));
        }
    }

    /// The exchange of `loader` ended with an address, or with a refusal.
    pub fn leased(&mut self, loader: Loader, ip: &str, at_ms: u64, refusal: Option<&str>) {
        self.reach(loader);
        let outcome = match refusal {
            None => Outcome::Done,
            Some(why) => Outcome::Failed(why.to_owned()),
        };
        let open = self
            .stages
            .iter_mut()
            .rev()
            .find(|stage| stage.kind == StageKind::Dhcp && stage.outcome == Outcome::Running);
        match open {
            Some(stage) => {
                stage.end_ms = Some(at_ms);
                stage.outcome = outcome;
                stage.detail = format!("{} {ip}", loader.word());
            }
            // A REQUEST without DISCOVER, or one that is repeated: say it once.
            None => {
                let detail = format!("{} {ip}", loader.word());
                let said = self.stages.iter().rev().take(3).any(|stage| {
                    stage.kind == StageKind::Dhcp
                        && stage.detail == detail
                        && stage.outcome == outcome
                });
                if !said {
                    self.push(Stage { outcome, ..Stage::instant(StageKind::Dhcp, detail, at_ms) });
                }
            }
        }
    }

    /// A file transfer began.
    pub fn file_begun(&mut self, path: &str, via: &str, at_ms: u64) {
        self.push(Stage {
            via: Some(via.to_owned()),
            ..Stage::begun(StageKind::of_file(path), path, at_ms)
        });
    }

    /// The client only wanted to know the size of a file: that is no stage.
    pub fn file_sized(&mut self, path: &str, via: &str) {
        let open = self.stages.iter().rposition(|stage| {
            stage.outcome == Outcome::Running
                && stage.detail == path
                && stage.via.as_deref() == Some(via)
        });
        if let Some(open) = open {
            self.stages.remove(open);
        }
    }

    /// A file transfer ended, after `bytes`; `failure` says why it was refused or cut.
    pub fn file_ended(
        &mut self,
        path: &str,
        via: &str,
        bytes: Option<u64>,
        at_ms: u64,
        failure: Option<&str>,
    ) {
        let kind = StageKind::of_file(path);
        let outcome = match failure {
            None => Outcome::Done,
            Some(why) => Outcome::Failed(why.to_owned()),
        };
        let open = self.stages.iter_mut().rev().find(|stage| {
            stage.kind == kind
                && stage.outcome == Outcome::Running
                && stage.detail == path
                && stage.via.as_deref() == Some(via)
        });
        match open {
            Some(stage) => {
                stage.end_ms = Some(at_ms);
                stage.bytes = bytes;
                stage.outcome = outcome;
            }
            None => self.push(Stage {
                outcome,
                bytes,
                via: Some(via.to_owned()),
                ..Stage::instant(kind, path, at_ms)
            }),
        }
    }

    /// Something without duration was observed.
    pub fn note(&mut self, stage: Stage) {
        // NFS clients mount more than once (retries, initramfs then init): the first success counts.
        let once = matches!(
            stage.kind,
            StageKind::Root | StageKind::Persist | StageKind::Booted | StageKind::Ssh
        );
        let known = once
            && self.stages.iter().any(|old| old.kind == stage.kind && old.outcome == stage.outcome);
        if !known {
            self.push(stage);
        }
    }

    /// The node is up.
    pub fn up(&mut self, at_ms: u64) {
        self.note(Stage::instant(StageKind::Booted, "bootup notification", at_ms));
        self.end = Some(End::Up(at_ms));
    }

    /// The node went down.
    pub fn down(&mut self, at_ms: u64) {
        if matches!(self.end, Some(End::Up(_))) {
            self.end = Some(End::Down(at_ms));
        }
    }

    /// When it ended, if it did: by the bootup of the node, or by its going down later.
    pub fn end_ms(&self) -> Option<u64> {
        match self.end {
            Some(End::Up(at) | End::Down(at)) => Some(at),
            None => None,
        }
    }

    /// When something was last observed.
    pub fn last_ms(&self) -> u64 {
        self.stages.iter().map(Stage::last_ms).max().unwrap_or(self.start_ms)
    }

    fn reach(&mut self, loader: Loader) {
        self.reached = Some(self.reached.map_or(loader, |reached| reached.max(loader)));
    }

    fn push(&mut self, stage: Stage) {
        let essential = matches!(stage.kind, StageKind::Booted | StageKind::Ssh);
        if self.stages.len() < MAX_STAGES || essential {
            self.stages.push(stage);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn bios_boot() -> Boot {
        let mut boot = Boot::begin("node creation", "me/img:latest", 1_000);
        boot.discover(Loader::Ipxe, 2_000);
        boot.discover(Loader::Ipxe, 2_500);
        boot.leased(Loader::Ipxe, "10.0.0.2", 5_000, None);
        boot.file_begun("start.ipxe", "tftp", 6_000);
        boot.file_ended("start.ipxe", "tftp", Some(900), 6_010, None);
        boot.file_begun("kernel", "http", 6_100);
        boot.file_ended("kernel", "http", Some(14_000_000), 7_000, None);
        boot
    }

    #[test]
    fn one_boot_has_one_dhcp_stage_per_loader() {
        let boot = bios_boot();
        let kinds: Vec<_> = boot.stages.iter().map(|stage| stage.kind).collect();
        assert_eq!(kinds, [StageKind::Dhcp, StageKind::Script, StageKind::Kernel]);
        assert_eq!(boot.stages[0].start_ms, 2_000);
        assert_eq!(boot.stages[0].end_ms, Some(5_000));
        assert_eq!(boot.stages[2].bytes, Some(14_000_000));
    }

    #[test]
    fn firmware_then_ipxe_then_system_is_one_boot() {
        let mut boot = Boot::begin("reboot requested", "i", 0);
        assert!(!boot.is_over_for(Loader::Firmware, 10));
        boot.discover(Loader::Firmware, 10);
        boot.leased(Loader::Firmware, "10.0.0.2", 20, None);
        boot.file_ended("pxe/ipxe.efi", "tftp", Some(1), 30, None);
        assert!(!boot.is_over_for(Loader::Ipxe, 40));
        boot.discover(Loader::Ipxe, 40);
        assert!(!boot.is_over_for(Loader::Walt, 50));
        assert!(!boot.is_over_for(Loader::System, 60));
    }

    #[test]
    fn asking_from_the_start_after_the_kernel_is_a_new_boot() {
        assert!(bios_boot().is_over_for(Loader::Ipxe, 9_000));
        assert!(!bios_boot().is_over_for(Loader::System, 9_000));
    }

    #[test]
    fn retries_are_not_a_new_boot_but_a_failure_makes_one() {
        let mut boot = Boot::begin("x", "i", 0);
        boot.discover(Loader::Ipxe, 10);
        boot.leased(Loader::Ipxe, "10.0.0.2", 20, None);
        assert!(!boot.is_over_for(Loader::Ipxe, 1_000));
        assert!(boot.is_over_for(Loader::Ipxe, 20 + RETRY_WINDOW_MS + 1));
        boot.file_ended("start.ipxe", "tftp", None, 30, Some("no such file"));
        assert!(boot.is_over_for(Loader::Ipxe, 40));
    }

    #[test]
    fn u_boot_asks_for_its_address_before_each_name_of_its_script() {
        let mut boot = Boot::begin("x", "i", 0);
        boot.discover(Loader::Walt, 10);
        boot.leased(Loader::Walt, "10.0.0.2", 20, None);
        boot.file_ended("fit-start.uboot", "tftp", None, 30, Some("no such file"));
        assert!(!boot.is_over_for(Loader::Walt, 40));
        boot.discover(Loader::Walt, 40);
        boot.leased(Loader::Walt, "10.0.0.2", 50, None);
        boot.file_ended("start.uboot", "tftp", None, 60, Some("no such file"));
        assert!(boot.is_over_for(Loader::Walt, 70), "it started again");
    }

    #[test]
    fn a_finished_boot_is_over_for_loaders_only() {
        let mut boot = bios_boot();
        boot.up(20_000);
        assert!(boot.is_over_for(Loader::Ipxe, 30_000));
        assert!(!boot.is_over_for(Loader::System, 30_000));
        boot.down(40_000);
        assert_eq!(boot.end, Some(End::Down(40_000)));
    }

    #[test]
    fn asking_for_a_size_is_no_stage() {
        let mut boot = bios_boot();
        let before = boot.clone();
        boot.file_begun("pxe/walt-x86-64.efi", "tftp", 8_000);
        boot.file_sized("pxe/walt-x86-64.efi", "tftp");
        boot.file_sized("never/begun", "tftp");
        assert_eq!(boot, before);
    }

    #[test]
    fn a_loop_does_not_fill_the_memory() {
        let mut boot = Boot::begin("x", "i", 0);
        for at in 0..10_000 {
            boot.file_ended("kernel", "tftp", None, at, Some("no such file"));
        }
        boot.up(10_001);
        assert_eq!(boot.stages.len(), MAX_STAGES + 1);
    }

    #[test]
    fn it_survives_the_state() {
        let boot = bios_boot();
        let text = serde_json::to_string(&boot).unwrap();
        assert_eq!(serde_json::from_str::<Boot>(&text).unwrap(), boot);
    }
}
