//! Every endpoint. `{name}` stands for one percent-encoded path segment ([`fill`] makes real paths).
//!
//! | method and path | request | answer |
//! | --- | --- | --- |
//! | GET [`VERSION`] | | [`ServerInfo`](super::server::ServerInfo) |
//! | GET [`HEALTH`] | | [`Health`](super::server::Health) |
//! | GET [`NODES`] | query [`NodesQuery`](super::node::NodesQuery) | array of [`Node`](super::node::Node) |
//! | POST [`NODES`] | [`CreateNode`](super::node::CreateNode) | events |
//! | POST [`NODES_SELECT`] | [`SelectNodes`](super::node::SelectNodes) | array of [`Node`](super::node::Node) |
//! | POST [`NODES_BOOT`] | [`BootNodes`](super::node::BootNodes) | events |
//! | POST [`NODES_REBOOT`] | [`RebootNodes`](super::node::RebootNodes) | events |
//! | POST [`NODES_WAIT`] | [`WaitNodes`](super::node::WaitNodes) | events |
//! | POST [`NODES_ACQUIRE`], [`NODES_RELEASE`] | [`NodesRequest`](super::node::NodesRequest) | events |
//! | GET [`NODE`] | | [`Node`](super::node::Node) |
//! | DELETE [`NODE`] | query [`Confirmation`](super::node::Confirmation) | [`Empty`](super::Empty) |
//! | POST [`NODE_RENAME`] | [`RenameNode`](super::node::RenameNode) | [`Empty`](super::Empty) |
//! | POST [`NODE_SAVE`] | [`SaveNode`](super::node::SaveNode) | events |
//! | GET [`NODE_BOOTS`] | query [`BootsQuery`](super::boot::BootsQuery) | array of [`BootReport`](super::boot::BootReport), newest first |
//! | GET [`NODE_PATH`] | query [`PathQuery`](super::transfer::PathQuery) | [`PathInfo`](super::transfer::PathInfo) |
//! | GET [`NODE_FILES`] | query [`PathQuery`](super::transfer::PathQuery) | tar stream |
//! | PUT [`NODE_FILES`] | query [`PathQuery`](super::transfer::PathQuery), tar stream | [`Empty`](super::Empty) |
//! | GET [`NODE_EXEC`], [`NODE_CONSOLE`] | WebSocket | [`session`](super::session) |
//! | POST [`DEVICE_PING`] | [`Empty`](super::Empty) | events: `out` lines of `ping` (10 requests, 11 s at most), `done` with its exit status |
//! | GET [`DEVICES`] | | array of [`Device`](super::device::Device) |
//! | GET [`SETTINGS`] | query [`SettingsQuery`](super::settings::SettingsQuery) | array of [`DeviceSettings`](super::settings::DeviceSettings) |
//! | POST [`SETTINGS`] | [`ChangeSettings`](super::settings::ChangeSettings) | [`SettingsChanged`](super::settings::SettingsChanged) |
//! | GET [`IMAGES`] | query [`ImagesQuery`](super::image::ImagesQuery) | array of [`Image`](super::image::Image) |
//! | POST [`IMAGES_CLONE_DEFAULTS`] | [`Empty`](super::Empty) | array of [`Cloned`](super::image::Cloned): default images of the models present, given to a caller without any image |
//! | POST [`IMAGES_SEARCH`] | [`SearchImages`](super::image::registry::SearchImages) | events: `found` |
//! | POST [`IMAGES_CLONE`] | [`CloneImage`](super::image::registry::CloneImage) | events: `clone_complete` |
//! | POST [`IMAGES_PUBLISH`] | [`PublishImage`](super::image::registry::PublishImage) | events: `published` |
//! | POST [`IMAGES_UPDATE_DEFAULTS`] | [`UpdateDefaults`](super::image::registry::UpdateDefaults) | events |
//! | POST [`IMAGES_UPDATE_HUB_META`] | [`UpdateHubMeta`](super::image::registry::UpdateHubMeta) | events |
//! | GET [`REGISTRIES`] | | array of [`RegistryInfo`](super::image::registry::RegistryInfo) |
//! | POST [`IMAGE_SHELLS`] | [`OpenShell`](super::image::session::OpenShell) | [`ImageShell`](super::image::session::ImageShell) |
//! | GET [`SHELLS`] | | array of [`ImageShell`](super::image::session::ImageShell): those of the caller |
//! | GET [`SHELL_ATTACH`] | WebSocket | [`session`](super::session) |
//! | POST [`SHELL_SAVE`] | [`SaveShell`](super::image::session::SaveShell) | events |
//! | DELETE [`SHELL`] | | [`Empty`](super::Empty) |
//! | GET [`IMAGE_PATH`] | query [`PathQuery`](super::transfer::PathQuery) | [`PathInfo`](super::transfer::PathInfo) |
//! | GET [`IMAGE_NAMES`] | query [`PathQuery`](super::transfer::PathQuery) | array of paths that start with this one |
//! | GET [`IMAGE_FILES`] | query [`PathQuery`](super::transfer::PathQuery) | tar stream |
//! | PUT [`IMAGE_FILES`] | query [`PathQuery`](super::transfer::PathQuery), tar stream | events |
//! | POST [`NODE_FILES_TO_IMAGE`] | [`FilesToImage`](super::image::files::FilesToImage) | events |
//! | DELETE [`IMAGE`] | | [`Empty`](super::Empty) |
//! | POST [`IMAGE_DUPLICATE`], [`IMAGE_RENAME`] | [`NewImageName`](super::image::history::NewImageName) | [`Empty`](super::Empty) |
//! | GET [`IMAGE_VERSIONS`] | | array of [`ImageVersion`](super::image::history::ImageVersion), newest first |
//! | POST [`IMAGE_ROLLBACK`] | [`RollbackImage`](super::image::history::RollbackImage) | events |
//! | POST [`IMAGES_DIFF`] | [`DiffImages`](super::image::diff::DiffImages) | events: `package`, `file` |
//! | POST [`IMAGES_TAKE_OVER`] | [`TakeOver`](super::image::history::TakeOver) | [`TakenOver`](super::image::history::TakenOver) |
//! | POST [`IMAGE_BUILD`] | query [`BuildQuery`](super::image::build::BuildQuery), tar stream | events |
//! | POST [`IMAGE_SQUASH`] | [`Squash`](super::image::build::Squash) | events |
//! | GET [`IMAGE_CHECK`] | query [`CheckQuery`](super::image::build::CheckQuery) | [`ImageCheck`](super::image::build::ImageCheck) |
//! | POST [`LOGS_QUERY`] | [`LogQuery`](super::log::LogQuery) | events |
//! | POST [`LOGS_COUNT`] | [`LogQuery`](super::log::LogQuery) | [`LogCount`](super::log::LogCount) |
//! | POST [`LOGS_EXPORT`] | [`ExportLogs`](super::log::ExportLogs) | bytes of a file |
//! | POST [`LOGS_BUNDLE`] | [`BundleLogs`](super::log::BundleLogs) | bytes of a file |
//! | GET [`LOGS_IMPORTS`] | | array of [`LogImport`](super::log::LogImport) |
//! | PUT [`LOGS_IMPORT`] | bytes of a bundle | [`LogImport`](super::log::LogImport) |
//! | DELETE [`LOGS_IMPORT`] | | [`Empty`](super::Empty) |
//! | POST [`SQL`] | [`SqlRequest`](super::sql::SqlRequest) | events |
//! | GET [`CHECKPOINTS`] | | array of [`Checkpoint`](super::log::Checkpoint) |
//! | POST [`CHECKPOINTS`] | [`AddCheckpoint`](super::log::AddCheckpoint) | [`Checkpoint`](super::log::Checkpoint) |
//! | DELETE [`CHECKPOINT`] | | [`Empty`](super::Empty) |
//!
//! Sets are checked in this order: unknown name (`not_found`, `No device with name '<x>' found.`), empty result
//! (`not_found`), members that are not nodes (`invalid`, `<x> is not a node, it is a <type>.`), then ownership.

/// Who answers.
pub const VERSION: &str = "/api/v1/version";
/// Whether all parts run.
pub const HEALTH: &str = "/api/v1/health";
/// Nodes: listing and creation.
pub const NODES: &str = "/api/v1/nodes";
/// Resolves a set and applies the ownership gate.
pub const NODES_SELECT: &str = "/api/v1/nodes/select";
/// Changes the image of nodes and reboots them.
pub const NODES_BOOT: &str = "/api/v1/nodes/boot";
/// Reboots nodes.
pub const NODES_REBOOT: &str = "/api/v1/nodes/reboot";
/// Waits for nodes to be booted.
pub const NODES_WAIT: &str = "/api/v1/nodes/wait";
/// Takes free nodes: gives them the caller's clone of their default image.
pub const NODES_ACQUIRE: &str = "/api/v1/nodes/acquire";
/// Gives nodes back: they boot their default image.
pub const NODES_RELEASE: &str = "/api/v1/nodes/release";
/// One node. (Names of nodes cannot clash with the words above in these paths: those use POST, this GET and DELETE.)
pub const NODE: &str = "/api/v1/nodes/{name}";
/// Renames a node.
pub const NODE_RENAME: &str = "/api/v1/nodes/{name}/rename";
/// Makes an image of what changed on a node.
pub const NODE_SAVE: &str = "/api/v1/nodes/{name}/save";
/// Boots of a node.
pub const NODE_BOOTS: &str = "/api/v1/nodes/{name}/boots";
/// What stands at a path of a node.
pub const NODE_PATH: &str = "/api/v1/nodes/{name}/path";
/// Files of a node, as tar streams.
pub const NODE_FILES: &str = "/api/v1/nodes/{name}/files";
/// Runs a program on a node.
pub const NODE_EXEC: &str = "/api/v1/nodes/{name}/exec";
/// Console of a virtual node.
pub const NODE_CONSOLE: &str = "/api/v1/nodes/{name}/console";
/// Devices.
pub const DEVICES: &str = "/api/v1/devices";
/// Pings a device (or node) from the server.
pub const DEVICE_PING: &str = "/api/v1/devices/{name}/ping";
/// Settings of a set of devices: listing and change.
pub const SETTINGS: &str = "/api/v1/settings";
/// Images.
pub const IMAGES: &str = "/api/v1/images";
/// Gives a caller without images the default images.
pub const IMAGES_CLONE_DEFAULTS: &str = "/api/v1/images/clone-defaults";
/// Looks for images everywhere.
pub const IMAGES_SEARCH: &str = "/api/v1/images/search";
/// Clones an image into the working set of the caller.
pub const IMAGES_CLONE: &str = "/api/v1/images/clone";
/// Sends an image to a registry.
pub const IMAGES_PUBLISH: &str = "/api/v1/images/publish";
/// Replaces default images by newer ones.
pub const IMAGES_UPDATE_DEFAULTS: &str = "/api/v1/images/update-defaults";
/// Rebuilds the list of images of an account of the Docker Hub.
pub const IMAGES_UPDATE_HUB_META: &str = "/api/v1/images/update-hub-meta";
/// Registries of this platform.
pub const REGISTRIES: &str = "/api/v1/registries";
/// Opens a shell in an image.
pub const IMAGE_SHELLS: &str = "/api/v1/image/{name}/shells";
/// What stands at a path of an image.
pub const IMAGE_PATH: &str = "/api/v1/image/{name}/path";
/// Names that complete a path of an image.
pub const IMAGE_NAMES: &str = "/api/v1/image/{name}/names";
/// Files of an image, as tar streams.
pub const IMAGE_FILES: &str = "/api/v1/image/{name}/files";
/// Copies files of a node into the image it boots.
pub const NODE_FILES_TO_IMAGE: &str = "/api/v1/nodes/{name}/files-to-image";
/// Shells in images.
pub const SHELLS: &str = "/api/v1/image-shells";
/// One of them.
pub const SHELL: &str = "/api/v1/image-shells/{name}";
/// Joins the caller's terminal to it.
pub const SHELL_ATTACH: &str = "/api/v1/image-shells/{name}/attach";
/// Saves its files.
pub const SHELL_SAVE: &str = "/api/v1/image-shells/{name}/save";
/// One image of the caller.
pub const IMAGE: &str = "/api/v1/image/{name}";
/// Gives an image a further name.
pub const IMAGE_DUPLICATE: &str = "/api/v1/image/{name}/duplicate";
/// Gives an image another name.
pub const IMAGE_RENAME: &str = "/api/v1/image/{name}/rename";
/// What an image name means and meant.
pub const IMAGE_VERSIONS: &str = "/api/v1/image/{name}/versions";
/// An earlier version of an image comes back.
pub const IMAGE_ROLLBACK: &str = "/api/v1/image/{name}/rollback";
/// What differs between two images.
pub const IMAGES_DIFF: &str = "/api/v1/images/diff";
/// Makes the images of another user the caller's.
pub const IMAGES_TAKE_OVER: &str = "/api/v1/images/take-over";
/// Builds an image of the caller.
pub const IMAGE_BUILD: &str = "/api/v1/images/{name}/build";
/// Gives an image of the caller a single layer.
pub const IMAGE_SQUASH: &str = "/api/v1/images/{name}/squash";
/// What an image of the caller lacks to boot nodes.
pub const IMAGE_CHECK: &str = "/api/v1/images/{name}/check";
/// Log records.
pub const LOGS_QUERY: &str = "/api/v1/logs/query";
/// Number of log records.
pub const LOGS_COUNT: &str = "/api/v1/logs/count";
/// Log records as a file.
pub const LOGS_EXPORT: &str = "/api/v1/logs/export";
/// Everything about an experiment as a file.
pub const LOGS_BUNDLE: &str = "/api/v1/logs/bundle";
/// Imported bundles.
pub const LOGS_IMPORTS: &str = "/api/v1/logs/imports";
/// One imported bundle.
pub const LOGS_IMPORT: &str = "/api/v1/logs/imports/{name}";
/// Questions to the databases in SQL.
pub const SQL: &str = "/api/v1/sql";
/// Checkpoints: listing and creation.
pub const CHECKPOINTS: &str = "/api/v1/checkpoints";
/// One checkpoint.
pub const CHECKPOINT: &str = "/api/v1/checkpoints/{name}";

/// Puts a name in a route: `fill(NODE_BOOTS, "n1")` is `/api/v1/nodes/n1/boots`.
pub fn fill(route: &str, name: &str) -> String {
    route.replacen("{name}", &encode(name), 1)
}

/// Percent-encodes everything but the unreserved characters of RFC 3986 section 2.3, for a path segment or a query
/// value.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_segment() {
        assert_eq!(fill(NODE_BOOTS, "n1"), "/api/v1/nodes/n1/boots");
        assert_eq!(fill(NODE, "../é?x"), "/api/v1/nodes/..%2F%C3%A9%3Fx");
    }
}
