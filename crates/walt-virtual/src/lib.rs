//! Virtual nodes: one QEMU each, supervised, adopted again after a server restart.
//!
//! * [`spec`]: what a virtual node is made of, bounds checked.
//! * [`accel`]: whether KVM really works here.
//! * [`qemu`]: the command line, and where the firmware is.
//! * [`disk`]: its disks, sparse files made from templates.
//! * [`tap`]: the node's plug in its bridge.
//! * [`process`]: which process is this node's QEMU, and no other.
//! * [`qmp`]: QEMU's machine protocol.
//! * [`console`]: the serial console: many readers, one writer path, bounded history.
//! * [`node`]: one supervised QEMU: start, adopt, reset, stop, remove, events.

pub mod accel;
pub mod console;
pub mod disk;
pub mod node;
pub mod process;
pub mod qemu;
pub mod qmp;
mod running;
pub mod spec;
mod supervisor;
pub mod tap;

pub use accel::{Accel, AccelChoice};
pub use console::Console;
pub use node::{Event, NodeError, Status, VirtualNode};
pub use spec::{Firmware, NodeSpec, SpecError};
