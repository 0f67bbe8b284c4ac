//! `walt image ...`

pub mod build;
pub mod check;
pub mod clone;
pub mod cp;
pub mod diff;
pub mod duplicate;
pub mod history;
pub mod publish;
pub mod remove;
pub mod rename;
pub mod rollback;
pub mod search;
pub mod sessions;
pub mod shell;
pub mod show;
pub mod squash;

use crate::failure::Failure;
use crate::server::Server;
use walt_proto::api::image::{Image, ImageSet};
use walt_proto::api::{ApiError, ErrorKind, route};

/// An image of the user, by the name typed.
///
/// # Errors
/// There is none of that name.
pub fn find(server: &Server, name: &str) -> Result<Image, Failure> {
    let images: Vec<Image> = server.get(route::IMAGES)?;
    let wanted = name.strip_suffix(":latest").unwrap_or(name);
    let own = |image: &Image| image.set == ImageSet::Own && image.name == wanted;
    images.into_iter().find(own).ok_or_else(|| {
        let error = ApiError::new(ErrorKind::NotFound, format!("Error: No such image '{name}'."));
        error.with_tip("walt image show").into()
    })
}

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
