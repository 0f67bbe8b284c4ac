//! NFS version 4: minor versions 0 (RFC 7530), 1 (RFC 8881) and 2 (RFC 7862, none of whose options is here).
//!
//! | what | where |
//! | --- | --- |
//! | the operations of one call, one after the other | [`compound`] |
//! | which operations there are | [`operation`] |
//! | what a handle names: folders on the way, files of image roots | [`object`] |
//! | attributes | [`attributes`] |
//! | names and contents | [`files`] |
//! | open files and locks: operations, what is remembered | [`open`], [`opens`] |
//! | clients and sessions: operations, what is remembered | [`introductions`], [`clients`], [`sessions`] |
//!
//! Only image roots are served, and read-only: `/persist` is for version 3. There are no delegations and
//! no callbacks.

mod attributes;
mod clients;
mod compound;
mod files;
mod introductions;
mod object;
mod open;
mod opens;
mod operation;
mod sessions;
mod status;

use std::time::Duration;

pub(crate) use clients::Clients;
pub(crate) use compound::Compound;

/// The version of the program.
pub(crate) const VERSION: u32 = 4;
/// Nothing.
pub(crate) const NULL: u32 = 0;
/// Operations one after the other.
pub(crate) const COMPOUND: u32 = 1;

/// How long a client may be silent before it should count on nothing.
const LEASE: Duration = Duration::from_secs(90);
/// Operations of one call. Linux sends less than ten.
const OPERATIONS_MAX: u32 = 64;
