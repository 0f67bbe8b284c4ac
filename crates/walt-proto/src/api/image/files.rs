//! Files of images: as [`transfer`](crate::api::transfer) says of those of nodes.
//!
//! * `PUT` [`route::IMAGE_FILES`](crate::api::route::IMAGE_FILES) answers events while the new image is made of what
//!   came; nodes that boot it are rebooted.
//! * `GET` [`route::IMAGE_NAMES`](crate::api::route::IMAGE_NAMES)`?path=/etc/ho`: names that complete the path, as an
//!   array of paths; directories end with `/`. For completion: 1000 at most.

use serde::{Deserialize, Serialize};

/// Copies a file or directory of a node into the image that the node boots
/// ([`route::NODE_FILES_TO_IMAGE`](crate::api::route::NODE_FILES_TO_IMAGE)), at the same place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesToImage {
    /// Path on the node.
    pub path: String,
    /// The user accepted that nodes are rebooted.
    #[serde(default)]
    pub confirmed: bool,
}
