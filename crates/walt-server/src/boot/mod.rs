//! What happens between a node being switched on and its sshd answering.

pub mod diagnosis;
pub mod stage;
pub mod timeline;

pub use diagnosis::{Facts, Stopped, diagnose};
pub use stage::{Outcome, Stage, StageKind};
pub use timeline::{Boot, End, Loader};
