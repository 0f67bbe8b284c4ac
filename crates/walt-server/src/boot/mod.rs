//! What happens between a node being switched on and its sshd answering.

pub mod book;
pub mod diagnosis;
pub mod report;
pub mod stage;
pub mod timeline;

pub use book::BootBook;
pub use diagnosis::{Facts, Stopped, diagnose};
pub use stage::{Outcome, Stage, StageKind};
pub use timeline::{Boot, End, Loader};
