//! The WalT server as a library of rooms; `main.rs` puts them together.
