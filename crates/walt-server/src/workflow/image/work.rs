//! What changes of an image have in common: a working copy, and the new image made of it.

use walt_images::ImageId;
use walt_images::podman::CHANGE_DEADLINE;
use walt_images::session::Working;

use crate::platform::Platform;
use crate::workflow::WorkflowError;

/// A new image that has only a temporary name.
#[derive(Debug)]
pub struct New {
    /// Its id.
    pub id: ImageId,
    tag: String,
}

/// 16 hexadecimal digits nobody else has.
pub fn hex() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// Makes an image of a working copy; `word`, 16 hexadecimal digits, makes its temporary name.
///
/// # Errors
/// buildah did not work, or the disk is full; what a crash left is still being removed, and this would go with it.
pub async fn commit(
    platform: &Platform,
    working: &Working,
    word: &str,
) -> Result<New, WorkflowError> {
    platform.recovery.allows(None)?;
    let tag = tag_of(word);
    match working.commit(&tag).await {
        Ok(id) => Ok(New { id, tag }),
        Err(error) => {
            forget(platform, &tag).await;
            Err(error.into())
        }
    }
}

impl New {
    /// Takes its temporary name away; it goes too if it got no other one.
    pub async fn let_go(self, platform: &Platform) {
        forget(platform, &self.tag).await;
    }
}

/// Takes the temporary name away that a server which died gave with this word, if it did.
pub async fn let_go(platform: &Platform, word: &str) {
    forget(platform, &tag_of(word)).await;
}

fn tag_of(word: &str) -> String {
    format!("localhost/walt/op:{word}")
}

async fn forget(platform: &Platform, tag: &str) {
    let podman = platform.images.catalogue().podman();
    if podman.run(&["image", "exists", tag], CHANGE_DEADLINE).await.is_ok()
        && let Err(error) = podman.run(&["rmi", tag], CHANGE_DEADLINE).await
    {
        tracing::warn!(tag, "a temporary name of an image stays until the next start: {error}");
    }
}
