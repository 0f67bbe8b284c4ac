//! `walt advanced ...`

pub mod dump_bash_autocomplete;
pub mod dump_zsh_autocomplete;
