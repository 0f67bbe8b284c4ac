//! One layer in place of many.

use std::time::Duration;

use walt_images::{CatalogueError, ImageId};

use super::operation::Operation;
use crate::killpoint;
use crate::platform::Platform;
use crate::workflow::WorkflowError;

/// Limit on writing the layer.
const LIMIT: Duration = Duration::from_secs(3600);

/// Makes an image with the files, configuration and labels of another, in a single layer: under the tag of the operation.
///
/// # Errors
/// buildah did not work.
pub async fn flatten(
    platform: &Platform,
    operation: &Operation,
    id: &ImageId,
) -> Result<ImageId, WorkflowError> {
    let podman = platform.images.catalogue().podman();
    let (container, tag) = (operation.container(), operation.tag());
    let from = ["from", "--pull-never", "--name", &container, id.as_str()];
    let commit = ["commit", "--quiet", "--squash", "--format", "docker", "--rm", &container, &tag];
    killpoint::reached("squash: before the container");
    let steps = [
        (&from[..], "squash: the container is made"),
        (&commit[..], "squash: the layer is written"),
    ];
    for (args, done) in steps {
        let command = podman.command_of("buildah").args(args).deadline(LIMIT);
        command
            .run()
            .await
            .map_err(walt_images::PodmanError::from)
            .map_err(CatalogueError::from)?;
        killpoint::reached(done);
    }
    operation.result().await
}
