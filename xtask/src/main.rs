//! What a person or CI runs in this repository.
fn main() {}
