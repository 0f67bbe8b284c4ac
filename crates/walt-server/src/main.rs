//! The WalT server.
fn main() {}
