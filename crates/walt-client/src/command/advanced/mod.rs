//! `walt advanced ...`

pub mod dump_bash_autocomplete;
pub mod dump_zsh_autocomplete;
pub mod fix_image_owner;
pub mod rescan_hub_account;
pub mod sql;
pub mod update_default_images;
pub mod update_hub_meta;
