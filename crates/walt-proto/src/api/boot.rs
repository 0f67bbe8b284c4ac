//! The story of a boot: the stages a node went through, with their times.

use serde::{Deserialize, Serialize};

/// One boot of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootReport {
    /// Number of this boot among those of the node, growing.
    pub id: u64,
    /// Node name.
    pub node: String,
    /// Image it was given, `<owner>/<name>:<tag>`.
    pub image: String,
    /// Why it started: `created`, `reboot requested`, `image change`, `bootup timeout`, `unknown`, ...
    pub cause: String,
    /// When it started (power on, or the first packet seen), milliseconds since the Unix epoch.
    pub started_ms: i64,
    /// State of the boot.
    pub state: BootState,
    /// When it ended (booted, stopped, replaced), in milliseconds after the start.
    #[serde(default)]
    pub ended_ms: Option<u64>,
    /// Stages in order of their start.
    pub stages: Vec<BootStage>,
    /// Where it stopped, when it did.
    #[serde(default)]
    pub stopped: Option<StoppedAt>,
}

/// State of a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootState {
    /// On its way.
    Running,
    /// Bootup was notified.
    Booted,
    /// Nothing was seen for too long, or a request failed for good.
    Stopped,
    /// A new boot began before this one was complete, or the node was switched off.
    Replaced,
    /// The node was booted and went down.
    Down,
    /// A state added after this client was made.
    #[serde(other)]
    Other,
}

/// One stage of a boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootStage {
    /// Which one.
    pub stage: Stage,
    /// Start, in milliseconds after the start of the boot.
    pub start_ms: u64,
    /// End, in milliseconds after the start of the boot; absent while it runs or when it never ended.
    #[serde(default)]
    pub end_ms: Option<u64>,
    /// State of the stage.
    pub state: StageState,
    /// Bytes served in this stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Protocol used, when there is a choice: `http`, `tftp`, `nfs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// A fact worth showing: address given, file name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Why it failed, when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Stages of a boot, in their usual order. Some boots have no such stage (a kernel holding its initrd), or meet one
/// several times (DHCP by the firmware, by iPXE, by the kernel; lines of the init).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// A user or the platform asked for this boot (creation, reboot).
    Requested,
    /// From power on to the first packet.
    Firmware,
    /// An address exchange, first request to acknowledgement.
    Dhcp,
    /// A boot loader was fetched (iPXE).
    Loader,
    /// A boot script was fetched (`start.ipxe`, `start.uboot`).
    Script,
    /// Another file below `/boot/<model>` was fetched.
    File,
    /// The kernel was fetched.
    Kernel,
    /// The initial RAM disk was fetched.
    Initrd,
    /// The root file system was mounted.
    Root,
    /// `/persist` was mounted.
    Persist,
    /// The injected init, then the image's own.
    Init,
    /// The bootup was notified.
    Booted,
    /// ssh answers.
    Ssh,
    /// A stage added after this client was made.
    #[serde(other)]
    Other,
}

impl Stage {
    /// Short name for a table, at most 9 characters.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Firmware => "firmware",
            Self::Dhcp => "dhcp",
            Self::Loader => "loader",
            Self::Script => "script",
            Self::File => "file",
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::Root => "root",
            Self::Persist => "persist",
            Self::Init => "init",
            Self::Booted => "booted",
            Self::Ssh => "ssh",
            Self::Other => "other",
        }
    }
}

/// State of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageState {
    /// On its way.
    Running,
    /// Complete.
    Done,
    /// Failed, or nothing more was seen.
    Failed,
    /// A state added after this client was made.
    #[serde(other)]
    Other,
}

/// Where a boot stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoppedAt {
    /// Stage it was in.
    pub stage: Stage,
    /// When something of this boot was seen last, milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// Likely cause, one sentence: `The image has no file /boot/pc-x86-64/start.ipxe.`
    pub cause: String,
    /// What to try, one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tip: Option<String>,
}

/// Query of [`route::NODE_BOOTS`](super::route::NODE_BOOTS): answer is an array of [`BootReport`], newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootsQuery {
    /// At most that many; absent: as many as the server keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}
