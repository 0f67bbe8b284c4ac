//! The `walt` command.
fn main() {}
