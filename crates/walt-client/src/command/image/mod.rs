//! `walt image ...`

pub mod clone;
pub mod publish;
pub mod search;
pub mod show;

/// Name of an image as its owner knows it: without owner, without `:latest`.
pub fn short_name(full: &str) -> &str {
    let name = full.split_once('/').map_or(full, |(_, name)| name);
    name.strip_suffix(":latest").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names() {
        assert_eq!(short_name("u/pc:latest"), "pc");
        assert_eq!(short_name("u/pc:v1"), "pc:v1");
        assert_eq!(short_name("pc"), "pc");
    }
}
