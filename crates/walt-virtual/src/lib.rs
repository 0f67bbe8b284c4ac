//! Virtual nodes: one QEMU each, supervised, adopted again after a server restart.
//!
//! * [`spec`]: what a virtual node is made of, bounds checked.
//! * [`accel`]: whether KVM really works here.
//! * [`node`]: one supervised QEMU: start, adopt, reset, stop, remove, events.
//! * [`console`]: its serial console: many readers, one writer path, bounded history.

pub mod accel;
pub mod console;
pub mod node;
pub mod spec;

pub use accel::{Accel, AccelChoice};
pub use console::Console;
pub use node::{Event, NodeError, Status, VirtualNode};
pub use spec::{Firmware, NodeSpec, SpecError};
