//! Whether KVM really works on this host.

use serde::{Deserialize, Serialize};

/// How a guest's processor is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// The processor's own virtualisation.
    Kvm,
    /// QEMU's emulation: works everywhere, 10 to 30 times slower.
    Tcg,
}

/// What was chosen, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccelChoice {
    /// The choice.
    pub accel: Accel,
    /// Why, worded for a person.
    pub reason: String,
}

/// Finds out, by running a small guest for a few seconds at most. The answer is kept for the life of
/// the process. `WALT_ACCEL=kvm|tcg` decides without a trial.
pub async fn probe() -> AccelChoice {
    unimplemented!()
}
