//! Log lines: the tools that send them.

use std::ffi::OsString;

use crate::failure::{Failure, Outcome};

/// `walt-log-echo`.
pub fn echo(_arguments: Vec<OsString>) -> Outcome {
    Err(Failure::Usage(0))
}
